"""The evidence of one hardware address: what was said of it, which addresses it holds, when it was active."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import Final

import msgspec

SPAN_GAP_S: Final = 60.0
MAX_SPANS: Final = 64
MAX_VALUES_PER_NAME: Final = 12

_start = itemgetter(0)
_end = itemgetter(1)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much the inventory of one site may grow; what goes beyond is dropped and counted.

    Attributes:
        devices: hardware addresses (or local addresses where there are none).
        attributes, addresses: per hardware address.
        names: addresses with known names, per device.
        emitted: device records per batch; the others follow later.
    """

    devices: int = 20_000
    attributes: int = 96
    addresses: int = 64
    names: int = 1024
    emitted: int = 256
    interval_s: float = 10.0


class Claim(msgspec.Struct, gc=False):
    """One address that a member holds; `announced` by ARP, neighbour discovery or a lease, not only used."""

    first: float
    last: float
    announced: bool = False


class Fact(msgspec.Struct, gc=False):
    """One attribute's source, times, confidence (0 to 1) and count."""

    source: str
    first: float
    last: float
    confidence: float
    count: int = 1


class Member(msgspec.Struct, kw_only=True):
    """One anchor (`mac:...` or `ip:...`) and all evidence of it.

    Attributes:
        number: how many members were met before it: the lowest one names a record.
        spans: times of activity, ascending [first, last] pairs, gaps under a minute closed.
        record: uid of the record that it belongs to.
        carried: foreign addresses seen behind it, at most three, until it is known to be a router.
        has_spoken: it sent something else than ARP.
    """

    anchor: str
    mac: str = ""
    number: int
    first: float
    last: float
    spans: list[list[float]]
    addresses: dict[str, Claim] = {}
    facts: dict[tuple[str, str], Fact] = {}
    sightings: int = 0
    record: str = ""
    is_router: bool = False
    carried: list[str] = []
    has_spoken: bool = False
    keys: list[str] = []

    @property
    def is_randomised(self) -> bool:
        """Tell whether the address is locally administered (and stands for one station)."""
        return len(self.mac) > 1 and self.mac[1] in "26ae"

    @property
    def is_group(self) -> bool:
        """Tell whether the address cannot be a station's own: multicast bit, or all zero."""
        return len(self.mac) > 1 and (self.mac[1] in "13579bdf" or self.mac == "00:00:00:00:00:00")

    @property
    def is_established(self) -> bool:
        """Tell whether it was around for a while, or said who it is: a flood does not push it out."""
        return self.last - self.first >= 600.0 or (self.sightings >= 3 and bool(self.facts)) or self.is_router

    @property
    def is_candidate(self) -> bool:
        """Tell whether it is no device yet: a random address that only probed by ARP and has no address of its own."""
        return self.is_randomised and not (self.has_spoken or self.addresses or self.facts or self.is_router)

    def touch(self, first: float, last: float) -> None:
        """Note activity from `first` to `last`, seconds since 1970."""
        self.sightings += 1
        if last > self.last:
            self.last = last
        if first < self.first:
            self.first = first
        span = self.spans[-1]
        if span[0] <= first <= span[1] + SPAN_GAP_S:
            if last > span[1]:
                span[1] = last
        else:
            self._insert_span(first, last)

    def _insert_span(self, first: float, last: float) -> None:
        """Join a span with all that it touches; reports come in the order in which flows end, not begin."""
        spans = self.spans
        low = bisect_left(spans, first - SPAN_GAP_S, key=_end)
        high = bisect_right(spans, last + SPAN_GAP_S, key=_start)
        if low < high:
            first, last = min(first, spans[low][0]), max(last, spans[high - 1][1])
        spans[low:high] = [[first, last]]
        while len(spans) > MAX_SPANS:
            gaps = [spans[i + 1][0] - spans[i][1] for i in range(len(spans) - 1)]
            narrow = gaps.index(min(gaps))
            spans[narrow : narrow + 2] = [[spans[narrow][0], spans[narrow + 1][1]]]

    def learn(self, name: str, value: str, source: str, time: float, confidence: float, limit: int) -> bool | None:
        """Note an attribute; True if it is new, False if known, None if a bound refused it."""
        fact = self.facts.get((name, value))
        if fact is not None:
            fact.first = min(fact.first, time)
            fact.last = max(fact.last, time)
            fact.confidence = max(fact.confidence, confidence)
            fact.count += 1
            return False
        alike = sum(1 for key in self.facts if key[0] == name)
        if alike >= MAX_VALUES_PER_NAME or len(self.facts) >= limit:
            return None
        self.facts[name, value] = Fact(source, time, time, confidence)
        return True

    def values(self, name: str) -> set[str]:
        """Give all values of an attribute."""
        return {value for key, value in self.facts if key == name}


def new_member(anchor: str, mac: str, number: int, time: float) -> Member:
    """Start a member that was first active at `time`."""
    return Member(anchor=anchor, mac=mac, number=number, first=time, last=time, spans=[[time, time]])


def overlap(one: Member, two: Member) -> bool:
    """Tell whether two members were active at the same time."""
    i = j = 0
    while i < len(one.spans) and j < len(two.spans):
        (a, b), (c, d) = one.spans[i], two.spans[j]
        if a <= d and c <= b:
            return True
        if b < d:
            i += 1
        else:
            j += 1
    return False
