"""What came out of the road on its way into the stores, in order, beside the rounds that follow.

A commit is an fsync of the control store: while it runs, the next batch may hold the packets that a quarantine needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from thingward.apps.core.commits import Commits
from thingward.apps.core.outbox import EventOutbox
from thingward.model.record import Record

#: The rounds wait when this many records have not been kept.
MAX_WAITING: Final = 20_000

Show = Callable[[Sequence[Record]], Awaitable[None]]


class Keeper:
    """Commits control data, hands events to the outbox, then shows everything to those who watch."""

    def __init__(self, commits: Commits, outbox: EventOutbox, show: Show) -> None:
        self._commits = commits
        self._outbox = outbox
        self._show = show
        self._waiting: list[Record] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, records: Sequence[Record]) -> None:
        """Take records; returns at once. An empty call tries again what a store refused."""
        self._commits.add(records)
        self._waiting += records
        if self._task is None or self._raise_failure():
            self._task = asyncio.create_task(self._keep(), name="keep")

    async def settle(self) -> None:
        """Wait until everything is where it belongs; what a store refuses goes on waiting in `Commits`."""
        while self._task is not None and not self._raise_failure():
            await asyncio.wait({self._task})

    async def linger(self, work: asyncio.Event, most_s: float) -> None:
        """Settle, unless there is work to do meanwhile or the time is over."""
        if self._task is None or self._raise_failure():
            return
        if len(self._waiting) > MAX_WAITING:
            await self.settle()
            return
        working = asyncio.create_task(work.wait())
        try:
            await asyncio.wait({self._task, working}, timeout=max(most_s, 0.0), return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
        self._raise_failure()

    async def close(self) -> None:
        """Stop; what was not kept comes out of the journal again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _raise_failure(self) -> bool:
        """Tell whether the task has ended; raises what it ended with."""
        assert self._task is not None
        if not self._task.done():
            return False
        self._task.result()
        return True

    async def _keep(self) -> None:
        await asyncio.sleep(0)  # commands that were just dispatched go out first
        while True:
            records, self._waiting = self._waiting, []
            await self._commits.flush()
            if records:
                await self._outbox.add(records)
                await self._show(records)
            if not self._waiting:
                return
