"""An append-only log on disk: what was acknowledged is in it, whatever dies next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Journal(Protocol):
    """Entries are opaque bytes with a sequence number from 1; a torn tail is cut off at opening."""

    def append(self, entry: bytes) -> int:
        """Add an entry; it is durable once `sync` returned. Returns its sequence number."""
        ...

    def sync(self) -> int:
        """Force everything appended to disk (one fsync); returns the last durable sequence number.

        Raises Unavailable when the disk is full or fails; nothing is acknowledged then.
        """
        ...

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Iterate durable entries with a sequence number above `after`."""
        ...

    def truncate(self, upto: int) -> None:
        """Forget entries up to this sequence number (whole segments only)."""
        ...

    def size_bytes(self) -> int:
        """Tell how much room the entries take, those that are not durable yet included."""
        ...

    def force(self) -> None:
        """Force to disk what a journal without fsync has only handed to the operating system; else nothing."""
        ...

    def close(self) -> None:
        """Sync and close; idempotent."""
        ...
