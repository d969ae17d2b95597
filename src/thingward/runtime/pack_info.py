"""What is known of an indicator pack without its indicators."""

from __future__ import annotations

import msgspec


class PackInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One imported list.

    Attributes:
        digest: SHA-256 of the file that was imported.
        imported: seconds since 1970. count: indicators. refused: lines that were none.
    """

    name: str
    digest: str
    imported: float
    count: int
    refused: int = 0
    confidence: float = 0.8

    @property
    def version(self) -> str:
        """Name the content: lists have no version of their own, so it is the beginning of the digest."""
        return self.digest[:12]
