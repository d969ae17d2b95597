"""Observations on their way to core: by priority, in frames of bounded size, with word of the sensor's own life."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from thingward.adapters.link.spool import Spool
from thingward.model.codec import AnyRecord, encode_batch
from thingward.model.ids import DEFAULT_TENANT, record_uid
from thingward.model.observation import AlertData, CredentialData, FlowData, Observation, StatusData
from thingward.model.record import Record
from thingward.ports.link import LinkClient
from thingward.runtime.channels import OBSERVATIONS

BATCH: Final = 2000
ALIVE_S: Final = 30.0
#: Names and evidence go before the flows that they belong to; of a full spool flows are dropped first.
_ORDER: Final = (1, 2, 0)


class Post:
    """Sends batches, and tells `started`, `gap`, `alive`, `drops` and `stopped`.

    Args:
        alive_path: holds when this sensor was last known to see packets, across restarts.
    """

    def __init__(
        self, link: LinkClient, spool: Spool, *, source: str, site: str, started: float, alive_path: Path
    ) -> None:
        self._link = link
        self._spool = spool
        self._source = source
        self._site = site
        self._producer = f"{source}:{started!r}"
        self._alive_path = alive_path
        self._count = 0
        self._next_alive = started + ALIVE_S
        self._dropped: dict[int, int] = {}

    async def send(self, records: Sequence[Record]) -> None:
        """Spool observations for core."""
        groups: tuple[list[AnyRecord], ...] = ([], [], [])
        for record in records:
            if isinstance(record, Observation):
                groups[_priority(record)].append(record)
        for priority in _ORDER:
            group = groups[priority]
            for start in range(0, len(group), BATCH):
                batch = encode_batch(group[start : start + BATCH])
                await self._link.send(OBSERVATIONS, batch, priority=priority)

    async def tell(
        self, status: str, now: float, detail: str = "", *, gap_s: float = 0.0, counts: dict[str, int] | None = None
    ) -> None:
        """Send one word about the sensor itself."""
        self._count += 1
        data = StatusData(status=status, detail=detail, gap_s=gap_s, counts=counts or {})
        uid = record_uid(self._producer, self._count)
        await self.send(
            [Observation(uid=uid, tenant=DEFAULT_TENANT, time=now, source=self._source, site=self._site, data=data)]
        )

    async def start(self, now: float) -> None:
        """Say that it sees packets from now on, and for how long it did not."""
        await self.tell("started", now)
        try:
            last = float(self._alive_path.read_text())
        except (OSError, ValueError):
            last = 0.0
        if last:
            await self.tell("gap", now, "the sensor was not running", gap_s=max(now - last, 0.0))
        self._mark(now)

    async def beat(self, now: float, counts: dict[str, int]) -> None:
        """Say every half minute that it lives, and what the spool dropped since."""
        if 0 <= self._next_alive - now <= ALIVE_S:
            return
        self._next_alive = now + ALIVE_S
        self._mark(now)
        await self.tell("alive", now, counts=counts)
        await self.tell_drops(now)

    async def tell_drops(self, now: float) -> None:
        """Say what the spool dropped since this was last said."""
        new = {f"priority_{p}": n - self._dropped.get(p, 0) for p, n in self._spool.dropped.items()}
        self._dropped = dict(self._spool.dropped)
        if any(new.values()):
            await self.tell("drops", now, "the spool is full", counts={name: n for name, n in new.items() if n})

    def _mark(self, now: float) -> None:
        draft = self._alive_path.with_suffix(".new")
        try:
            draft.write_text(f"{now:.3f}")
            os.replace(draft, self._alive_path)
        except OSError:
            pass  # the gap is then told as longer than it was


def _priority(record: Observation) -> int:
    data = record.data
    if isinstance(data, FlowData):
        return 0
    return 2 if isinstance(data, AlertData | CredentialData | StatusData) else 1
