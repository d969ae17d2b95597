"""The first bytes of TCP connections in order: enough for hellos, log-ins and requests, bounded in every way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from thingward.model.record import Malformed
from thingward.wire.message import Message, StreamDecoder

_WRAP = 1 << 32
_HALF = 1 << 31

ChooseDecoder = Callable[[int, int, int, bytes, bool, bool], StreamDecoder | None]


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the head reassembly.

    Attributes:
        streams: connections followed at once; the one that was silent longest goes first.
        head_bytes: bytes of each direction that are handed to a decoder.
        window_bytes: how far ahead of the next byte a segment may lie, and how much may wait for a hole to fill.
        window_segments: how many segments may wait.
    """

    streams: int = 8192
    head_bytes: int = 16384
    window_bytes: int = 65536
    window_segments: int = 16


class _Side:
    """One direction: the next byte wanted, and what came too early."""

    __slots__ = ("delivered", "next", "waiting", "waiting_bytes")

    def __init__(self, sequence: int) -> None:
        self.next = sequence
        self.delivered = 0
        self.waiting: dict[int, bytes] = {}
        self.waiting_bytes = 0


class Stream:
    """One connection that is being read.

    Attributes:
        decoder: what reads it, None until the first bytes chose one.
        name: server name that the connection asked for, empty if unknown.
    """

    __slots__ = ("decoder", "mid_stream", "name", "ports", "sides")

    def __init__(self, ports: tuple[int, int], mid_stream: bool) -> None:
        self.decoder: StreamDecoder | None = None
        self.name = ""
        self.ports = ports
        self.mid_stream = mid_stream
        self.sides: dict[bool, _Side] = {}


class Segment(msgspec.Struct, frozen=True):
    """One TCP segment with data.

    Attributes:
        flow: number of its flow.
        sequence: of its first byte.
        start: sequence number of the direction's first data byte, if the SYN was seen.
        ports: initiator's and responder's.
    """

    flow: int
    from_initiator: bool
    sequence: int
    start: int | None
    ports: tuple[int, int]
    data: bytes


class HeadStreams:
    """Puts segments in order and feeds decoders.

    Attributes:
        evicted: connections given up to make room.
        gaps: directions given up because bytes were missing for too long.
    """

    def __init__(self, choose: ChooseDecoder, limits: StreamLimits | None = None) -> None:
        """`choose` names the decoder for a connection, as `wire.dispatch.stream_decoder`."""
        self._choose = choose
        self._limits = limits or StreamLimits()
        self._streams: OrderedDict[int, Stream] = OrderedDict()
        self.evicted = 0
        self.gaps = 0

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, flow: int) -> Stream | None:
        """Give a connection that is still followed."""
        return self._streams.get(flow)

    def feed(self, segment: Segment) -> tuple[list[Message | Malformed], bool]:
        """Take a segment; gives what it completed, and whether the connection is of no further interest."""
        stream = self._streams.get(segment.flow)
        if stream is None:
            stream = self._open(segment)
        else:
            self._streams.move_to_end(segment.flow)
        side = stream.sides.get(segment.from_initiator)
        if side is None:
            start = segment.sequence if segment.start is None else segment.start
            side = stream.sides[segment.from_initiator] = _Side(start)
        messages: list[Message | Malformed] = []
        over = False
        for data in self._in_order(side, segment):
            found, over = self._deliver(stream, side, segment.from_initiator, data)
            messages += found
            if over:
                break
        if over or self._is_hopeless(stream):
            messages += self.finish(segment.flow)
            return messages, True
        return messages, False

    def finish(self, flow: int) -> list[Message | Malformed]:
        """The connection ended: give what was waiting for an answer, and forget it."""
        stream = self._streams.pop(flow, None)
        if stream is None or stream.decoder is None:
            return []
        return _believed(stream, stream.decoder.finish())

    def _open(self, segment: Segment) -> Stream:
        if len(self._streams) >= self._limits.streams:
            self._streams.popitem(last=False)
            self.evicted += 1
        stream = self._streams[segment.flow] = Stream(segment.ports, segment.start is None)
        return stream

    def _in_order(self, side: _Side, segment: Segment) -> list[bytes]:
        """Give the pieces that come next, now that this segment is here."""
        ahead = (segment.sequence - side.next) % _WRAP
        data = segment.data
        if ahead >= _HALF:
            data = data[_WRAP - ahead :]
            if not data:
                return []
        elif ahead:
            self._wait(side, segment.sequence, ahead, data)
            return []
        side.next = (side.next + len(data)) % _WRAP
        if not side.waiting:
            return [data]
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
        limits = self._limits
        room = limits.window_bytes - side.waiting_bytes
        if ahead > limits.window_bytes or len(data) > room or len(side.waiting) >= limits.window_segments:
            self.gaps += 1
            side.delivered = limits.head_bytes
            side.waiting.clear()
            side.waiting_bytes = 0
            return
        if len(side.waiting.get(sequence, b"")) < len(data):
            side.waiting_bytes += len(data) - len(side.waiting.get(sequence, b""))
            side.waiting[sequence] = data

    def _deliver(
        self, stream: Stream, side: _Side, from_initiator: bool, data: bytes
    ) -> tuple[list[Message | Malformed], bool]:
        data = data[: self._limits.head_bytes - side.delivered]
        if not data:
            return [], False
        side.delivered += len(data)
        if stream.decoder is None:
            sport, dport = stream.ports
            stream.decoder = self._choose(6, sport, dport, data, from_initiator, stream.mid_stream)
            if stream.decoder is None:
                return [], True
        found = _believed(stream, stream.decoder.feed(from_initiator, data))
        return found, stream.decoder.done

    def _is_hopeless(self, stream: Stream) -> bool:
        """Both directions gave all that they may give."""
        limit = self._limits.head_bytes
        return len(stream.sides) == 2 and all(side.delivered >= limit for side in stream.sides.values())


def _believed(stream: Stream, messages: list[Message | Malformed]) -> list[Message | Malformed]:
    """In a connection whose beginning was not seen, what cannot be read proves nothing."""
    if stream.mid_stream:
        return [message for message in messages if not isinstance(message, Malformed)]
    return messages
