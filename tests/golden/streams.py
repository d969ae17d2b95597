"""A plain TCP reassembly for tests: enough to hand our stream decoders what tshark's frames carry."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.golden.tshark_oracle import Frame
from thingward.model.record import Malformed
from thingward.wire.dispatch import stream_decoder
from thingward.wire.message import Message, StreamDecoder

MAX_PENDING = 256
Watch = Callable[[int, bool, bytes], None]


@dataclass
class Stream:
    """One connection: who opened it, what is expected next of each side, what the decoder said."""

    initiator: tuple[str, int]
    ports: tuple[int, int]
    mid_stream: bool
    told: Callable[[bool, bytes], None] | None = None
    decoder: StreamDecoder | None = None
    tries: int = 0
    expected: dict[bool, int] = field(default_factory=dict)
    pending: dict[bool, dict[int, bytes]] = field(default_factory=lambda: {True: {}, False: {}})
    messages: list[Message | Malformed] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        """Take one segment; bytes go on in order, holes wait."""
        forward = (frame.source, frame.sport) == self.initiator
        if frame.flags & 2:
            self.expected[forward] = (frame.sequence + 1) % 2**32
        if not frame.payload:
            return
        expected = self.expected.setdefault(forward, frame.sequence)
        pending = self.pending[forward]
        if len(pending) < MAX_PENDING:
            known = pending.get(frame.sequence, b"")
            pending[frame.sequence] = max(known, frame.payload, key=len)
        while ready := [at for at in pending if (expected - at) % 2**32 < 2**31]:
            at = min(ready, key=lambda one: (one - expected) % 2**32 - 2**32)
            data = pending.pop(at)[(expected - at) % 2**32 :]
            if data:
                expected = (expected + len(data)) % 2**32
                self._deliver(forward, data)
        self.expected[forward] = expected

    def _deliver(self, forward: bool, data: bytes) -> None:
        if self.told is not None:
            self.told(forward, data)
        if self.decoder is None and self.tries < 2:
            self.tries += 1
            self.decoder = stream_decoder(6, *self.ports, data, forward, self.mid_stream)
        if self.decoder is not None and not self.decoder.done:
            self.messages += self.decoder.feed(forward, data)


def follow_streams(frames: Iterable[Frame], watch: Watch | None = None) -> dict[int, Stream]:
    """Run our stream decoders over a capture's TCP frames, by tshark's stream number.

    `watch` is told the bytes of each connection in order: number, from the initiator, data.
    """
    streams: dict[int, Stream] = {}
    peers: dict[int, tuple[str, int]] = {}
    for frame in frames:
        if frame.proto != 6:
            continue
        here = (frame.source, frame.sport)
        stream = streams.get(frame.stream)
        if stream is None:
            answers = frame.flags & 0x12 == 0x12
            ports = (frame.dport, frame.sport) if answers else (frame.sport, frame.dport)
            initiator = ("", -1) if answers else here
            told = functools.partial(watch, frame.stream) if watch is not None else None
            stream = streams[frame.stream] = Stream(initiator, ports, not frame.flags & 2, told)
            peers[frame.stream] = here
        if stream.initiator == ("", -1) and here != peers[frame.stream]:
            stream.initiator = here
        stream.add(frame)
    for stream in streams.values():
        if stream.decoder is not None:
            stream.messages += stream.decoder.finish()
    return streams
