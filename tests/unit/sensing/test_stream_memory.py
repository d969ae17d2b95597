"""Beginnings of connections are decoded once, and forgetting them changes nothing that is found."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.sensing.test_streams import LineDecoder, choose, texts
from tests.unit.wire.frames import A, B, batch, ether, ip4, tcp
from thingward.sensing.flows import FlowTable
from thingward.sensing.sensor_payloads import PayloadChooser
from thingward.sensing.streams import HeadStreams, StreamLimits
from thingward.wire.packets import payloads as kernels
from thingward.wire.packets.flowtable import FROM_INITIATOR
from thingward.wire.packets.parse import PacketParser

START = 1000
Segment = tuple[int, bool, int, bytes]
"""Connection, whether its initiator sends, where in the direction, bytes."""


class Heads:
    """Frames in, what the heads of their connections say out: the road of the sensor without its records."""

    def __init__(self, **limits: int) -> None:
        LineDecoder.made.clear()
        self.streams = HeadStreams(choose, StreamLimits(**limits))
        self.handed_out = 0
        self.found: dict[int, list[bytes]] = {}
        self._chooser = PayloadChooser(self.streams)
        self._flows = FlowTable()
        self._parser = PacketParser()
        self._begun: set[tuple[int, bool]] = set()
        self._time = 1000.0

    def feed(self, *segments: Segment, dport: int = 7, opens: bool = True) -> None:
        """Take segments as one batch; each direction's SYN comes before its first segment."""
        frames = []
        for number, out, at, data in segments:
            if opens and (number, True) not in self._begun:
                self._begun.add((number, True))
                frames.append(self._frame(number, True, -1, b"", dport, 2))
            if opens and not out and (number, False) not in self._begun:
                self._begun.add((number, False))
                frames.append(self._frame(number, False, -1, b"", dport, 18))
            frames.append(self._frame(number, out, at, data, dport, 24))
        times = [int(time * 1e9) for time, _ in frames]
        for columns in self._parser.parse(batch([frame for _, frame in frames], ts_ns=times)):
            update = self._flows.update(columns)
            chosen = self._chooser.choose(columns, update, self._flows.entries)
            self._take(columns, update, chosen)
            self.streams.end_batch()

    def end(self) -> None:
        """End all connections."""
        reports = self._flows.sweep(0, finish=True)
        numbers = reports["flow"].astype("i8")
        for index in self.streams.unanswered(numbers):
            report = reports[index]
            self._say(int(report["sport"]), texts(self.streams.finish(int(numbers[index]))))

    def _take(self, columns, update, chosen) -> None:  # type: ignore[no-untyped-def]
        slots, numbers, closed = [], [], set()
        for at, kind, start in zip(chosen.rows.tolist(), chosen.kinds.tolist(), chosen.starts.tolist(), strict=True):
            row, number, slot = columns.rows[at], int(update.numbers[at]), int(update.slots[at])
            out = slot & FROM_INITIATOR != 0
            if kind == kernels.W_STEP:
                step = self.streams.memory.steps()[start]
                found, over = step.found or (), step.over
            elif kind == kernels.W_SEGMENT and number not in closed:
                data = columns.batch.data[row["payload"] : row["payload"] + row["payload_len"]].tobytes()
                dport = int(row["dport"] if out else row["sport"])
                found, over = self.streams.feed(number, out, int(row["tcp_seq"]), start, dport, data)
            else:
                continue
            self.handed_out += 1
            self._say(int(row["sport"] if out else row["dport"]), texts(found))
            if over:
                closed.add(number)
                slots.append(slot)
                numbers.append(number)
        self._flows.close_heads(slots, numbers)

    def _say(self, sport: int, lines: list[bytes]) -> None:
        self.found.setdefault(sport - 40000, []).extend(lines)

    def _frame(self, number: int, out: bool, at: int, data: bytes, dport: int, flags: int) -> tuple[float, bytes]:
        self._time += 0.001
        sport = 40000 + number
        seq = (START + at) % 2**32
        segment = (
            tcp(data, sport, dport, seq=seq, flags=flags) if out else tcp(data, dport, sport, seq=seq, flags=flags)
        )
        ends = ("10.0.0.1", "10.0.0.2") if out else ("10.0.0.2", "10.0.0.1")
        src, dst = (A, B) if out else (B, A)
        return self._time, ether(ip4(segment, 6, *ends), src=src, dst=dst)


def test_equal_beginnings_are_decoded_once_and_what_says_nothing_is_not_handed_out() -> None:
    heads = Heads()
    for number in range(10):
        heads.feed((number, True, 0, b"on"), (number, True, 2, b"e\n"), (number, False, 0, b"back\n"))
    heads.end()
    assert heads.found == {number: [b"one", b"back"] for number in range(10)}
    assert len(LineDecoder.made) == 1
    assert heads.handed_out == 2 * 10


def test_equal_beginnings_within_one_batch() -> None:
    heads = Heads()
    heads.feed(*[(number, True, 0, b"one\n") for number in range(10)])
    assert heads.found == {number: [b"one"] for number in range(10)}
    assert len(LineDecoder.made) == 1


def test_a_connection_that_leaves_the_known_way_gets_what_went_before() -> None:
    heads = Heads()
    heads.feed((1, True, 0, b"one\ntw"), (1, True, 6, b"o\n"))
    heads.feed((2, True, 0, b"one\ntw"))
    heads.feed((2, True, 6, b"enty\n"))
    heads.feed((3, True, 0, b"one\ntw"))
    heads.feed((1, True, 8, b"!\n"), (2, True, 11, b"?\n"))
    heads.end()
    assert heads.found == {1: [b"one", b"two", b"!"], 2: [b"one", b"twenty", b"?"], 3: [b"one", b"rest tw"]}


def test_a_connection_out_of_order_is_put_in_order_from_where_it_stands() -> None:
    heads = Heads()
    heads.feed((1, True, 0, b"one\nt"), (1, True, 5, b"wo\n"))
    heads.feed((2, True, 0, b"one\nt"), (2, True, 8, b"three\n"), (2, True, 5, b"wo\n"), (2, False, 0, b"back\n"))
    heads.feed((2, True, 0, b"one\nt"), (2, True, 14, b"four\n"))
    assert heads.found[2] == [b"one", b"two", b"three", b"back", b"four"]


def test_a_repeated_segment_says_nothing() -> None:
    heads = Heads()
    heads.feed((1, True, 0, b"one\n"), (1, True, 0, b"one\n"), (1, True, 4, b"two\n"), (1, True, 0, b"one\n"))
    assert heads.found == {1: [b"one", b"two"]} and len(heads.streams) == 0


def test_the_known_end_of_a_connection_closes_it() -> None:
    heads = Heads()
    for number in range(3):
        heads.feed((number, False, 0, b"wait"), (number, True, 0, b"END\nmore"), (number, True, 8, b"x\n"))
        heads.feed((number, True, 10, b"y\n"))
    heads.end()
    assert heads.found == {number: [b"END", b"rest more", b"rest wait"] for number in range(3)}


def test_nobody_reads_it() -> None:
    heads = Heads()
    for number in range(3):
        heads.feed((number, True, 0, b"one\n"), (number, True, 4, b"two\n"), dport=9)
    heads.end()
    assert set(map(tuple, heads.found.values())) <= {()} and LineDecoder.made == []


def test_without_the_beginning_damage_proves_nothing() -> None:
    heads = Heads()
    for number in range(2):
        heads.feed((number, True, 500, b"BAD\nok\n"), (number, True, 507, b"on\n"), opens=False)
    assert heads.found == {0: [b"ok", b"on"], 1: [b"ok", b"on"]}


def test_only_the_head_is_read() -> None:
    heads = Heads(head_bytes=8)
    for number in range(3):
        heads.feed((number, True, 0, b"one\ntwo\n"), (number, True, 8, b"three\n"), (number, True, 14, b"four\n"))
        heads.feed((number, False, 0, b"a\nb\n"), (number, True, 19, b"five\n"), (number, False, 4, b"c\nd\ne\n"))
    assert heads.found == {number: [b"one", b"two", b"a", b"b", b"c", b"d"] for number in range(3)}


def test_a_full_side_is_not_handed_out_any_more() -> None:
    heads = Heads(head_bytes=8)
    heads.feed((1, True, 0, b"one\ntwo\nx"))
    before = heads.handed_out
    heads.feed((1, True, 9, b"three\n"), (1, True, 15, b"four\n"))
    assert heads.handed_out == before


def test_what_is_remembered_is_bounded_and_forgetting_changes_nothing() -> None:
    heads = Heads(remembered_bytes=1024)
    for number in range(50):
        heads.feed((number, True, 0, b"%d" % number))
    for number in range(50):
        heads.feed((number, True, len(b"%d" % number), b"\n"))
    assert heads.found == {number: [b"%d" % number] for number in range(50)}
    assert len(heads.streams.memory.steps()) <= 8 and heads.streams.evicted == 0


def test_connections_are_bounded() -> None:
    heads = Heads(streams=4)
    heads.feed(*[(number, True, 0, b"%d" % number) for number in range(40)])
    assert heads.streams.evicted == 40 - 16


def test_a_decoder_that_was_not_kept_is_made_anew() -> None:
    heads = Heads(streams=2)
    for at, letter in enumerate((b"a", b"b", b"c", b"\n")):
        heads.feed(*[(number, True, 2 * at, b"%d" % number + letter) for number in range(5)])
    assert heads.found == {number: [b"%da%db%dc%d" % ((number,) * 4)] for number in range(5)}
    assert len(LineDecoder.made) > 5


PIECES = (b"a", b"b\n", b"one\n", b"two", b"END\n", b"BAD\n")


@settings(max_examples=60, deadline=None)
@example(
    ways=[[(False, b"END\n"), (True, b"a")], [], [(True, b"BAD\n"), (False, b"BAD\n"), (False, b"BAD\n")]],
    cuts=[3],
    remembered=700,
    late=True,
)
@given(
    ways=st.lists(st.lists(st.tuples(st.booleans(), st.sampled_from(PIECES)), max_size=5), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    remembered=st.sampled_from([200, 700, 8 << 20]),
    late=st.booleans(),
)
def test_what_is_found_does_not_depend_on_what_is_known(
    ways: list[list[tuple[bool, bytes]]], cuts: list[int], remembered: int, late: bool
) -> None:
    heads = Heads(remembered_bytes=remembered)
    expected: dict[int, list[bytes]] = {}
    queue: list[Segment] = []
    for number, way in enumerate(ways):
        decoder = LineDecoder()
        at = {True: 0, False: 0}
        said = expected[number] = []
        segments = []
        for out, data in way:
            segments.append((number, out, at[out], data))
            at[out] += len(data)
            if not decoder.done:
                said += texts(tuple(decoder.feed(out, data)))
        said += texts(tuple(decoder.finish()))
        if late and len(segments) > 1 and segments[0][1] == segments[1][1]:
            segments[:2] = segments[1::-1]
        queue += segments
    size = 0
    while queue:
        size += 1
        taken = cuts[size % len(cuts)]
        heads.feed(*queue[:taken])
        queue = queue[taken:]
    heads.end()
    assert {number: heads.found.get(number, []) for number in expected} == expected
