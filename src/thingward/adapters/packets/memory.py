"""Packets that somebody hands over: for tests and simulations."""

from __future__ import annotations

from collections import deque

from thingward.model.columns import PacketBatch
from thingward.model.errors import Unavailable
from thingward.ports.packet_source import SourceLosses


class MemoryPackets:
    """Gives batches in the order in which they were offered; holds `room` of them, the rest is lost and counted."""

    def __init__(self, *, room: int = 64) -> None:
        self._room = room
        self._waiting: deque[PacketBatch] = deque()
        self._seen = 0
        self._dropped = 0
        self._closed = False

    def offer(self, batch: PacketBatch) -> None:
        """Hand over a batch."""
        self._seen += len(batch)
        if len(self._waiting) >= self._room:
            self._dropped += len(batch)
        else:
            self._waiting.append(batch)

    def fileno(self) -> int:
        """There is nothing to select on."""
        return -1

    def read(self, timeout_s: float) -> PacketBatch | None:
        """Give the next batch; it never waits."""
        if self._closed:
            raise Unavailable("the packet source is closed.")
        return self._waiting.popleft() if self._waiting else None

    def losses(self) -> SourceLosses:
        """Tell what was seen and lost since the last call."""
        counts = SourceLosses(packets=self._seen, dropped=self._dropped)
        self._seen = self._dropped = 0
        return counts

    def close(self) -> None:
        """Forget what waits."""
        self._closed = True
        self._waiting.clear()
