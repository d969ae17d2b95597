"""The flow table: directions, timeouts, reports, and what a flood may not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.wire.frames import A, B, C, D, arp, batch, ether, ip4, tcp, udp
from thingward.model.columns import FLOW_REASONS, FLOW_STATES, NO_MAC
from thingward.sensing.flows import FlowLimits, FlowTable, merge_lone
from thingward.wire.packets.parse import PacketParser

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
SYN, SYN_ACK, ACK, PSH, FIN_ACK, RST = 2, 18, 16, 24, 17, 4


def number(mac: bytes) -> int:
    return int.from_bytes(mac, "big")


class Table:
    """A flow table fed with frames at given seconds."""

    def __init__(self, **limits: Any) -> None:
        self.table = FlowTable(FlowLimits(**limits))
        self.parser = PacketParser()

    def feed(self, *frames: tuple[float, bytes], link: int = 1) -> list[dict[str, Any]]:
        one = batch([frame for _, frame in frames], link=link, ts_ns=[START + int(at * SECOND) for at, _ in frames])
        found = []
        for columns in self.parser.parse(one):
            found += reports(self.table.update(columns).reports)
        return found

    def sweep(self, at: float, *, finish: bool = False) -> list[dict[str, Any]]:
        return reports(self.table.sweep(START + int(at * SECOND), finish=finish))


def reports(rows: Any) -> list[dict[str, Any]]:
    found = [dict(zip(rows.dtype.names, row.tolist(), strict=True)) for row in rows]
    for one in found:
        one["state"] = FLOW_STATES[one["state"]]
        one["reason"] = FLOW_REASONS[one["reason"]]
        one["first"] = (one.pop("first_ns") - START) / SECOND
        one["last"] = (one.pop("last_ns") - START) / SECOND
    return found


def segment(
    flags: int, *, back: bool = False, port: int = 40000, server: int = 80, src: bytes = A, dst: bytes = B
) -> bytes:
    if back:
        return ether(ip4(tcp(b"", server, port, flags=flags), 6, "10.0.0.2", "10.0.0.1"), src=dst, dst=src)
    return ether(ip4(tcp(b"", port, server, flags=flags), 6), src=src, dst=dst)


def datagram(
    sport: int, dport: int, *, src: str = "10.0.0.1", dst: str = "10.0.0.2", mac: bytes = A, to: bytes = B
) -> bytes:
    return ether(ip4(udp(b"x", sport, dport), src=src, dst=dst), src=mac, dst=to)


def test_a_whole_connection_is_one_report() -> None:
    table = Table()
    found = table.feed(
        (0, segment(SYN)),
        (0.1, segment(SYN_ACK, back=True)),
        (0.2, segment(ACK)),
        (0.3, segment(FIN_ACK)),
        (0.4, segment(FIN_ACK, back=True)),
        (0.5, segment(ACK)),
    )
    assert found == []
    assert table.sweep(5) == []
    (one,) = table.sweep(6)
    assert (one["state"], one["reason"], one["first"], one["last"]) == ("whole", "closed", 0, 0.5)
    assert (one["packets_out"], one["packets_in"], one["bytes_out"], one["bytes_in"]) == (4, 2, 216, 108)
    assert (one["src_mac"], one["dst_mac"], one["sport"], one["dport"]) == (number(A), number(B), 40000, 80)
    assert (one["flags_out"], one["flags_in"], one["mid_stream"]) == (SYN | ACK | 1, SYN_ACK | 1, 0)
    assert table.table.active == 0
    assert table.sweep(7) == []


@pytest.mark.parametrize(
    ("frames", "port", "mid_stream"),
    [
        ([segment(SYN_ACK, back=True)], 40000, 1),
        ([segment(PSH, back=True)], 40000, 1),
        ([segment(PSH)], 40000, 1),
        ([segment(PSH, port=50000, server=40000)], 50000, 1),
        ([datagram(40000, 5683)], 40000, 0),
        ([datagram(53, 40000)], 40000, 1),
        ([datagram(5683, 40000)], 40000, 1),
        ([datagram(67, 68)], 68, 0),
        ([datagram(5353, 5353, dst="224.0.0.251", to=bytes.fromhex("01005e0000fb"))], 5353, 0),
        ([datagram(53, 40000, dst="224.0.0.251", to=bytes.fromhex("01005e0000fb"))], 53, 0),
    ],
)
def test_who_began(frames: list[bytes], port: int, mid_stream: int) -> None:
    table = Table()
    table.feed(*((i, frame) for i, frame in enumerate(frames)))
    (one,) = table.sweep(0, finish=True)
    assert (one["sport"], one["mid_stream"], one["reason"]) == (port, mid_stream, "finished")


def test_silence_ends_a_flow_and_the_next_packet_begins_another() -> None:
    table = Table(idle_other_s=100)
    table.feed((0, datagram(1, 2)), (90, datagram(2, 1, src="10.0.0.2", dst="10.0.0.1", mac=B, to=A)))
    (first,) = table.feed((191, datagram(1, 2)))
    assert (first["reason"], first["packets_out"], first["packets_in"], first["last"]) == ("idle", 1, 1, 90)
    assert table.sweep(291) == []
    (second,) = table.sweep(292)
    assert second["flow"] == first["flow"] + 1
    assert (second["state"], second["packets_out"]) == ("whole", 1)


def test_reports_are_deltas() -> None:
    table = Table(report_new=True, first_update_s=10, update_s=60)
    (new,) = table.feed((0, datagram(1, 2)))
    assert (new["state"], new["reason"], new["packets_out"]) == ("new", "first packet", 1)
    assert table.feed((5, datagram(1, 2))) == []
    (update,) = table.feed((11, datagram(1, 2)))
    assert (update["state"], update["packets_out"], update["first"], update["last"]) == ("update", 2, 5, 11)
    assert table.sweep(80) == []
    assert table.feed((50, datagram(1, 2))) == []
    (update,) = table.sweep(80)
    assert (update["state"], update["packets_out"]) == ("update", 1)
    assert table.sweep(160) == []
    (end,) = table.sweep(300)
    assert (end["state"], end["packets_out"], end["first"], end["last"]) == ("end", 0, 50, 50)
    assert {new["flow"], update["flow"], end["flow"]} == {0}


def test_a_new_connection_on_the_same_ports() -> None:
    table = Table()
    table.feed((0, segment(SYN)), (0.1, segment(RST, back=True)))
    (one,) = table.feed((0.2, segment(SYN)))
    assert (one["reason"], one["packets_out"], one["packets_in"]) == ("reused", 1, 1)
    assert table.feed((0.3, segment(SYN))) == []
    (two,) = table.sweep(0, finish=True)
    assert two["packets_out"] == 2


def test_another_sender_with_the_same_addresses_is_another_flow() -> None:
    table = Table()
    table.feed((0, datagram(1, 2)), (1, datagram(1, 2, mac=C)), (2, datagram(1, 2)))
    found = table.sweep(0, finish=True)
    assert sorted((one["src_mac"], one["packets_out"]) for one in found) == [(number(A), 2), (number(C), 1)]


def test_a_router_that_answers_from_another_address_is_the_same_flow() -> None:
    table = Table()
    table.feed((0, segment(SYN)), (1, segment(SYN_ACK, back=True, dst=C)), (2, segment(ACK)))
    (one,) = table.sweep(0, finish=True)
    assert (one["packets_out"], one["packets_in"]) == (2, 1)
    assert (one["src_mac"], one["dst_mac"]) == (number(A), number(C))


def test_a_packet_seen_on_both_sides_of_a_router_is_two_flows() -> None:
    table = Table()
    near = [segment(SYN), segment(SYN_ACK, back=True)]
    far = [segment(SYN, src=C, dst=D), segment(SYN_ACK, back=True, src=C, dst=D)]
    table.feed((0, near[0]), (0.1, far[0]), (0.2, far[1]), (0.3, near[1]))
    found = table.sweep(0, finish=True)
    assert sorted((one["src_mac"], one["dst_mac"], one["packets_out"], one["packets_in"]) for one in found) == [
        (number(A), number(B), 1, 1),
        (number(C), number(D), 1, 1),
    ]


def test_links_that_name_only_the_sender() -> None:
    head = bytes.fromhex("000000010006") + A + bytes.fromhex("00000800")
    back = bytes.fromhex("000000010006") + B + bytes.fromhex("00000800")
    table = Table()
    table.feed(
        (0, head + ip4(udp(b"x", 1, 2))), (1, back + ip4(udp(b"x", 2, 1), src="10.0.0.2", dst="10.0.0.1")), link=113
    )
    (one,) = table.sweep(0, finish=True)
    assert (one["src_mac"], one["dst_mac"], one["packets_out"], one["packets_in"]) == (number(A), number(B), 1, 1)
    table = Table()
    table.feed((0, ip4(udp(b"x", 1, 2))), (1, ip4(udp(b"x", 2, 1), src="10.0.0.2", dst="10.0.0.1")), link=101)
    (one,) = table.sweep(0, finish=True)
    assert (one["src_mac"], one["packets_out"], one["packets_in"]) == (NO_MAC, 1, 1)


def test_vlans_and_tunnels_keep_flows_apart() -> None:
    plain = datagram(1, 2)
    tagged = plain[:12] + b"\x81\0\0\x05" + plain[12:]
    carried = ether(ip4(plain[14:], 4))
    table = Table()
    table.feed((0, plain), (1, tagged), (2, carried))
    found = table.sweep(0, finish=True)
    assert sorted((one["vlan"], one["tunnel"], one["proto"]) for one in found) == [
        (0, 0, 4),
        (0, 0, 17),
        (0, 1, 17),
        (5, 0, 17),
    ]


def test_frames_without_ip() -> None:
    table = Table(idle_frames_s=50)
    table.feed(
        (0, ether(arp(), 0x0806)),
        (40, ether(arp(B, "10.0.0.2", "10.0.0.1", 2), 0x0806, B, A)),
        (80, ether(arp(), 0x0806)),
    )
    assert table.sweep(130) == []
    (one,) = table.sweep(131)
    assert (one["ip_version"], one["ethertype"], one["packets_out"], one["packets_in"]) == (0, 0x0806, 2, 1)


def test_packets_out_of_order_and_clock_jumps() -> None:
    table = Table(idle_other_s=100)
    table.feed((1000, datagram(1, 2)), (0, datagram(1, 2)), (-5000, datagram(1, 2)))
    (one,) = table.sweep(0, finish=True)
    assert (one["first"], one["last"], one["packets_out"]) == (-5000, 1000, 3)


def flood(count: int, at: float) -> list[tuple[float, bytes]]:
    return [
        (at, datagram(1000 + i % 50000, 80, src=f"172.{16 + i // 65536 % 16}.{i // 256 % 256}.{i % 256}", mac=D))
        for i in range(count)
    ]


def test_a_flood_of_spoofed_senders_does_not_push_out_conversations() -> None:
    table = Table(flows=1024, reports=1 << 20)
    talks = [(0.1, segment(SYN, port=port)) for port in range(40000, 40100)]
    talks += [(0.2, segment(SYN_ACK, port=port, back=True)) for port in range(40000, 40100)]
    talks += [(0.3, segment(ACK, port=port)) for port in range(40000, 40100)]
    table.feed(*talks)
    found = table.feed(*flood(20000, 1))
    assert {one["src_mac"] for one in found} == {number(D)}
    assert {one["reason"] for one in found} == {"evicted"}
    assert table.table.active <= 1024
    assert table.table.evicted == len(found)
    ended = table.sweep(2, finish=True)
    kept = [one for one in ended if one["src_mac"] == number(A)]
    assert len(kept) == 100 and all(one["packets_out"] == 2 for one in kept)
    assert (
        sum(one["packets_out"] for one in found + ended if one["src_mac"] == number(D)) == 20000 - table.table.refused
    )


def test_a_new_conversation_finds_room_during_a_flood() -> None:
    table = Table(flows=1024, reports=1 << 20)
    table.feed(*flood(20000, 1))
    table.feed((1.1, segment(SYN)), (1.1, segment(SYN_ACK, back=True)), (1.1, segment(ACK)))
    table.feed(*flood(20000, 1.2))
    (kept,) = (one for one in table.sweep(2, finish=True) if one["src_mac"] == number(A))
    assert (kept["packets_out"], kept["packets_in"]) == (2, 1)


def test_a_table_full_of_conversations_refuses_and_counts() -> None:
    table = Table(flows=8)
    for port in range(40000, 40020):
        table.feed(
            (0, segment(SYN, port=port)), (0, segment(SYN_ACK, port=port, back=True)), (0, segment(ACK, port=port))
        )
    assert table.table.active == 8
    assert table.table.refused == 36
    assert table.table.evicted == 0


def test_too_many_reports_are_merged_by_sender_and_service_then_counted() -> None:
    table = Table(flows=8, reports=10)
    found = table.feed(*flood(500, 0))
    assert len(found) == 1
    assert (found[0]["packets_out"], found[0]["src_lo"], found[0]["dport"]) == (492, 0, 80)
    rest = table.sweep(1, finish=True)
    assert sum(one["packets_out"] for one in found + rest) == 500
    assert table.table.reports_dropped == 0
    table = Table(flows=8, reports=10)
    scan = [(0, datagram(1000, port)) for port in range(1, 201)]
    assert len(table.feed(*scan)) == 10
    assert table.table.reports_dropped == 182


def test_merging_leaves_conversations_alone() -> None:
    table = Table(reports=1 << 20)
    table.feed((0, segment(SYN)), (0, segment(SYN_ACK, back=True)), *flood(50, 1))
    rows = table.table.sweep(START, finish=True)
    merged = merge_lone(rows)
    assert len(merged) == 2
    assert merged["packets_out"].tolist() == [1, 50]
    assert merged["bytes_out"].sum() == rows["bytes_out"].sum()
    assert merged["packets_in"].tolist() == [1, 0]


def test_reports_name_where_the_first_packet_lies() -> None:
    table = Table()
    table.feed((0, datagram(1, 2)), (1, datagram(3, 4)))
    found = table.sweep(0, finish=True)
    assert sorted(one["packet"] for one in found) == [0, len(datagram(1, 2))]


def test_heads_are_closed_only_for_the_flow_they_belong_to() -> None:
    table = Table()
    one = batch([segment(SYN)])
    (columns,) = table.parser.parse(one)
    update = table.table.update(columns)
    slot, flow = int(update.slots[0]), int(update.numbers[0])
    table.table.close_heads([slot], [flow + 1])
    assert table.table.entries["a_head"][slot >> 2] == 0
    table.table.close_heads([slot], [flow])
    assert table.table.entries["a_head"][slot >> 2] == 255
    assert np.count_nonzero(table.table.entries["a_head"]) == 1
