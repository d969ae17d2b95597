"""The recorded traffic of one device in a profile's terms: small enough to keep, exact enough to replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from thingward.model.terms import FlowGroup, FlowTerms

FIRST_WIDTH_S: Final = 60.0
LAST_WIDTH_S: Final = 86_400.0


class _Cell(msgspec.Struct, gc=False):
    flows: int
    answered: int
    opened: int
    bytes: int
    first: float
    last: float


class TrafficState(msgspec.Struct, kw_only=True):
    """What a snapshot keeps."""

    width_s: float
    groups: list[FlowGroup]
    bindings: list[tuple[float, str, str]]
    dropped: int


class TrafficLog:
    """Flows counted per terms and time cell; when there are too many cells they get twice as wide.

    Attributes:
        bindings: (time, address, name) when a name was first seen for an address, bounded, oldest go first.
        dropped: flows whose cells a bound pushed out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.width_s = FIRST_WIDTH_S
        self._cells: dict[tuple[FlowTerms, int], _Cell] = {}
        self.bindings: list[tuple[float, str, str]] = []
        self._bound: set[tuple[str, str]] = set()
        self.dropped = 0

    def add(self, terms: FlowTerms, time: float, *, answered: bool, opened: bool, size: int) -> None:
        """Count one flow that began at `time`."""
        key = (terms, int(time // self.width_s))
        cell = self._cells.get(key)
        if cell is None:
            self._cells[key] = _Cell(1, int(answered), int(opened), size, time, time)
            if len(self._cells) > self._limit:
                self._shrink()
            return
        cell.flows += 1
        cell.answered += answered
        cell.opened += opened
        cell.bytes += size
        cell.first, cell.last = min(cell.first, time), max(cell.last, time)

    def rename(self, old: FlowTerms, new: FlowTerms, time: float) -> None:
        """Count one flow that began at `time` under other terms: more is known of it now."""
        key = (old, int(time // self.width_s))
        cell = self._cells.get(key)
        if cell is None:
            return
        self.add(new, time, answered=cell.answered > 0, opened=cell.opened > 0, size=cell.bytes // cell.flows)
        cell.bytes -= cell.bytes // cell.flows
        cell.flows -= 1
        if not cell.flows:
            self._cells.pop(key, None)

    def bind(self, time: float, address: str, name: str) -> None:
        """Note that the device learnt a name's address; only the first time counts."""
        if (address, name) in self._bound:
            return
        if len(self.bindings) >= self._limit:
            _, old_address, old_name = self.bindings.pop(0)
            self._bound.discard((old_address, old_name))
        self.bindings.append((time, address, name))
        self._bound.add((address, name))

    def absorb(self, other: TrafficLog) -> None:
        """Take another log's flows: the two devices are one."""
        for group in other.groups():
            self._put(group)
        for time, address, name in other.bindings:
            self.bind(time, address, name)
        self.dropped += other.dropped

    def groups(self) -> Iterator[FlowGroup]:
        """Give everything, by time."""
        for (terms, index), cell in sorted(self._cells.items(), key=lambda item: (item[1].first, item[1].last)):
            yield FlowGroup(
                terms=terms,
                cell=index * self.width_s,
                flows=cell.flows,
                answered=cell.answered,
                opened=cell.opened,
                bytes=cell.bytes,
                first=cell.first,
                last=cell.last,
            )

    def state(self) -> TrafficState:
        """Give everything for a snapshot."""
        return TrafficState(
            width_s=self.width_s, groups=list(self.groups()), bindings=self.bindings, dropped=self.dropped
        )

    def restore(self, state: TrafficState) -> None:
        """Take what `state` gave."""
        self.width_s, self.dropped = state.width_s, state.dropped
        self._cells = {}
        for group in state.groups:
            self._put(group)
        self.bindings = state.bindings
        self._bound = {(address, name) for _, address, name in state.bindings}

    def _put(self, group: FlowGroup) -> None:
        key = (group.terms, int(group.first // self.width_s))
        old = self._cells.get(key)
        cell = _Cell(group.flows, group.answered, group.opened, group.bytes, group.first, group.last)
        self._cells[key] = cell if old is None else _joined(old, cell)
        if len(self._cells) > self._limit:
            self._shrink()

    def _shrink(self) -> None:
        while len(self._cells) > self._limit and self.width_s < LAST_WIDTH_S:
            self.width_s *= 2
            wider: dict[tuple[FlowTerms, int], _Cell] = {}
            for (terms, _), cell in self._cells.items():
                key = (terms, int(cell.first // self.width_s))
                old = wider.get(key)
                wider[key] = cell if old is None else _joined(old, cell)
            self._cells = wider
        while len(self._cells) > self._limit:
            oldest = min(self._cells, key=lambda key: self._cells[key].last)
            self.dropped += self._cells.pop(oldest).flows


def _joined(one: _Cell, two: _Cell) -> _Cell:
    return _Cell(
        one.flows + two.flows,
        one.answered + two.answered,
        one.opened + two.opened,
        one.bytes + two.bytes,
        min(one.first, two.first),
        max(one.last, two.last),
    )
