"""The twin in memory: a key that lives as long as the process."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class MemorySigner:
    """Signs with a key of its own; for tests, and wherever a signature need not outlive the process."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign(self, data: bytes) -> bytes:
        """Give a detached signature of 64 bytes."""
        return self._key.sign(data)

    def public_pem(self) -> bytes:
        """Give the public key as PEM."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def key_id(self) -> str:
        """Give the first 16 hexadecimal digits of the SHA-256 of the public key in DER form."""
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()[:16]
