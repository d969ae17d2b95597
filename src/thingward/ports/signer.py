"""A key that signs and never leaves its place."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """Signs ledger heads and evidence bundles."""

    def sign(self, data: bytes) -> bytes:
        """Give a detached signature."""
        ...

    def public_pem(self) -> bytes:
        """Give the public key as PEM, for offline verification."""
        ...

    def key_id(self) -> str:
        """Give the first 16 hex digits of the SHA-256 of the public key."""
        ...
