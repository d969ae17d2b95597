"""Heads of connections: order, holes, bounds."""

from __future__ import annotations

from typing import ClassVar

from thingward.model.record import Malformed
from thingward.sensing.streams import HeadStreams, StreamLimits
from thingward.wire.message import Message


class Line(Message, frozen=True, kw_only=True):
    protocol: ClassVar[str] = "lines"
    text: bytes


class LineDecoder:
    """Gives a message per line; done after `END`."""

    protocol: ClassVar[str] = "lines"
    made: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.parts = {True: b"", False: b""}
        self.done = False
        self.made.append(1)

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        *lines, self.parts[from_initiator] = (self.parts[from_initiator] + data).split(b"\n")
        self.done = b"END" in lines
        return [
            Malformed(reason="bad line") if line == b"BAD" else Line(text=line, from_initiator=from_initiator)
            for line in lines
        ]

    def finish(self) -> list[Message | Malformed]:
        rest = [Line(text=b"rest " + part) for part in self.parts.values() if part]
        self.parts = {True: b"", False: b""}
        return rest


def choose(dport: int, first: bytes, from_initiator: bool, mid_stream: bool) -> LineDecoder | None:
    return LineDecoder() if dport == 7 else None


def make(**limits: int) -> HeadStreams:
    LineDecoder.made.clear()
    return HeadStreams(choose, StreamLimits(**limits))


def texts(found: tuple[Message | Malformed, ...]) -> list[bytes]:
    return [one.text if isinstance(one, Line) else b"malformed" for one in found]


def feed(
    streams: HeadStreams, data: bytes, at: int, *, flow: int = 1, out: bool = True, start: int = 100, dport: int = 7
) -> list[bytes]:
    return texts(streams.feed(flow, out, (start + at) % 2**32 if start >= 0 else at, start, dport, data)[0])


def test_in_order() -> None:
    streams = make()
    assert feed(streams, b"one\ntw", 0) == [b"one"]
    assert feed(streams, b"back\n", 0, out=False) == [b"back"]
    assert feed(streams, b"o\n", 6) == [b"two"]


def test_out_of_order_again_and_overlapping() -> None:
    streams = make()
    assert feed(streams, b"three\n", 8) == []
    assert feed(streams, b"two\n", 4) == []
    assert feed(streams, b"one\n", 0) == [b"one", b"two", b"three"]
    assert feed(streams, b"one\n", 0) == []
    assert feed(streams, b"three\nfour\n", 8) == [b"four"]


def test_sequence_numbers_wrap() -> None:
    streams = make()
    assert feed(streams, b"one\n", 0, start=2**32 - 2) == [b"one"]
    assert feed(streams, b"two\n", 4, start=2**32 - 2) == [b"two"]


def test_a_hole_that_stays_ends_the_direction_and_is_counted() -> None:
    streams = make(window_bytes=100)
    assert feed(streams, b"x" * 60, 10) == []
    assert feed(streams, b"y" * 60, 80) == []
    assert streams.gaps == 1
    assert feed(streams, b"one\n", 0) == []
    assert feed(streams, b"back\n", 0, out=False) == [b"back"]


def test_too_many_waiting_segments() -> None:
    streams = make(window_segments=3)
    for i in range(4):
        feed(streams, b"x", 2 + 2 * i)
    assert streams.gaps == 1


def test_only_the_head_is_read() -> None:
    streams = make(head_bytes=8)
    assert feed(streams, b"one\ntwo\nthree\n", 0) == [b"one", b"two"]
    assert feed(streams, b"four\n", 14) == []
    assert feed(streams, b"a\nb\nc\nd\ne\n", 0, out=False) == [b"a", b"b", b"c", b"d"]
    found, over = streams.feed(1, False, 110, 100, 7, b"more\n")
    assert (found, over, len(streams)) == ((), True, 0)


def test_nobody_reads_it() -> None:
    streams = make()
    assert streams.feed(1, True, 0, 0, 9, b"one\n") == ((), True)
    assert len(streams) == 0 and LineDecoder.made == []


def test_done_ends_the_stream_with_what_waited() -> None:
    streams = make()
    feed(streams, b"wait", 0, out=False)
    found, over = streams.feed(1, True, 100, 100, 7, b"END\nmore")
    assert (texts(found), over) == ([b"END", b"rest more", b"rest wait"], True)
    assert 1 not in streams


def test_finish_gives_what_waited_once() -> None:
    streams = make()
    feed(streams, b"wait", 0)
    assert texts(streams.finish(1)) == [b"rest wait"]
    assert streams.finish(1) == ()


def test_streams_are_bounded() -> None:
    streams = make(streams=3)
    for flow in range(5):
        feed(streams, b"x", 0, flow=flow)
    assert len(streams) == 3 and streams.evicted == 2
    assert 0 not in streams and 4 in streams


def test_without_the_beginning_damage_proves_nothing() -> None:
    streams = make()
    assert feed(streams, b"BAD\nok\n", 5000, start=-1) == [b"ok"]
    streams = make()
    assert feed(streams, b"BAD\nok\n", 0) == [b"malformed", b"ok"]
