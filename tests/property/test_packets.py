"""Whatever the bytes: captures and frames are read without error, within bounds, the same in any chunks."""

from __future__ import annotations

import gzip
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.frames import A, B, arp, batch, ether, ip4, ip6, tcp, udp
from thingward.model.columns import NO_MAC, PROBLEMS, TUNNELS
from thingward.sensing.sensor import Sensor, SensorLimits
from thingward.wire.capture import NotACapture
from thingward.wire.capture_read import CaptureReader
from thingward.wire.capture_write import CapturedInterface, CapturedPacket, write_pcap, write_pcapng
from thingward.wire.packets.names import LINK_LIMIT
from thingward.wire.packets.parse import PacketParser
from thingward.wire.packets.scan import scan_ring

TIME = st.integers(0, 4_000_000_000 * 1_000_000_000)
PACKET = st.builds(CapturedPacket, TIME, st.binary(max_size=80), st.integers(0, 2000))
ORDER = st.sampled_from(["little", "big"])
CHUNK = st.integers(1, 200)
INNER = ether(ip4(udp(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x03cam\0\0\x01\0\x01", 40000, 53)))
SEEDS = [
    INNER,
    ether(ip6(udp(b"hello", 5353, 5353)), 0x86DD),
    ether(ip4(tcp(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 6)),
    ether(arp(), 0x0806),
    ether(ip4(udp(b"\x08\0\0\0\0\0\x01\0" + INNER, 50000, 4789))),
    ether(ip4(b"\x10\0\x22\xeb\0\0\0\x01" + bytes(12) + INNER, 47)),
    ether(ip4(udp(b"\0\0\0\x05\0\0\0\x01" + bytes(20) + b"\0\0\0\x01" + bytes(60), 50000, 6343))),
    ether(ip4(udp(b"\x34\xff" + bytes(30), 2152, 2152))),
    ether(bytes(4) + B + A + b"\x08\0" + ip4(b""), 0x88E7),
    bytes.fromhex("8802000002000000000102000000000202000000000300008000") + INNER,
]


def read(data: bytes, chunk_bytes: int) -> tuple[list[tuple[int, int, int, bytes]], str]:
    reader = CaptureReader(io.BytesIO(data), chunk_bytes=chunk_bytes, rows=5)
    found = []
    try:
        for one in reader:
            assert len(one) <= 5
            for at, size, wire, ts, link in zip(
                one.offset.tolist(), one.caplen.tolist(), one.wirelen.tolist(), one.ts_ns.tolist(), one.link.tolist(),
                strict=True,
            ):  # fmt: skip
                assert 0 <= at <= at + size <= len(one.data)
                found.append((ts, wire, link, one.data[at : at + size].tobytes()))
    except NotACapture:
        assert not found
        return [], "not a capture"
    return found, reader.problem.reason if reader.problem else ""


@given(st.lists(PACKET, max_size=12), ORDER, st.booleans(), CHUNK, st.booleans())
def test_pcap_comes_back(
    packets: list[CapturedPacket], order: str, nanoseconds: bool, chunk: int, packed: bool
) -> None:
    data = write_pcap(packets, nanoseconds=nanoseconds, order=order)
    found, problem = read(gzip.compress(data) if packed else data, chunk)
    step = 1 if nanoseconds else 1000
    assert problem == ""
    assert found == [(p.ts_ns // step * step, p.wirelen or len(p.data), 1, p.data) for p in packets]


@given(st.lists(PACKET, max_size=12), ORDER, CHUNK, st.booleans(), st.data())
def test_pcapng_comes_back(
    packets: list[CapturedPacket], order: str, chunk: int, packed: bool, draw: st.DataObject
) -> None:
    interfaces = (CapturedInterface(), CapturedInterface(link=113, shift_s=-77), CapturedInterface(link=101))
    packets = [
        CapturedPacket(p.ts_ns, p.data, p.wirelen, draw.draw(st.sampled_from([0, 2]))) for p in packets
    ]  # shift -77 with times near 0 has no exact form
    data = write_pcapng(packets, interfaces=interfaces, order=order)
    found, problem = read(gzip.compress(data) if packed else data, chunk)
    assert problem == ""
    assert found == [(p.ts_ns, p.wirelen or len(p.data), interfaces[p.interface].link, p.data) for p in packets]


def mutated(data: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for at, value in edits:
        if changed:
            changed[at % len(changed)] = value
    return bytes(changed[: len(changed) - cut % (len(changed) + 1)])


EDITS = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6)


@given(st.lists(PACKET, min_size=1, max_size=5), st.booleans(), EDITS, st.integers(0, 40), CHUNK, CHUNK)
def test_damaged_captures_end_the_same_way_in_any_chunks(
    packets: list[CapturedPacket], is_ng: bool, edits: list[tuple[int, int]], cut: int, one: int, other: int
) -> None:
    data = mutated(write_pcapng(packets) if is_ng else write_pcap(packets), edits, cut)
    assert read(data, one) == read(data, other)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xd4\xc3\xb2\xa1", b"\n\r\r\n\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0", b"\x1f\x8b\x08"]),
    CHUNK,
)
def test_arbitrary_bytes_are_data(data: bytes, magic: bytes, chunk: int) -> None:
    read(magic + data, chunk)


@given(st.sampled_from(SEEDS), EDITS, st.integers(0, 200), st.sampled_from([1, 101, 105, 113, 127, 276]))
def test_rows_stay_within_their_packet(seed: bytes, edits: list[tuple[int, int]], cut: int, link: int) -> None:
    frames = [b"\xff" * 50, mutated(seed, edits, cut), b"\xff" * 50]
    one = batch(frames, link=link)
    rows = np.concatenate([columns.rows for columns in PacketParser().parse(one)])
    for row in rows[rows["packet"] == 1]:
        start, end = 50, 50 + len(frames[1])
        assert start <= row["offset"] <= row["offset"] + row["caplen"] <= end
        assert row["payload_len"] >= 0
        if row["payload_len"]:
            assert start <= row["payload"] and row["payload"] + row["payload_len"] <= end
        assert row["problem"] < len(PROBLEMS) and row["tunnel"] < len(TUNNELS)
        assert row["src_mac"] <= NO_MAC and row["dst_mac"] <= NO_MAC


@given(st.lists(st.binary(max_size=120), max_size=8), st.integers(0, LINK_LIMIT + 10))
def test_arbitrary_frames_of_any_link(frames: list[bytes], link: int) -> None:
    rows = [columns.rows for columns in PacketParser().parse(batch(frames, link=link))]
    assert sum(int((part["depth"] == 0).sum()) for part in rows) == len(frames)


@given(st.lists(st.tuples(st.sampled_from(SEEDS), EDITS, st.integers(0, 30), TIME), max_size=12), st.booleans())
def test_the_sensor_takes_anything(frames: list[tuple[bytes, list[tuple[int, int]], int, int]], live: bool) -> None:
    sensor = Sensor(source="s", producer="p", limits=SensorLimits.live() if live else None)
    one = batch([mutated(seed, edits, cut) for seed, edits, cut, _ in frames], ts_ns=[time for *_, time in frames])
    sensor.feed(one, 0.0)
    sensor.tick(5_000_000_000.0)
    assert sensor.finish(0.0).records[-1].data.packets == len(frames)  # type: ignore[attr-defined]


@given(st.binary(max_size=400), st.integers(-10, 500), st.integers(0, 100))
def test_a_hostile_ring_block_is_only_data(data: bytes, at: int, left: int) -> None:
    block = np.frombuffer(data, np.uint8)
    offset, ts_ns = np.zeros(20, np.int64), np.zeros(20, np.int64)
    caplen, wirelen, vlan = (np.zeros(20, np.int32) for _ in range(3))
    count, _, _ = scan_ring(block, at, left, offset, caplen, wirelen, ts_ns, vlan)
    assert 0 <= count <= 20
    assert all(offset[:count] + caplen[:count] <= len(data))
