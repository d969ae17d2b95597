"""Sliding windows over event time: exact, bounded, independent of how events are cut into batches."""

from __future__ import annotations

from typing import Any

import msgspec

from thingward.model.errors import InvalidInput

MAX_KEYS = 20_000


class Seen(msgspec.Struct, frozen=True):
    """What a window holds after an addition: how much, and the time of the oldest part of it."""

    count: float
    first: float


class DistinctWindow:
    """Counts the different items that a key met within a span of time.

    Items that are older than the span, measured from the newest one of their key, are forgotten. A key holds at most
    `max_items` (the oldest goes first: then the count is a lower bound), and the table at most `max_keys` keys, least
    recently used ones going first; `dropped` counts those.

    Args:
        span_s: length of the window, in seconds.
    """

    def __init__(self, span_s: float, *, max_items: int = 512, max_keys: int = MAX_KEYS) -> None:
        self.span_s = span_s
        self.dropped = 0
        self._max_items = max_items
        self._max_keys = max_keys
        self._keys: dict[str, dict[str, float]] = {}

    def add(self, key: str, item: str, time: float) -> Seen:
        """Note that `key` met `item` at `time`; events may be out of order by less than the span."""
        items = self._keys.pop(key, None)
        if items is None:
            items = {}
            if len(self._keys) >= self._max_keys:
                del self._keys[next(iter(self._keys))]
                self.dropped += 1
        self._keys[key] = items
        previous = items.pop(item, time)
        items[item] = max(previous, time)
        newest = items[item]
        while items:
            oldest = next(iter(items))
            if items[oldest] >= newest - self.span_s and len(items) <= self._max_items:
                break
            del items[oldest]
        return Seen(len(items), next(iter(items.values()), time))

    def forget(self, key: str) -> None:
        """Drop a key."""
        self._keys.pop(key, None)

    def state(self) -> object:
        """Give plain data for a snapshot."""
        return self._keys

    def load(self, state: Any) -> None:
        """Take what `state` gave, after MessagePack; raises InvalidInput for anything else."""
        self._keys = _convert(state, dict[str, dict[str, float]])


class SumWindow:
    """Adds up amounts per key within a span of time, in slices of a tenth of it.

    Args:
        span_s: length of the window, in seconds; the sum covers between 0.9 and 1 of it.
    """

    SLICES = 10

    def __init__(self, span_s: float, *, max_keys: int = MAX_KEYS) -> None:
        self.span_s = span_s
        self.dropped = 0
        self._max_keys = max_keys
        self._slice_s = span_s / self.SLICES
        self._keys: dict[str, dict[int, float]] = {}

    def add(self, key: str, amount: float, time: float) -> Seen:
        """Add an amount at a time; what is older than the newest slice's span is not counted."""
        slices = self._keys.pop(key, None)
        if slices is None:
            slices = {}
            if len(self._keys) >= self._max_keys:
                del self._keys[next(iter(self._keys))]
                self.dropped += 1
        self._keys[key] = slices
        index = int(time // self._slice_s)
        slices[index] = slices.get(index, 0.0) + amount
        newest = max(slices)
        for old in [i for i in slices if i <= newest - self.SLICES]:
            del slices[old]
        return Seen(sum(slices.values()), min(slices) * self._slice_s)

    def forget(self, key: str) -> None:
        """Drop a key."""
        self._keys.pop(key, None)

    def state(self) -> object:
        """Give plain data for a snapshot."""
        return self._keys

    def load(self, state: Any) -> None:
        """Take what `state` gave, after MessagePack; raises InvalidInput for anything else."""
        self._keys = _convert(state, dict[str, dict[int, float]])


def _convert(state: Any, shape: Any) -> Any:
    try:
        return msgspec.convert(state, shape, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"not a window's state: {error}") from error
