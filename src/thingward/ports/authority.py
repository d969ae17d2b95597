"""A certificate authority whose keys never leave their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from thingward.model.certificate import Revoked, Template


class Authority(Protocol):
    """Issues certificates, and tells which of them were revoked."""

    def chain(self) -> tuple[bytes, ...]:
        """Give the certificates of the authority as DER: the issuing one first, the root last."""
        ...

    def issue(self, template: Template) -> bytes:
        """Give a new certificate as DER, with a random serial number."""
        ...

    def revocation_list(self, revoked: Sequence[Revoked], number: int, now: float, next_update: float) -> bytes:
        """Give a signed revocation list (CRL) as DER; times in seconds since 1970."""
        ...

    def status(self, request: bytes, states: dict[str, Revoked | None], now: float, next_update: float) -> bytes:
        """Answer an OCSP request as DER.

        Args:
            request: as it came; what cannot be read is answered with an OCSP error, never by an exception.
            states: serials of issued certificates: None if good; a serial that is not in it is unknown.
        """
        ...

    def asked_serial(self, request: bytes) -> str:
        """Give the serial number that an OCSP request asks for, hexadecimal; empty if it cannot be read."""
        ...
