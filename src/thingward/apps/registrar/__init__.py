"""The registrar: the only holder of the CA's keys; EST, OCSP and CRL for devices."""
