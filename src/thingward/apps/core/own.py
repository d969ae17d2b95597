"""What core says of itself: it becomes an observation like any other, so that it is stored, shown and judged alike."""

from __future__ import annotations

from thingward.model.ids import DEFAULT_TENANT, record_uid
from thingward.model.observation import Observation, StatusData

SOURCE = "core"


class OwnStatus:
    """Makes status observations with uids that do not repeat across starts."""

    def __init__(self, site: str, started: float) -> None:
        self._site = site
        self._producer = f"core:{started!r}"
        self._count = 0

    def observe(
        self, status: str, now: float, detail: str = "", *, gap_s: float = 0.0, counts: dict[str, int] | None = None
    ) -> Observation:
        """Say one thing: `started`, `stopped`, `drops`, `gap`, `clock_jump`, `disk_full` ..."""
        self._count += 1
        return Observation(
            uid=record_uid(self._producer, self._count),
            tenant=DEFAULT_TENANT,
            time=now,
            source=SOURCE,
            site=self._site,
            data=StatusData(status=status, detail=detail, gap_s=gap_s, counts=counts or {}),
        )
