"""A journal that lives as long as its process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from thingward.model.errors import Unavailable


class MemoryJournal:
    """Twin of the journal on disk; `full` makes it behave like a full disk."""

    def __init__(self, *, max_bytes: int = 1 << 30) -> None:
        self.full = False
        self._max_bytes = max_bytes
        self._entries: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._last = 0
        self._durable = 0

    def append(self, entry: bytes) -> int:
        """Add an entry; visible to `read` after `sync`."""
        if self._bytes + len(entry) > self._max_bytes:
            raise Unavailable("the journal is full.", hint="It empties after the next checkpoint.")
        self._last += 1
        self._bytes += len(entry)
        self._entries.append((self._last, bytes(entry)))
        return self._last

    def sync(self) -> int:
        """Make everything appended visible."""
        if self.full and self._durable < self._last:
            raise Unavailable("the disk is full.", hint="Free some space.")
        self._durable = self._last
        return self._durable

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Iterate durable entries with a sequence number above `after`."""
        for number, entry in list(self._entries):
            if after < number <= self._durable:
                yield number, entry

    def truncate(self, upto: int) -> None:
        """Forget durable entries up to this sequence number."""
        while self._entries and self._entries[0][0] <= min(upto, self._durable):
            self._bytes -= len(self._entries.popleft()[1])

    def size_bytes(self) -> int:
        """Tell how much room the entries take."""
        return self._bytes

    def force(self) -> None:
        """Do nothing: there is no disk."""

    def close(self) -> None:
        """Sync; idempotent."""
        if not self.full:
            self.sync()
