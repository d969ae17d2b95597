"""Control data on its way into the control store: the newest of each record, tried again while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from thingward.model.errors import Unavailable
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore, Delete, Put

MAX_WAITING: Final = 100_000

Rows = dict[tuple[type[Record], str], Put | Delete]

_log = structlog.get_logger("core")


class Commits:
    """Collects records and commits them per tenant in one transaction.

    Attributes:
        dropped: records given up because too many waited; they come again when they change, or from the journal.
        trouble: why the last commit failed, empty if it did not.
    """

    def __init__(self, control: ControlStore, kinds: Mapping[type[Record], object]) -> None:
        self.dropped = 0
        self.trouble = ""
        self._control = control
        self._kinds = frozenset(kinds)
        self._waiting: dict[str, Rows] = {}
        self._count = 0
        self._flushing = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Records that are not committed."""
        return self._count

    def add(self, records: Iterable[Record]) -> None:
        """Take what is control data; the rest is left alone."""
        for record in records:
            if type(record) in self._kinds:
                self._put(record.tenant, (type(record), record.uid), Put(record))

    def delete(self, tenant: str, kind: type[Record], uid: str) -> None:
        """Remove a record with the next commit."""
        self._put(tenant, (kind, uid), Delete(kind, uid))

    async def flush(self) -> bool:
        """Commit what waits; False if the store refuses, and then it goes on waiting. One at a time: newer rows last."""
        async with self._flushing:
            while self._waiting:
                tenant, rows = self._take()
                try:
                    await asyncio.to_thread(self._control.commit, tenant, list(rows.values()))
                except Unavailable as error:
                    return self._put_back(tenant, rows, error)
            self.trouble = ""
            return True

    def flush_now(self) -> bool:
        """Commit what waits, in this thread."""
        while self._waiting:
            tenant, rows = self._take()
            try:
                self._control.commit(tenant, list(rows.values()))
            except Unavailable as error:
                return self._put_back(tenant, rows, error)
        self.trouble = ""
        return True

    def _take(self) -> tuple[str, Rows]:
        tenant, rows = self._waiting.popitem()
        self._count -= len(rows)
        return tenant, rows

    def _put_back(self, tenant: str, rows: Rows, error: Unavailable) -> bool:
        """Let it wait again, without touching what changed meanwhile."""
        if not self.trouble:
            _log.error("control store refuses", reason=str(error))
        self.trouble = str(error)
        newer = self._waiting.get(tenant, {})
        self._count += len(rows.keys() - newer.keys())
        self._waiting[tenant] = {**rows, **newer}
        return False

    def _put(self, tenant: str, key: tuple[type[Record], str], change: Put | Delete) -> None:
        rows = self._waiting.setdefault(tenant, {})
        if key not in rows:
            if self._count >= MAX_WAITING:
                self.dropped += 1
                return
            self._count += 1
        rows[key] = change
