"""Time as something that is handed in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits; the in-memory twin is moved by hand in tests."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait, in seconds."""
        ...
