"""Who a device is: credentials, enrolment, revocation, attestation."""
