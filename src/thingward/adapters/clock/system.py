"""The machine's clocks."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall time, monotonic time and waiting, as the operating system gives them."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait, in seconds."""
        await asyncio.sleep(delay_s)
