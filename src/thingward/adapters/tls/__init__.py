"""Certificates for our own listeners."""
