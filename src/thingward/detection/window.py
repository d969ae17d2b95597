"""Sliding windows over event time: exact, bounded, independent of how events are cut into batches.

Flows are often reported at their end, so their beginnings arrive out of order: what counts is whether enough of them
lie within one span, in whichever order they came.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from typing import Any

import msgspec

from thingward.model.errors import InvalidInput

MAX_KEYS = 20_000
MAX_ENTRIES = 500_000


class Seen(msgspec.Struct, frozen=True):
    """What one window around an addition holds: how much, and the time of the oldest part of it."""

    count: float
    first: float


class _Items(msgspec.Struct):
    """One key's items: (time, item) in order of time, and each item's time."""

    entries: list[tuple[float, str]] = []
    times: dict[str, float] = {}


class DistinctWindow:
    """Counts the different items that a key met within a span of time.

    An item counts once, at its latest time. A key holds at most `max_items`, the oldest going first; the table at most
    `max_keys` keys and half a million items, least recently used keys going first. `dropped` counts keys that went.

    Args:
        span_s: length of the window, in seconds.
    """

    def __init__(self, span_s: float, *, max_items: int = 128, max_keys: int = MAX_KEYS) -> None:
        self.span_s = span_s
        self.dropped = 0
        self._max_items = max_items
        self._max_keys = max_keys
        self._keys: OrderedDict[str, _Items] = OrderedDict()
        self._size = 0

    def add(self, key: str, item: str, time: float) -> Seen:
        """Note that `key` met `item` at `time`; gives the largest count of the windows that end or begin with it."""
        held = self._keys.get(key)
        if held is None:
            held = self._keys[key] = _Items()
        else:
            self._keys.move_to_end(key)
        entries, known = held.entries, held.times.get(item)
        if known is not None and known < time:
            del entries[bisect.bisect_left(entries, (known, item))]
            self._size -= 1
        if known is None or known < time:
            bisect.insort(entries, (time, item))
            held.times[item] = time
            self._size += 1
            if len(entries) > self._max_items:
                del held.times[entries.pop(0)[1]]
                self._size -= 1
            self._bound()
        return self._count(entries, time)

    def has(self, key: str, item: str) -> bool:
        """Tell whether the key met the item within the span before the newest item that it met."""
        held = self._keys.get(key)
        time = held.times.get(item) if held else None
        return held is not None and time is not None and time >= held.entries[-1][0] - self.span_s

    def _count(self, entries: list[tuple[float, str]], time: float) -> Seen:
        """Compare the span before the time with the span after it."""
        if not entries:
            return Seen(0, time)
        start = bisect.bisect_left(entries, (time - self.span_s, ""))
        here = bisect.bisect_right(entries, (time, "\U0010ffff"))
        if here == len(entries):
            return Seen(here - start, entries[min(start, here - 1)][0])
        first = bisect.bisect_left(entries, (time, ""))
        end = bisect.bisect_right(entries, (time + self.span_s, "\U0010ffff"))
        if end - first > here - start:
            return Seen(end - first, time)
        return Seen(here - start, entries[min(start, len(entries) - 1)][0])

    def _bound(self) -> None:
        while len(self._keys) > self._max_keys or self._size > MAX_ENTRIES:
            _, gone = self._keys.popitem(last=False)
            self._size -= len(gone.entries)
            self.dropped += 1

    def forget(self, key: str) -> None:
        """Drop a key."""
        gone = self._keys.pop(key, None)
        self._size -= len(gone.entries) if gone else 0

    def state(self) -> object:
        """Give plain data for a snapshot."""
        return {key: held.entries for key, held in self._keys.items()}

    def load(self, state: Any) -> None:
        """Take what `state` gave, after MessagePack; raises InvalidInput for anything else."""
        rows = _convert(state, dict[str, list[tuple[float, str]]])
        self._keys = OrderedDict(
            (key, _Items(entries, {item: time for time, item in entries})) for key, entries in rows.items()
        )
        self._size = sum(len(entries) for entries in rows.values())


class SumWindow:
    """Adds up amounts per key within a span of time, in slices of a tenth of it.

    Args:
        span_s: length of the window, in seconds; the sum covers between 0.9 and 1 of it.
    """

    SLICES = 10
    MAX_SLICES = 64

    def __init__(self, span_s: float, *, max_keys: int = MAX_KEYS) -> None:
        self.span_s = span_s
        self.dropped = 0
        self._max_keys = max_keys
        self._slice_s = span_s / self.SLICES
        self._keys: OrderedDict[str, dict[int, float]] = OrderedDict()

    def add(self, key: str, amount: float, time: float) -> Seen:
        """Add an amount at a time; gives the larger sum of the windows that end or begin with its slice."""
        slices = self._keys.get(key)
        if slices is None:
            if len(self._keys) >= self._max_keys:
                self._keys.popitem(last=False)
                self.dropped += 1
            slices = self._keys[key] = {}
        else:
            self._keys.move_to_end(key)
        index = int(time // self._slice_s)
        slices[index] = slices.get(index, 0.0) + amount
        if len(slices) == 1:
            return Seen(slices[index], min(time, index * self._slice_s))
        if len(slices) > self.MAX_SLICES:
            del slices[min(slices)]
        return max(self._sum(slices, index + 1 - self.SLICES), self._sum(slices, index), key=_count)

    def _sum(self, slices: dict[int, float], start: int) -> Seen:
        held = [(i, slices[i]) for i in range(start, start + self.SLICES) if i in slices]
        first = held[0][0] if held else start
        return Seen(sum(amount for _, amount in held), first * self._slice_s)

    def forget(self, key: str) -> None:
        """Drop a key."""
        self._keys.pop(key, None)

    def state(self) -> object:
        """Give plain data for a snapshot."""
        return self._keys

    def load(self, state: Any) -> None:
        """Take what `state` gave, after MessagePack; raises InvalidInput for anything else."""
        self._keys = OrderedDict(_convert(state, dict[str, dict[int, float]]))


def _count(seen: Seen) -> float:
    return seen.count


def _convert(state: Any, shape: Any) -> Any:
    try:
        return msgspec.convert(state, shape, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"not a window's state: {error}") from error
