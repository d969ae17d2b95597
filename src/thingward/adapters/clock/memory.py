"""A clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import heapq


class MemoryClock:
    """Twin of the system's clock: `advance` lets time pass, `jump` sets the wall clock as an administrator would."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0
        self._count = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made; never goes back."""
        return self._monotonic

    async def sleep(self, delay_s: float) -> None:
        """Wait until `advance` has let this much time pass."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + delay_s, self._count, future))
        await future

    def advance(self, by_s: float) -> None:
        """Let time pass on both clocks and wake who has waited long enough."""
        self._now += by_s
        self._monotonic += by_s
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def jump(self, by_s: float) -> None:
        """Set the wall clock forward or back; monotonic time does not notice."""
        self._now += by_s
