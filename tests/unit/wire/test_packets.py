"""Frames to rows: every link type, tag, tunnel and kind of damage that the parser knows."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from tests.unit.wire.frames import A, B, C, D, arp, batch, ether, ip4, ip6, tcp, udp
from thingward.model.columns import MORE_FRAGMENTS, NO_MAC, PROBLEMS, TUNNELS, PacketColumns, mac_number, mac_text
from thingward.wire.packets.parse import MAX_FRAMES, PacketParser


def parse(frame: bytes, link: int = 1, **more: Any) -> PacketColumns:
    (columns,) = PacketParser().parse(batch([frame], link=link, **more))
    return columns


def row(frame: bytes, link: int = 1, **more: Any) -> Any:
    return parse(frame, link, **more).rows[0]


def ip(found: Any, side: str) -> str:
    value = int(found[f"{side}_hi"]) << 64 | int(found[f"{side}_lo"])
    address = ipaddress.IPv6Address(value)
    return str(address.ipv4_mapped or address)


def number(mac: bytes) -> int:
    return int.from_bytes(mac, "big")


def is_plain(found: Any, *, version: int = 4) -> bool:
    """The row shows the UDP datagram that most of these tests carry."""
    return (
        found["ip_version"] == version
        and found["proto"] == 17
        and found["sport"] == 1000
        and found["dport"] == 2000
        and found["payload_len"] == 5
        and found["problem"] == 0
    )


UDP4 = ip4(udp(b"hello"))
UDP6 = ip6(udp(b"hello"))


def test_udp_over_ethernet() -> None:
    columns = parse(ether(UDP4))
    found = columns.rows[0]
    assert is_plain(found)
    assert (found["src_mac"], found["dst_mac"]) == (number(A), number(B))
    assert (ip(found, "src"), ip(found, "dst")) == ("10.0.0.1", "10.0.0.2")
    assert (found["ethertype"], found["ttl"], found["ip_id"], found["payload_wire"]) == (0x0800, 64, 7, 5)
    assert columns.payload(0) == b"hello"


def test_tcp_over_ipv6() -> None:
    columns = parse(ether(ip6(tcp(b"data", 5000, 443, seq=0xFFFFFFFE, flags=0x12), 6), 0x86DD))
    found = columns.rows[0]
    assert (ip(found, "src"), ip(found, "dst"), found["proto"]) == ("fe80::1", "fe80::2", 6)
    assert (found["sport"], found["dport"], found["tcp_seq"], found["tcp_flags"]) == (5000, 443, 0xFFFFFFFE, 0x12)
    assert columns.payload(0) == b"data"


def test_padding_of_short_frames_is_not_payload() -> None:
    assert parse(ether(UDP4) + bytes(20)).payload(0) == b"hello"


SLL = struct.pack(">HHH", 0, 1, 6) + A + b"\0\0" + struct.pack(">H", 0x0800)
SLL2 = struct.pack(">HHIHBB", 0x0800, 0, 3, 1, 0, 6) + A + b"\0\0"
DOT11 = struct.pack("<BBH", 0x08, 0x01, 0) + C + A + B + b"\0\0"  # to the access point C, from A, for B
SNAP = bytes.fromhex("aaaa03000000")
RADIOTAP = struct.pack("<BBHI", 0, 0, 8, 0)


@pytest.mark.parametrize(
    ("link", "head", "src", "dst"),
    [
        (101, b"", NO_MAC, NO_MAC),
        (12, b"", NO_MAC, NO_MAC),
        (14, b"", NO_MAC, NO_MAC),
        (228, b"", NO_MAC, NO_MAC),
        (0, struct.pack("<I", 2), NO_MAC, NO_MAC),
        (0, struct.pack(">I", 2), NO_MAC, NO_MAC),
        (108, struct.pack(">I", 2), NO_MAC, NO_MAC),
        (9, b"\xff\x03\x00\x21", NO_MAC, NO_MAC),
        (9, b"\x21", NO_MAC, NO_MAC),
        (50, b"\xff\x03\x00\x21", NO_MAC, NO_MAC),
        (51, struct.pack(">BBHHH", 0x11, 0, 1, 35, 0x21), NO_MAC, NO_MAC),
        (104, b"\x0f\x00\x08\x00", NO_MAC, NO_MAC),
        (109, struct.pack("<III", 2, 0, 0), NO_MAC, NO_MAC),
        (117, b"\x3d\x02" + bytes(62), NO_MAC, NO_MAC),
        (113, SLL, number(A), NO_MAC),
        (276, SLL2, number(A), NO_MAC),
        (105, DOT11 + SNAP + b"\x08\0", number(A), number(B)),
        (127, RADIOTAP + DOT11 + SNAP + b"\x08\0", number(A), number(B)),
        (119, bytes(144) + DOT11 + SNAP + b"\x08\0", number(A), number(B)),
        (163, struct.pack(">II", 0x80211001, 64) + bytes(56) + DOT11 + SNAP + b"\x08\0", number(A), number(B)),
        (192, struct.pack("<BBHI", 0, 0, 8, 1) + B + A + b"\x08\0", number(A), number(B)),
        (192, struct.pack("<BBHI", 0, 0, 8, 105) + DOT11 + SNAP + b"\x08\0", number(A), number(B)),
        (258, struct.pack("<III", 108, 1, 1) + bytes(96) + B + A + b"\x08\0", number(A), number(B)),
        (10, b"\x50" + bytes.fromhex("400000000040") + bytes.fromhex("400000000080") + SNAP + b"\x08\0", number(A), number(B)),
        (239, struct.pack(">BBH", 2, 0, 0) + struct.pack("<HHHH", 16, 8, 0x600, 0) + A + b"\0\0" + struct.pack("<HH", 4 + len(UDP4), 9), number(A), NO_MAC),
        (219, struct.pack(">I", 0x00010140), NO_MAC, NO_MAC),
        (123, SNAP + b"\x08\0", NO_MAC, NO_MAC),
        (1, B + A + b"\x81\0\0\x05\x08\0", number(A), number(B)),
        (1, B + A + b"\x88\xa8\0\x05\x81\0\0\x06\x08\0", number(A), number(B)),
        (1, B + A + b"\x88\x47" + struct.pack(">II", 0x00010040, 0x00020140), number(A), number(B)),
        (1, B + A + b"\x88\x64" + struct.pack(">BBHHH", 0x11, 0, 1, 35, 0x21), number(A), number(B)),
        (1, B + A + struct.pack(">H", 41) + SNAP + b"\x08\0", number(A), number(B)),
        (1, B + A + b"\x89\x26" + bytes(4) + b"\x08\0", number(A), number(B)),
        (1, bytes(12) + b"\x89\x03\0\0" + B + A + b"\x08\0", number(A), number(B)),
    ],
)  # fmt: skip
def test_link_types_and_tags(link: int, head: bytes, src: int, dst: int) -> None:
    found = row(head + UDP4, link)
    assert is_plain(found), (found, PROBLEMS[found["problem"]])
    assert (found["src_mac"], found["dst_mac"]) == (src, dst)


def test_vlan_ids() -> None:
    found = row(B + A + b"\x88\xa8\xe0\x05\x81\0\x20\x06\x08\0" + UDP4)
    assert (found["vlan"], found["inner_vlan"]) == (5, 6)


def test_vlan_that_the_card_took_off() -> None:
    one = batch([ether(UDP4)])
    tagged = type(one)(one.data, one.offset, one.caplen, one.wirelen, one.ts_ns, one.link, vlan=one.link * 0 + 9)
    assert PacketParser().parse(tagged)[0].rows[0]["vlan"] == 9


@pytest.mark.parametrize(
    ("to_from", "head", "src", "dst"),
    [(0, b"", B, A), (1, b"", B, C), (2, b"", C, A), (3, D, D, C)],
)
def test_80211_directions(to_from: int, head: bytes, src: bytes, dst: bytes) -> None:
    frame = struct.pack("<BBH", 0x08, to_from, 0) + A + B + C + b"\0\0" + head + SNAP + b"\x08\0" + UDP4
    found = row(frame, 105)
    assert (found["src_mac"], found["dst_mac"]) == (number(src), number(dst))
    assert is_plain(found)


def test_80211_aggregate_gives_the_first_frame() -> None:
    inner = D + C + struct.pack(">H", 8 + len(UDP4)) + SNAP + b"\x08\0" + UDP4
    frame = struct.pack("<BBH", 0x88, 0x02, 0) + A + B + B + b"\0\0" + b"\x80\0" + inner
    found = row(frame, 105)
    assert (found["src_mac"], found["dst_mac"]) == (number(C), number(D))
    assert is_plain(found)


def test_80211_encrypted_and_control_frames_have_no_payload() -> None:
    hidden = row(struct.pack("<BBH", 0x08, 0x41, 0) + C + A + B + bytes(40), 105)
    assert hidden["src_mac"] == number(A) and hidden["ip_version"] == 0
    control = row(struct.pack("<BBH", 0xD4, 0, 0) + A, 105)
    assert control["src_mac"] == NO_MAC and control["problem"] == 0


def inner(frame: bytes, **more: Any) -> tuple[Any, Any]:
    rows = parse(frame, **more).rows
    assert len(rows) == 2
    assert (rows[1]["depth"], rows[1]["packet"]) == (1, 0)
    return rows[0], rows[1]


INNER = ether(UDP4, src=C, dst=D)


@pytest.mark.parametrize(
    ("outer", "tunnel"),
    [
        (ip4(udp(b"\x08\0\0\0\0\0\x01\0" + INNER, 50000, 4789)), "vxlan"),
        (ip4(udp(b"\x0c\0\0\x03\0\0\x01\0" + INNER, 50000, 4790)), "vxlan"),
        (ip4(udp(b"\x00\0\x65\x58\0\0\x01\0" + INNER, 50000, 6081)), "geneve"),
        (ip4(udp(b"\x02\0\x65\x58\0\0\x01\0" + bytes(8) + INNER, 50000, 6081)), "geneve"),
        (ip4(b"\0\0\x65\x58" + INNER, 47), "gre"),
        (ip4(b"\xb0\0\x65\x58" + bytes(12) + INNER, 47), "gre"),
        (ip4(b"\x10\0\x88\xbe\0\0\0\x01" + bytes(8) + INNER, 47), "erspan"),
        (ip4(b"\0\0\x88\xbe" + INNER, 47), "erspan"),
        (ip4(b"\x10\0\x22\xeb\0\0\0\x01" + bytes(12) + INNER, 47), "erspan"),
        (ip4(b"\x10\0\x22\xeb\0\0\0\x01" + bytes(11) + b"\x01" + bytes(8) + INNER, 47), "erspan"),
        (ip4(b"\x20\x01\x64\0" + bytes(4) + INNER, 47), "eoip"),
        (ip4(b"\x30\0" + INNER, 97), "etherip"),
        (ip4(udp(b"\x01\0\0\x01\x0d\x01\xff\0\x01" + INNER, 50000, 37008)), "tzsp"),
        (ip6(udp(b"\x08\0\0\0\0\0\x01\0" + INNER, 50000, 4789)), "vxlan"),
    ],
)
def test_tunnelled_ethernet(outer: bytes, tunnel: str) -> None:
    first, second = inner(ether(outer, 0x0800 if outer[0] >> 4 == 4 else 0x86DD))
    assert first["src_mac"] == number(A)
    assert (second["src_mac"], second["dst_mac"]) == (number(C), number(D))
    assert TUNNELS[second["tunnel"]] == tunnel
    assert is_plain(second)


@pytest.mark.parametrize(
    ("outer", "tunnel"),
    [
        (ip4(UDP4, 4), "ip"),
        (ip4(UDP6, 41), "ip"),
        (ip4(b"\0\0\x08\0" + UDP4, 47), "gre"),
        (ip4(udp(b"\0\0\x08\0" + UDP4, 50000, 4754)), "gre"),
        (ip4(b"\x30\x81\x88\x0b" + bytes(12) + b"\xff\x03\0\x21" + UDP4, 47), "ppp"),
        (ip4(udp(b"\x00\x02" + bytes(4) + b"\xff\x03\0\x21" + UDP4, 1701, 1701)), "ppp"),
        (ip4(udp(b"\x30\xff\0\x21" + bytes(4) + UDP4, 2152, 2152)), "gtp"),
        (ip4(udp(b"\x34\xff\0\x21" + bytes(4) + b"\0\0\0\x85\x01\0\0\0" + UDP4, 2152, 2152)), "gtp"),
        (ip4(udp(UDP6, 50000, 3544)), "teredo"),
        (ip4(udp(b"\0\x01\0\0" + bytes(9) + b"\0\0" + bytes(6) + UDP6, 50000, 3544)), "teredo"),
    ],
)
def test_tunnelled_ip_keeps_the_carriers_addresses(outer: bytes, tunnel: str) -> None:
    _, second = inner(ether(outer))
    assert (second["src_mac"], second["dst_mac"]) == (number(A), number(B))
    assert TUNNELS[second["tunnel"]] == tunnel
    assert is_plain(second, version=6 if UDP6 in outer else 4)


def test_provider_backbone_bridge_shows_the_customers_frame() -> None:
    _, second = inner(ether(bytes(4) + INNER, 0x88E7))
    assert second["src_mac"] == number(C) and is_plain(second)


def test_pseudowire_is_believed_only_if_it_looks_like_ethernet() -> None:
    labels = struct.pack(">I", 0x00010140)
    _, second = inner(ether(labels + bytes(4) + INNER, 0x8847))
    assert second["src_mac"] == number(C)
    strange = bytes(4) + INNER[:12] + b"\x47\x47" + INNER[14:]
    assert len(parse(ether(labels + strange, 0x8847)).rows) == 1


def test_sflow_samples() -> None:
    def sample(frame: bytes) -> bytes:
        padded = frame + bytes(-len(frame) % 4)
        record = struct.pack(">IIIIII", 1, 16 + len(padded), 1, 1500, 0, len(frame)) + padded
        return struct.pack(">II", 1, 32 + len(record)) + bytes(28) + struct.pack(">I", 1) + record

    datagram = struct.pack(">II4sIIII", 5, 1, bytes(4), 0, 1, 1000, 2) + sample(INNER) + sample(ether(UDP6, 0x86DD))
    rows = parse(ether(ip4(udp(datagram, 50000, 6343)))).rows
    assert [TUNNELS[found["tunnel"]] for found in rows] == ["", "sflow", "sflow"]
    assert [found["src_mac"] for found in rows] == [number(A), number(C), number(A)]
    assert is_plain(rows[1]) and is_plain(rows[2], version=6)


def test_nested_tunnels_end_at_a_depth() -> None:
    frame = ether(UDP4)
    for _ in range(12):
        frame = ether(ip4(udp(b"\x08\0\0\0\0\0\x01\0" + frame, 50000, 4789)))
    rows = parse(frame).rows
    assert rows["depth"].tolist() == list(range(9))
    assert PROBLEMS[rows[-1]["problem"]] == "tunnel: too deep"


def test_many_frames_in_few_rows() -> None:
    frame = ether(ip4(udp(b"\x08\0\0\0\0\0\x01\0" + INNER, 50000, 4789)))
    results = PacketParser(rows=MAX_FRAMES).parse(batch([frame] * 100))
    assert sum(len(columns) for columns in results) == 200
    assert [int(found) for columns in results for found in columns.rows["packet"]] == [i // 2 for i in range(200)]


def test_arp() -> None:
    found = row(ether(arp(), 0x0806))
    assert (found["arp"], ip(found, "src"), ip(found, "dst"), found["ip_version"]) == (1, "10.0.0.1", "10.0.0.2", 0)
    assert found["payload_len"] == 28


def test_icmp() -> None:
    found = row(ether(ip4(struct.pack(">BBHHH", 8, 0, 0, 77, 1) + b"ping", 1)))
    assert (found["icmp_type"], found["sport"], found["dport"], found["payload_len"]) == (8, 77, 77, 12)
    found = row(ether(ip6(struct.pack(">BBH", 135, 0, 0) + bytes(20), 58), 0x86DD))
    assert (found["icmp_type"], found["proto"]) == (135, 58)


def test_ipv6_extension_headers() -> None:
    hop = bytes([60, 0]) + bytes(6)
    options = bytes([44, 1]) + bytes(14)
    fragment = struct.pack(">BBHI", 17, 0, 1, 0xABCDEF01)
    found = row(ether(ip6(hop + options + fragment + udp(b"hello"), 0), 0x86DD))
    assert (found["proto"], found["sport"], found["ip_id"]) == (17, 1000, 0xABCDEF01)
    assert found["fragment"] == MORE_FRAGMENTS
    assert found["payload_wire"] == 5


def test_later_fragments_have_no_ports() -> None:
    found = row(ether(ip4(b"x" * 40, fragment=185)))
    assert (found["fragment"], found["sport"], found["payload_len"], found["problem"]) == (185, 0, 40, 0)


def test_snapped_packets_are_not_malformed() -> None:
    frame = ether(ip4(udp(b"hello" * 100)))[:60]
    found = row(frame, wirelen=[542])
    assert (found["problem"], found["payload_len"], found["payload_wire"], found["wirelen"]) == (0, 18, 500, 542)


@pytest.mark.parametrize(
    ("frame", "link", "problem"),
    [
        (b"", 1, "link: header cut"),
        (B + A[:4], 1, "link: header cut"),
        (b"\0\0\0", 147, "link: unknown type"),
        (b"\0\0\0", 70000, "link: unknown type"),
        (b"\x70" + bytes(30), 101, "ip: bad version"),
        (ether(UDP4[:12]), 1, "ip: header cut"),
        (ether(b"\x65" + UDP4[1:]), 1, "ip: bad version"),
        (ether(b"\x42" + UDP4[1:]), 1, "ip: bad header length"),
        (ether(b"\x4f" + UDP4[1:]), 1, "ip: header cut"),
        (ether(ip4(udp(), total=8)), 1, "ip: bad total length"),
        (ether(ip4(udp(), total=800)), 1, "ip: bad total length"),
        (ether(UDP6[:30], 0x86DD), 1, "ip: header cut"),
        (ether(ip6(bytes([0, 200]) + bytes(6), 0), 0x86DD), 1, "ip: header cut"),
        (ether(ip6((bytes([0, 0]) + bytes(6)) * 20, 0), 0x86DD), 1, "ip: too many extension headers"),
        (ether(ip4(b"\0\x50\0\x51", 6)), 1, "tcp: header cut"),
        (ether(ip4(tcp()[:12] + b"\x10" + tcp()[13:], 6)), 1, "tcp: bad header length"),
        (ether(ip4(tcp()[:12] + b"\xf0" + tcp()[13:], 6)), 1, "tcp: header cut"),
        (ether(ip4(b"\0\x50")), 1, "udp: header cut"),
        (ether(ip4(udp(b"hello")[:4] + b"\0\x03\0\0hello")), 1, "udp: bad length"),
        (ether(ip4(udp(b"hello")[:4] + b"\x03\0\0\0hello")), 1, "udp: bad length"),
        (ether(ip4(b"\x08", 1)), 1, "icmp: header cut"),
        (ether(arp()[:20], 0x0806), 1, "arp: cut"),
        (ether(ip4(b"\0\0", 47)), 1, "tunnel: header cut"),
        (ether(b"\0\x05\x81\0" * 20, 0x8100), 1, "link: too many tags"),
    ],
)
def test_damage_is_named(frame: bytes, link: int, problem: str) -> None:
    assert PROBLEMS[row(frame, link)["problem"]] == problem


def test_batch_that_lies_about_its_packets_is_cut_to_its_data() -> None:
    one = batch([ether(UDP4)])
    wrong = type(one)(one.data, one.offset + 1000, one.caplen * 1000, one.wirelen, one.ts_ns, one.link)
    assert PROBLEMS[PacketParser().parse(wrong)[0].rows[0]["problem"]] == "link: header cut"
    wrong = type(one)(one.data, one.offset - 50, one.caplen * -1, one.wirelen, one.ts_ns, one.link)
    assert PacketParser().parse(wrong)[0].rows[0]["caplen"] == 0


def test_mac_text() -> None:
    assert mac_text(number(A)) == "02:00:00:00:00:01"
    assert mac_text(NO_MAC) == ""
    assert mac_number("02:00:00:00:00:01") == number(A)
    assert mac_number("") == NO_MAC
    assert mac_text(0) == "00:00:00:00:00:00"
