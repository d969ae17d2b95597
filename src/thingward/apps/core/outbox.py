"""Events and findings on their way to the store: joined into batches, spooled while the store is away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from thingward.adapters.link.spool import Spool
from thingward.model.codec import AnyRecord, encode_batch
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.record import Record
from thingward.ports.link import LinkClient
from thingward.runtime.channels import EVENTS

BATCH: Final = 2000
#: Events from this severity on are kept before telemetry when the spool is full.
SEVERE: Final = 3
#: Nothing acknowledged for this long while something waits: the store is away, in seconds.
AWAY_S: Final = 5.0


class EventOutbox:
    """Hands batches to a link whose spool keeps them; telemetry is dropped first when that is full."""

    def __init__(self, link: LinkClient, spool: Spool) -> None:
        self._link = link
        self._spool = spool
        self._waiting: tuple[list[AnyRecord], list[AnyRecord]] = ([], [])
        self._acknowledged = 0
        self._moved_at: float | None = None
        self._dropped_told: dict[str, int] = {}
        self.away_since: float | None = None

    @property
    def pending_bytes(self) -> int:
        """What waits for the store."""
        return self._spool.pending_bytes

    @property
    def dropped(self) -> dict[str, int]:
        """Batches that the full spool gave up, by priority."""
        return {str(priority): count for priority, count in sorted(self._spool.dropped.items())}

    async def add(self, records: Iterable[Record]) -> None:
        """Take what belongs in the event store; the rest is left alone."""
        for record in records:
            if isinstance(record, Event):
                self._waiting[record.severity >= SEVERE].append(record)
            elif isinstance(record, Finding):
                self._waiting[True].append(record)
        for severe in (False, True):
            while len(self._waiting[severe]) >= BATCH:
                await self._send(severe=severe)

    async def flush(self) -> None:
        """Hand on what waits for more."""
        for severe in (False, True):
            while self._waiting[severe]:
                await self._send(severe=severe)

    def force(self) -> None:
        """Force the spool to disk; raises Unavailable if the disk refuses."""
        self._spool.force()

    def watch(self, now_s: float) -> tuple[str, float] | None:
        """Tell when the store went away (`store_away`) or came back (`store_back`, after how many seconds).

        Args:
            now_s: monotonic time.
        """
        has_moved = self._spool.acknowledged != self._acknowledged or not self._spool.pending
        if has_moved or self._moved_at is None:
            self._acknowledged, self._moved_at = self._spool.acknowledged, now_s
            if has_moved and self.away_since is not None:
                away_s, self.away_since = now_s - self.away_since, None
                return "store_back", away_s
        elif self.away_since is None and now_s - self._moved_at > AWAY_S:
            self.away_since = self._moved_at
            return "store_away", 0.0
        return None

    def take_dropped(self) -> dict[str, int]:
        """Give what was dropped since the last call, by priority."""
        new = {key: count - self._dropped_told.get(key, 0) for key, count in self.dropped.items()}
        self._dropped_told = self.dropped
        return {key: count for key, count in new.items() if count}

    async def _send(self, *, severe: bool) -> None:
        waiting = self._waiting[severe]
        batch = waiting[:BATCH]
        del waiting[:BATCH]
        await self._link.send(EVENTS, encode_batch(batch), priority=2 if severe else 0)
