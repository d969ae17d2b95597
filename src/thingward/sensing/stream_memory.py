"""Connections that begin with the same bytes say the same: decode each beginning once.

A tree of steps: each edge is what one side sent, each node what that completed. A connection walks the tree; only
where it leaves it a decoder is made, fed what went before, and the new steps are added.
"""

from __future__ import annotations

from collections.abc import Callable

from thingward.model.record import Malformed
from thingward.wire.message import Message, StreamDecoder

Choose = Callable[[int, bytes, bool, bool], StreamDecoder | None]
"""Responder's port, first bytes, whether the initiator sent them, whether the beginning was missed."""
Found = tuple[Message | Malformed, ...]

_STEP_BYTES = 128


class Step:
    """What was known after some bytes.

    Attributes:
        found: what the last bytes completed.
        over: nothing more is to be learnt.
    """

    __slots__ = ("before", "data", "ending", "found", "from_initiator", "later", "over")

    def __init__(self, before: Step | None, from_initiator: bool, data: bytes, found: Found, over: bool) -> None:
        self.before = before
        self.from_initiator = from_initiator
        self.data = data
        self.found = found
        self.over = over
        self.ending: Found | None = None
        self.later: dict[tuple[bool, bytes], Step] = {}


class StreamMemory:
    """The tree, bounded in bytes: when it is full it is forgotten and grows anew."""

    def __init__(self, choose: Choose, limit_bytes: int = 8 << 20) -> None:
        self._choose = choose
        self._limit_bytes = limit_bytes
        self._roots: dict[tuple[int, bool], Step] = {}
        self._used_bytes = 0

    def walk(self, dport: int, mid_stream: bool) -> Walk:
        """Begin a connection."""
        root = self._roots.get((dport, mid_stream))
        if root is None:
            root = self._roots[dport, mid_stream] = Step(None, False, b"", (), False)
        return Walk(self, root, dport, mid_stream)

    def add(self, step: Step) -> None:
        """Put a new step into the tree."""
        cost = _STEP_BYTES + len(step.data)
        if self._used_bytes + cost > self._limit_bytes:
            self._roots = {}
            self._used_bytes = 0
        self._used_bytes += cost
        if step.before is not None:
            step.before.later[step.from_initiator, step.data] = step

    def decoder(self, first: Step, dport: int, mid_stream: bool) -> StreamDecoder | None:
        """Choose the decoder by a connection's first step."""
        return self._choose(dport, first.data, first.from_initiator, mid_stream)


class Walk:
    """One connection's way through the tree."""

    __slots__ = ("_at", "_decoder", "_dport", "_fed", "_memory", "_mid_stream")

    def __init__(self, memory: StreamMemory, root: Step, dport: int, mid_stream: bool) -> None:
        self._memory = memory
        self._at = root
        self._dport = dport
        self._mid_stream = mid_stream
        self._decoder: StreamDecoder | None = None
        self._fed: Step | None = None

    def feed(self, from_initiator: bool, data: bytes) -> Step:
        """Take the next bytes of one side, not empty."""
        step = self._at.later.get((from_initiator, data))
        if step is None:
            step = self._new_step(from_initiator, data)
        self._at = step
        return step

    def finish(self) -> Found:
        """No more bytes come: what was waiting for an answer."""
        at = self._at
        if at.ending is None:
            decoder = self._caught_up(at)
            at.ending = () if decoder is None else self._believed(decoder.finish())
        return at.ending

    def _new_step(self, from_initiator: bool, data: bytes) -> Step:
        step = Step(self._at, from_initiator, data, (), False)
        decoder = self._caught_up(self._at)
        if decoder is None:
            decoder = self._decoder = self._memory.decoder(step, self._dport, self._mid_stream)
        if decoder is None:
            step.over = True
        else:
            step.found = self._believed(decoder.feed(from_initiator, data))
            step.over = decoder.done
            self._fed = step
        self._memory.add(step)
        return step

    def _caught_up(self, to: Step) -> StreamDecoder | None:
        """Give the decoder, fed everything up to a step; None if there was nothing yet or nobody reads it."""
        steps = []
        while to is not self._fed and to.before is not None:
            steps.append(to)
            to = to.before
        if steps and self._decoder is None:
            self._decoder = self._memory.decoder(steps[-1], self._dport, self._mid_stream)
        if self._decoder is not None:
            for step in reversed(steps):
                self._decoder.feed(step.from_initiator, step.data)
                self._fed = step
        return self._decoder

    def _believed(self, found: list[Message | Malformed]) -> Found:
        """In a connection whose beginning was not seen, what cannot be read proves nothing."""
        if self._mid_stream:
            return tuple(message for message in found if not isinstance(message, Malformed))
        return tuple(found)
