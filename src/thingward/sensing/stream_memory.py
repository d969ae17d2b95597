"""Connections that begin with the same bytes say the same: decode each beginning once.

A tree of steps: each edge is what one side sent, each node what that completed. The kernels build it and walk it;
here each step is decoded once. Decoders that were fed up to a step are kept for what follows it, within a bound;
beyond it they are made anew and fed what went before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from thingward.model.columns import I32, I64, U8, Rows
from thingward.model.record import Malformed
from thingward.wire.message import Message, StreamDecoder
from thingward.wire.packets import walks as kernels

Choose = Callable[[int, bytes, bool, bool], StreamDecoder | None]
"""Responder's port, first bytes, whether the initiator sent them, whether the beginning was missed."""
Found = tuple[Message | Malformed, ...]

_STEP_BYTES = 128


class Step:
    """What is known after some bytes.

    Attributes:
        before: None where connections begin.
        dport, mid_stream: of the connections that come here: the responder's port, the beginning was missed.
        found: what the last bytes completed, None if they were not decoded yet; if it is over, also what then
            remained unanswered.
        over: nothing more is to be learnt.
        ending: what a connection that ends here leaves unanswered, None if nobody asked yet.
    """

    __slots__ = ("before", "data", "dport", "ending", "found", "from_initiator", "mid_stream", "number", "over")

    def __init__(
        self, number: int, before: Step | None, from_initiator: bool, data: bytes, dport: int, mid_stream: bool
    ) -> None:
        self.number = number
        self.before = before
        self.from_initiator = from_initiator
        self.data = data
        self.dport = dport
        self.mid_stream = mid_stream
        self.found: Found | None = None
        self.over = False
        self.ending: Found | None = None

    def believed(self, found: list[Message | Malformed]) -> Found:
        """In a connection whose beginning was not seen, what cannot be read proves nothing."""
        if self.mid_stream:
            return tuple(message for message in found if not isinstance(message, Malformed))
        return tuple(found)

    def end(self, found: Found) -> None:
        """Note that the connection is over."""
        self.found = found
        self.over = True
        self.ending = ()


def root(dport: int, mid_stream: bool, number: int = -1) -> Step:
    """Give a step where connections begin."""
    step = Step(number, None, False, b"", dport, mid_stream)
    step.found = step.ending = ()
    return step


class StreamMemory:
    """The tree, bounded in bytes: when it is full nothing is added until it is forgotten and grows anew.

    Attributes:
        rows, places, roots, known, counters: the tree as the kernels see it: steps, where they are found by what
            leads to them, the number + 1 of each port's two beginnings, the bytes, and how much is in use.
        lost: connections whose place another one took.
    """

    def __init__(self, choose: Choose, limit_bytes: int = 8 << 20, decoders: int = 8192) -> None:
        """`decoders` are kept at most for connections that may go on; the one that was used longest ago goes first."""
        self._choose = choose
        self._most_decoders = decoders
        size = max(1, limit_bytes // _STEP_BYTES)
        self.rows: Rows = np.zeros(size, kernels.STEP)
        self.places: I32 = np.zeros(2 << size.bit_length(), np.int32)
        self.roots: I32 = np.zeros(1 << 17, np.int32)
        self.known: U8 = np.zeros(max(1, limit_bytes), np.uint8)
        self.counters: I64 = np.zeros(kernels.COUNTERS, np.int64)
        self._steps: list[Step] = []
        self._decoders: OrderedDict[int, StreamDecoder] = OrderedDict()
        self._learnt = 0

    @property
    def lost(self) -> int:
        """Connections whose place another one took."""
        return int(self.counters[kernels.C_LOST])

    @property
    def is_full(self) -> bool:
        """Whether a step was not kept for want of room."""
        return bool(self.counters[kernels.C_NO_ROOM])

    def steps(self) -> list[Step]:
        """Give all steps by number, with those that the kernels added."""
        steps = self._steps
        first = len(steps)
        end = int(self.counters[kernels.C_STEPS])
        if first < end:
            known = memoryview(self.known)  # type: ignore[arg-type]
            for number, (key, at, size, before, out, _) in enumerate(self.rows[first:end].tolist(), first):
                if before < 0:
                    steps.append(root(key >> 1, bool(key & 1), number))
                else:
                    parent = steps[before]
                    data = bytes(known[at : at + size])
                    steps.append(Step(number, parent, bool(out), data, parent.dport, parent.mid_stream))
        return steps

    def learn(self) -> None:
        """Decode the steps that are new, and tell the kernels what came of it."""
        first = self._learnt
        new = self.steps()[first:]
        if new:
            for step in new:
                if step.found is None:
                    self._decode(step)
            self.rows["flags"][first : first + len(new)] = [_flags(step) for step in new]
            self._learnt = first + len(new)

    def forget(self) -> None:
        """Drop all steps; who stands on one keeps it."""
        self._steps = []
        self._decoders.clear()
        self._learnt = 0
        self.places[:] = 0
        self.roots[:] = 0
        for counter in (kernels.C_STEPS, kernels.C_BYTES, kernels.C_NO_ROOM):
            self.counters[counter] = 0

    def _decode(self, step: Step) -> None:
        before = step.before
        assert before is not None
        if before.over:
            step.end(())
            return
        decoder = self._decoders.pop(before.number, None) or self.caught_up(before)
        if decoder is None:
            decoder = self.decoder(step)
        if decoder is None:
            step.end(())
            return
        found = decoder.feed(step.from_initiator, step.data)
        if decoder.done:
            step.end(step.believed([*found, *decoder.finish()]))
        else:
            step.found = step.believed(found)
            if len(self._decoders) >= self._most_decoders:
                self._decoders.popitem(last=False)
            self._decoders[step.number] = decoder

    def ending(self, step: Step) -> Found:
        """Give what a connection that ends at a step leaves unanswered."""
        if step.ending is None:
            decoder = self._decoders.pop(step.number, None) or self.caught_up(step)
            step.ending = () if decoder is None else step.believed(decoder.finish())
            if 0 <= step.number < self._learnt and self._steps[step.number] is step:
                self.rows["flags"][step.number] = _flags(step)
        return step.ending

    def caught_up(self, to: Step) -> StreamDecoder | None:
        """Make a decoder and feed it everything up to a step; None if there was nothing or nobody reads it."""
        steps: list[Step] = []
        at: Step | None = to
        while at is not None and at.before is not None:
            steps.append(at)
            at = at.before
        if not steps:
            return None
        decoder = self.decoder(steps[-1])
        if decoder is not None:
            for step in reversed(steps):
                decoder.feed(step.from_initiator, step.data)
        return decoder

    def decoder(self, first: Step) -> StreamDecoder | None:
        """Choose the decoder by a connection's first step."""
        return self._choose(first.dport, first.data, first.from_initiator, first.mid_stream)


def _flags(step: Step) -> int:
    flags = kernels.F_FOUND if step.found else 0
    # What follows the end of a connection is over too, but that was said already.
    is_end = step.over and step.before is not None and not step.before.over
    flags |= kernels.F_OVER if is_end else 0
    return flags | (kernels.F_QUIET if step.ending == () else 0)


class Walk:
    """One connection that is put in order here: its own decoder, fed what went before it came."""

    __slots__ = ("_at", "_decoder", "_memory")

    def __init__(self, memory: StreamMemory, at: Step) -> None:
        self._memory = memory
        self._at = at
        self._decoder = None if at.over else memory.caught_up(at)

    def feed(self, from_initiator: bool, data: bytes) -> tuple[Found, bool]:
        """Take the next bytes of one side, not empty; gives what they complete, and whether that was all."""
        at = self._at
        if at.over:
            return (), True
        if self._decoder is None:
            self._decoder = self._memory.decoder(Step(-1, at, from_initiator, data, at.dport, at.mid_stream))
            if self._decoder is None:
                return (), True
        return at.believed(self._decoder.feed(from_initiator, data)), self._decoder.done

    def finish(self) -> Found:
        """No more bytes come: what was waiting for an answer."""
        return () if self._decoder is None or self._at.over else self._at.believed(self._decoder.finish())
