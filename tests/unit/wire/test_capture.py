"""Captures: both formats, both byte orders, variants, gzip, damage."""

from __future__ import annotations

import gzip
import io
import struct

import pytest

from thingward.wire.capture import NotACapture
from thingward.wire.capture_read import CaptureReader
from thingward.wire.capture_write import (
    CapturedInterface,
    CapturedPacket,
    pcap_header,
    pcapng_block,
    pcapng_interface,
    pcapng_packet,
    pcapng_section,
    write_pcap,
    write_pcapng,
)

START_NS = 1_700_000_000_123_456_789
PACKETS = [CapturedPacket(START_NS + i * 1_000_000_007, bytes([i]) * (20 + i), wirelen=100 + i) for i in range(7)]
Read = list[tuple[int, bytes, int, int]]


def read(data: bytes, *, chunk_bytes: int = 1 << 20, rows: int = 65536) -> tuple[Read, CaptureReader]:
    reader = CaptureReader(io.BytesIO(data), uid="c", chunk_bytes=chunk_bytes, rows=rows)
    found: Read = []
    for batch in reader:
        for at, size, wire, ts, link in zip(
            batch.offset, batch.caplen, batch.wirelen, batch.ts_ns, batch.link, strict=True
        ):
            packet = batch.data[at : at + size].tobytes()
            assert data.find(packet, batch.base + int(at)) == batch.base + int(at) or data[:2] == b"\x1f\x8b"
            found.append((int(ts), packet, int(wire), int(link)))
    return found, reader


def expected(resolution_ns: int = 1) -> Read:
    return [(p.ts_ns // resolution_ns * resolution_ns, p.data, p.wirelen, 1) for p in PACKETS]


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("nanoseconds", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1, 13, 1 << 20])
def test_pcap(order: str, nanoseconds: bool, chunk_bytes: int) -> None:
    data = write_pcap(PACKETS, nanoseconds=nanoseconds, order=order)
    found, reader = read(data, chunk_bytes=chunk_bytes, rows=3)
    assert found == expected(1 if nanoseconds else 1000)
    assert reader.complete and reader.packets == 7 and reader.problem is None
    assert reader.format == ("pcap nanosecond" if nanoseconds else "pcap")
    assert reader.position == len(data)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("chunk_bytes", [1, 17, 1 << 20])
def test_pcapng(order: str, chunk_bytes: int) -> None:
    found, reader = read(write_pcapng(PACKETS, order=order), chunk_bytes=chunk_bytes, rows=2)
    assert found == expected()
    assert reader.complete and reader.format == "pcapng"


def test_pcapng_interfaces_have_their_own_link_and_clock() -> None:
    interfaces = (
        CapturedInterface(link=1, resolution=6),
        CapturedInterface(link=101, resolution=0x8A, shift_s=1000),
        CapturedInterface(link=113, resolution=3, shift_s=-5),
    )
    packets = [CapturedPacket(START_NS, b"abcd", interface=i) for i in range(3)]
    found, _ = read(write_pcapng(packets, interfaces=interfaces))
    assert [link for *_, link in found] == [1, 101, 113]
    assert [abs(ts - START_NS) <= step for (ts, *_), step in zip(found, (1000, 976563, 1_000_000), strict=True)]
    assert found[0][0] == START_NS // 1000 * 1000
    assert found[2][0] == START_NS // 1_000_000 * 1_000_000


def test_pcapng_sections_forget_interfaces_and_may_change_byte_order() -> None:
    first = write_pcapng(PACKETS[:2], interfaces=(CapturedInterface(link=101),), order="little")
    second = write_pcapng(PACKETS[2:], order="big")
    found, reader = read(first + second)
    assert [data for _, data, _, _ in found] == [p.data for p in PACKETS]
    assert [link for *_, link in found] == [101] * 2 + [1] * 5
    orphan = pcapng_section() + pcapng_packet(PACKETS[0], CapturedInterface())
    found, reader = read(first + orphan)
    assert len(found) == 2 and reader.problem is not None
    assert reader.problem.reason == "pcapng: packet of an interface that was not described"
    assert reader.problem.offset == len(first) + 28


def test_pcapng_old_simple_and_unknown_blocks() -> None:
    interface = CapturedInterface(link=1, snaplen=30, resolution=6)
    simple = pcapng_block(3, struct.pack("<I", 99) + bytes(30))
    old = pcapng_block(2, struct.pack("<HHIIII", 0, 7, 0, 5_000_000, 21, 40) + bytes(21))
    unknown = pcapng_block(0x12345678, bytes(1001))
    found, reader = read(pcapng_section() + pcapng_interface(interface) + simple + unknown + old + unknown)
    assert [(ts, len(data), wire) for ts, data, wire, _ in found] == [(0, 30, 99), (5_000_000_000, 21, 40)]
    assert reader.complete


def test_long_unknown_block_is_passed_over_without_being_held() -> None:
    big = pcapng_block(0x0BAD, bytes(3_000_000))
    data = write_pcapng(PACKETS[:1]) + big + write_pcapng(PACKETS[1:])
    found, reader = read(data, chunk_bytes=4096)
    assert len(found) == 7 and reader.complete
    broken = data.replace(big[-4:] + b"\n\r\r\n", b"\0\0\0\0\n\r\r\n")
    found, reader = read(broken, chunk_bytes=4096)
    assert len(found) == 1 and reader.problem is not None
    assert reader.problem.reason == "pcapng: a block's two lengths differ"


def record(extra: bytes, data: bytes = bytes(60), *, order: str = "<") -> bytes:
    return struct.pack(order + "IIII", 1_700_000_000, 5, len(data), len(data)) + extra + data


@pytest.mark.parametrize(
    ("magic", "extra", "name"),
    [
        (0xA1B2C3D4, struct.pack("<IHBB", 2, 0x800, 0, 0), "pcap (modified 1999-04)"),
        (0xA1B2CD34, struct.pack("<IHBB", 2, 0x800, 0, 0), "pcap (modified 1999-10)"),
        (0xA1B2CD34, struct.pack("<IHBB4x", 2, 0x800, 0, 0), "pcap (modified 1999-09)"),
        (0xA1B2C3D4, struct.pack("<I", 0x9FBFB601), "pcap (Nokia)"),
    ],
)
def test_pcap_variants_are_told_by_their_first_records(magic: int, extra: bytes, name: str) -> None:
    data = struct.pack("<IHHiIII", magic, 2, 4, 0, 0, 65535, 1) + record(extra) * 5
    found, reader = read(data, chunk_bytes=50)
    assert len(found) == 5 and reader.format == name and reader.complete


def test_old_pcap_versions_swap_the_lengths() -> None:
    body = struct.pack("<IIII", 1, 0, 90, 60) + bytes(60)
    for minor in (2, 3):
        data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, minor, 0, 0, 65535, 1) + body * 3
        found, reader = read(data)
        assert [(len(packet), wire) for _, packet, wire, _ in found] == [(60, 90)] * 3
        assert reader.complete


def test_pipe_gives_packets_before_the_third_record() -> None:
    class Pipe(io.RawIOBase):
        parts = [pcap_header() + record(b""), record(b""), b""]

        def read1(self, size: int) -> bytes:
            return self.parts.pop(0)

    seen = [len(batch) for batch in CaptureReader(Pipe(), is_pipe=True)]
    assert seen == [1, 1]


@pytest.mark.parametrize("data", [write_pcap(PACKETS), write_pcapng(PACKETS)])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
def test_gzip(data: bytes, chunk_bytes: int) -> None:
    found, reader = read(gzip.compress(data), chunk_bytes=chunk_bytes)
    assert found == expected()
    assert reader.complete and reader.format.endswith(" gzip")
    two = gzip.compress(data[:100]) + gzip.compress(data[100:])
    assert read(two, chunk_bytes=chunk_bytes)[0] == expected()


def test_damaged_gzip_gives_what_came_before() -> None:
    packed = gzip.compress(write_pcap(PACKETS))
    wrong_sum = packed[:-8] + bytes(8)
    found, reader = read(wrong_sum)
    assert found == expected()
    assert reader.problem is not None and reader.problem.reason == "gzip: incorrect data check"
    found, reader = read(packed[:-12])
    assert len(found) >= 6
    assert reader.problem is not None and reader.problem.reason == "gzip: cut short"


def test_cut_pcap_says_where() -> None:
    data = write_pcap(PACKETS)
    found, reader = read(data[:-1])
    assert len(found) == 6 and not reader.complete
    assert reader.problem is not None
    assert reader.problem.reason == "pcap: cut short in the middle of a packet"
    assert reader.problem.offset == len(data) - len(PACKETS[-1].data) - 16
    assert reader.problem.sample == data[reader.problem.offset :][:32]


def test_cut_pcapng_says_where() -> None:
    data = write_pcapng(PACKETS)
    found, reader = read(data[:-1])
    assert len(found) == 6
    assert reader.problem is not None
    assert reader.problem.reason == "pcapng: cut short in the middle of a block"


def test_hostile_length_stops_without_being_believed() -> None:
    data = pcap_header() + struct.pack("<IIII", 0, 0, 0xFFFFFFF0, 0xFFFFFFF0) + bytes(100)
    found, reader = read(data)
    assert found == [] and reader.problem is not None
    assert reader.problem.reason == "pcap: packet larger than 262144 bytes"
    assert reader.problem.offset == 24
    block = struct.pack("<II", 6, 0xFFFFFFF0) + bytes(100)
    found, reader = read(pcapng_section() + pcapng_interface(CapturedInterface()) + block)
    assert found == [] and reader.problem is not None
    assert reader.problem.reason == "pcapng: block or packet larger than allowed"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello world, this is text", "neither pcap nor pcapng"),
        (b"abc", "neither pcap nor pcapng"),
        (b"snoop\0\0\0\0\0\0\2", "Sun snoop"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
        (gzip.compress(b"hello world, this is text", mtime=0), "neither pcap nor pcapng"),
        (gzip.compress(b"", mtime=0), "empty"),
        (gzip.compress(b"", mtime=0)[:9], "gzip: cut short before its content began"),
        (gzip.compress(write_pcap(PACKETS), mtime=0)[:12], "gzip: cut short before its content began"),
        (b"\x1f\x8b" + bytes(20), "gzip: unknown compression method before its content began"),
    ],
)
def test_not_a_capture(data: bytes, words: str) -> None:
    with pytest.raises(NotACapture, match=words):
        read(data)


def test_header_alone_is_an_empty_capture() -> None:
    for data in (pcap_header(), pcapng_section()):
        found, reader = read(data)
        assert found == [] and reader.complete
    _, reader = read(pcap_header()[:20])
    assert reader.problem is not None and reader.problem.reason == "pcap: cut short in the file header"


def test_absurd_times_are_kept_within_bounds() -> None:
    interface = CapturedInterface(resolution=0)
    data = pcapng_section() + pcapng_interface(interface)
    data += pcapng_block(6, struct.pack("<IIIII", 0, 0xFFFFFFFF, 0xFFFFFFFF, 4, 4) + b"abcd")
    found, _ = read(data)
    assert found[0][0] == 9_000_000_000 * 1_000_000_000
