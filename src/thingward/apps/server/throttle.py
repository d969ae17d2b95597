"""Lock-out of addresses that fail to sign in: a bounded table, longer each time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from thingward.model.errors import LimitExceeded

FAILURES_FREE: Final = 10
FIRST_LOCK_S: Final = 30.0
LONGEST_LOCK_S: Final = 900.0
FORGET_S: Final = 3600.0


class Locked(LimitExceeded):
    """Too many failed sign-ins from here; `retry_after_s` says for how long."""

    code = "access.locked"
    retryable = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many failed sign-ins from this address.", hint=f"Wait {retry_after_s:.0f} seconds.")
        self.retry_after_s = retry_after_s


class Throttle:
    """Counts failures per key; after ten the key is locked, 30 s at first, doubled each time up to 15 minutes."""

    def __init__(self, limit: int = 4096) -> None:
        self._rows: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._limit = limit

    def verify_open(self, key: str, now: float) -> None:
        """Raise Locked while the key is locked."""
        count, last = self._rows.get(key, (0, 0.0))
        left = last + lock_s(count) - now
        if count >= FAILURES_FREE and left > 0:
            raise Locked(min(left, LONGEST_LOCK_S))

    def failed(self, key: str, now: float) -> None:
        """Count a failure; the key that failed longest ago is forgotten when the table is full."""
        count, last = self._rows.pop(key, (0, 0.0))
        self._rows[key] = (1 if abs(now - last) > FORGET_S else count + 1, now)
        while len(self._rows) > self._limit:
            self._rows.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._rows.pop(key, None)


def lock_s(count: int) -> float:
    """How long a key with this many failures is locked after the last one, in seconds."""
    if count < FAILURES_FREE:
        return 0.0
    return min(FIRST_LOCK_S * 2.0 ** min(count - FAILURES_FREE, 16), LONGEST_LOCK_S)
