"""Enforcers: nftables of this host, its twin in memory, and the client of the warden process."""
