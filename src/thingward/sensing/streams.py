"""The first bytes of TCP connections in order: enough for hellos, log-ins and requests, bounded in every way."""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import numpy as np

from thingward.model.columns import I64, Rows
from thingward.sensing.stream_memory import Choose, Found, Step, StreamMemory, Walk, root
from thingward.wire.packets import walks as kernels

_WRAP = 1 << 32
_HALF = 1 << 31
_WALKS_PER_STREAM = 4


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the head reassembly.

    Attributes:
        streams: connections followed at once; the one that began first goes first. Of those that begin like one
            that is remembered, four times as many.
        head_bytes: bytes of each direction that are handed to a decoder.
        window_bytes: how far ahead of the next byte a segment may lie, and how much may wait for a hole to fill.
        window_segments: how many segments may wait.
        remembered_bytes: beginnings of connections that are remembered with what they mean.
    """

    streams: int = 8192
    head_bytes: int = 16384
    window_bytes: int = 65536
    window_segments: int = 16
    remembered_bytes: int = 8 << 20


class _Side:
    """One direction: the next byte wanted, and what came too early."""

    __slots__ = ("delivered", "next", "waiting", "waiting_bytes")

    def __init__(self, sequence: int, delivered: int = 0) -> None:
        self.next = sequence
        self.delivered = delivered
        self.waiting: dict[int, bytes] = {}
        self.waiting_bytes = 0


class _Stream:
    """One connection: its two directions and what they have said so far."""

    __slots__ = ("initiator", "responder", "walk")

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.initiator: _Side | None = None
        self.responder: _Side | None = None


class HeadStreams:
    """Puts segments in order and has them decoded.

    Attributes:
        memory: the beginnings that are known.
        walks: connections that the kernels follow along known beginnings; those that leave them come here.
        gaps: directions given up because bytes were missing for too long.
    """

    def __init__(self, choose: Choose, limits: StreamLimits | None = None) -> None:
        """`choose` names the decoder for a connection."""
        self._limits = limits or StreamLimits()
        self.memory = StreamMemory(choose, self._limits.remembered_bytes, self._limits.streams)
        size = 1 << (max(1, _WALKS_PER_STREAM * self._limits.streams) - 1).bit_length()
        self.walks: Rows = np.zeros(size, kernels.WALK)
        self.walks["flow"] = -1
        self._streams: OrderedDict[int, _Stream] = OrderedDict()
        self._evicted = 0
        self.gaps = 0

    @property
    def head_bytes(self) -> int:
        """Bytes of each direction that are looked at."""
        return self._limits.head_bytes

    @property
    def evicted(self) -> int:
        """Connections given up to make room."""
        return self._evicted + self.memory.lost

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, flow: int) -> bool:
        return flow in self._streams

    def feed(
        self, flow: int, from_initiator: bool, sequence: int, start: int, dport: int, data: bytes
    ) -> tuple[Found, bool]:
        """Take a segment with data.

        Args:
            flow: number of its flow.
            sequence: of its first byte.
            start: sequence number of the direction's first data byte, -1 if its SYN was not seen.
            dport: the responder's port.
        Returns:
            What it completed, and whether the connection is of no further interest.
        """
        stream = self._streams.get(flow)
        if stream is None:
            stream = self._stands_at(flow) or self._open(flow, root(dport, start < 0))
        side = stream.initiator if from_initiator else stream.responder
        if side is None:
            side = _Side(sequence if start < 0 else start)
            if from_initiator:
                stream.initiator = side
            else:
                stream.responder = side
        if sequence == side.next and not side.waiting:
            size = len(data)
            side.next = (sequence + size) % _WRAP
            if side.delivered + size <= self._limits.head_bytes:
                side.delivered += size
                found, over = stream.walk.feed(from_initiator, data)
            else:
                found, over = self._deliver(stream, side, from_initiator, data)
                self._note_full(flow, stream)
        else:
            found, over = (), False
            for piece in self._in_order(side, sequence, data):
                more, over = self._deliver(stream, side, from_initiator, piece)
                found += more
                if over:
                    break
            self._note_full(flow, stream)
        if over:
            found += self.finish(flow)
        return found, over

    def finish(self, flow: int) -> Found:
        """The connection ended: give what was waiting for an answer, and forget it."""
        stream = self._streams.pop(flow, None)
        if stream is not None:
            return stream.walk.finish()
        place = flow & (len(self.walks) - 1)
        number, step, *_, state = self.walks[place].item()
        if number != flow or state != kernels.WALKING:
            return ()
        self.walks["flow"][place] = -1
        return self.memory.ending(self.memory.steps()[step])

    def unanswered(self, flows: I64) -> list[int]:
        """Forget connections that ended, but for those that may have left something unanswered.

        Returns:
            Indices of these; `finish` says what they left.
        """
        places = flows & (len(self.walks) - 1)
        walks = self.walks[places]
        quiet = self.memory.rows["flags"][walks["step"]] & kernels.F_QUIET != 0
        walking = (walks["flow"] == flows) & (walks["state"] == kernels.WALKING)
        self.walks["flow"][places[walking & quiet]] = -1
        asked = set(np.flatnonzero(walking & ~quiet).tolist())
        if self._streams:
            asked.update(index for index, flow in enumerate(flows.tolist()) if flow in self._streams)
        return sorted(asked)

    def end_batch(self) -> None:
        """Begin a new memory where it is full."""
        memory = self.memory
        if memory.is_full:
            walks = self.walks
            flows = np.sort(walks["flow"][(walks["flow"] >= 0) & (walks["state"] == kernels.WALKING)])
            self._evicted += max(0, len(flows) - self._limits.streams)
            for flow in flows[-self._limits.streams :].tolist():
                self._stands_at(flow)
            walks["state"][walks["state"] == kernels.WALKING] = kernels.GIVEN
            walks["step"] = -1
            memory.forget()

    def _stands_at(self, flow: int) -> _Stream | None:
        """Take a connection over from the kernels, where it stands; None if they do not follow it."""
        place = flow & (len(self.walks) - 1)
        number, step, out_bytes, back_bytes, out_next, back_next, _ = self.walks[place].item()
        if number != flow or step < 0:
            return None
        self.walks["state"][place] = kernels.GIVEN
        stream = self._open(flow, self.memory.steps()[step])
        if out_bytes >= 0:
            stream.initiator = _Side(out_next, out_bytes)
        if back_bytes >= 0:
            stream.responder = _Side(back_next, back_bytes)
        return stream

    def _note_full(self, flow: int, stream: _Stream) -> None:
        """Have no more segments handed out of a side whose head is complete, or lost, while the other's is not."""
        limit = self._limits.head_bytes
        out = stream.initiator is not None and stream.initiator.delivered >= limit
        back = stream.responder is not None and stream.responder.delivered >= limit
        place = flow & (len(self.walks) - 1)
        if self.walks["flow"][place] == flow:
            state = kernels.GIVEN if out == back else kernels.OUT_FULL if out else kernels.BACK_FULL
            self.walks["state"][place] = state

    def _open(self, flow: int, at: Step) -> _Stream:
        if len(self._streams) >= self._limits.streams:
            self._streams.popitem(last=False)
            self._evicted += 1
        stream = self._streams[flow] = _Stream(Walk(self.memory, at))
        return stream

    def _in_order(self, side: _Side, sequence: int, data: bytes) -> list[bytes]:
        """Give the pieces that come next, now that this segment is here."""
        ahead = (sequence - side.next) % _WRAP
        if ahead >= _HALF:
            data = data[_WRAP - ahead :]
            if not data:
                return []
        elif ahead:
            self._wait(side, sequence, ahead, data)
            return []
        side.next = (side.next + len(data)) % _WRAP
        pieces = [data]
        while side.waiting:
            position = next((at for at in side.waiting if (side.next - at) % _WRAP < _HALF), None)
            if position is None:
                break
            piece = side.waiting.pop(position)
            side.waiting_bytes -= len(piece)
            piece = piece[(side.next - position) % _WRAP :]
            if piece:
                side.next = (side.next + len(piece)) % _WRAP
                pieces.append(piece)
        return pieces

    def _wait(self, side: _Side, sequence: int, ahead: int, data: bytes) -> None:
        """Keep a segment that came too early; give the direction up where the hole is too wide."""
        limits = self._limits
        before = len(side.waiting.get(sequence, b""))
        if before >= len(data) or side.delivered >= limits.head_bytes:
            return
        room = limits.window_bytes - side.waiting_bytes + before
        if ahead > limits.window_bytes or len(data) > room or len(side.waiting) >= limits.window_segments:
            self.gaps += 1
            side.delivered = limits.head_bytes
            side.waiting.clear()
            side.waiting_bytes = 0
            return
        side.waiting_bytes += len(data) - before
        side.waiting[sequence] = data

    def _deliver(self, stream: _Stream, side: _Side, from_initiator: bool, data: bytes) -> tuple[Found, bool]:
        limit = self._limits.head_bytes
        if side.delivered + len(data) > limit:
            data = data[: limit - side.delivered]
            if not data:
                other = stream.responder if from_initiator else stream.initiator
                return (), other is not None and other.delivered >= limit
        side.delivered += len(data)
        return stream.walk.feed(from_initiator, data)
