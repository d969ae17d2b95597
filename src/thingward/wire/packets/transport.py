"""Transport headers: ports, TCP flags and sequence, ICMP type, and where the payload lies."""

from __future__ import annotations

from typing import Any

from thingward.model.columns import MORE_FRAGMENTS
from thingward.wire.packets.compile import inlined
from thingward.wire.packets.names import (
    P_DCCP,
    P_ICMP,
    P_ICMP6,
    P_SCTP,
    P_TCP,
    P_UDP,
    P_UDPLITE,
    X_ICMP_CUT,
    X_TCP_CUT,
    X_TCP_HEADER,
    X_UDP_CUT,
    X_UDP_LENGTH,
)
from thingward.wire.packets.read import u8, u16, u32


@inlined
def tcp(data: Any, at: int, end: int, row: Any) -> None:
    """TCP."""
    if end - at < 14:
        row.problem = X_TCP_CUT
        return
    row.sport = u16(data, at)
    row.dport = u16(data, at + 2)
    row.tcp_seq = u32(data, at + 4)
    row.tcp_flags = data[at + 13]
    size = (u8(data, at + 12) >> 4) * 4
    if size < 20:
        row.problem = X_TCP_HEADER
        return
    if size > end - at:
        row.problem = X_TCP_CUT
        return
    row.payload = at + size
    row.payload_len = end - at - size
    row.payload_wire = max(0, row.payload_wire - size)


@inlined
def udp(data: Any, at: int, end: int, row: Any) -> None:
    """UDP; a length of 0 (jumbograms) means the rest, UDP-Lite's field is none."""
    if end - at < 8:
        row.problem = X_UDP_CUT
        return
    row.sport = u16(data, at)
    row.dport = u16(data, at + 2)
    size = u16(data, at + 4) if row.proto == P_UDP else 0
    row.payload = at + 8
    row.payload_len = end - at - 8
    row.payload_wire = max(0, row.payload_wire - 8)
    if size == 0:
        return
    if size < 8 or (size - 8 > row.payload_wire and row.fragment == 0):
        row.problem = X_UDP_LENGTH
        return
    if row.fragment == 0:
        row.payload_wire = size - 8
        row.payload_len = min(row.payload_len, size - 8)


@inlined
def icmp(data: Any, at: int, end: int, row: Any) -> None:
    """ICMP and ICMPv6: the payload is the whole message; the ports hold an echo's identifier twice."""
    if end - at < 4:
        row.problem = X_ICMP_CUT
        return
    kind = u8(data, at)
    row.icmp_type = kind
    row.icmp_code = data[at + 1]
    row.payload = at
    row.payload_len = end - at
    echo = kind in (0, 8) if row.proto == P_ICMP else kind in (128, 129)
    if echo and end - at >= 6:
        row.sport = u16(data, at + 4)
        row.dport = row.sport


@inlined
def step_transport(data: Any, at: int, end: int, proto: int, row: Any) -> None:
    """Read the transport header; later fragments have none."""
    row.payload = at
    row.payload_len = end - at
    if row.fragment & ~MORE_FRAGMENTS:
        return
    if proto == P_TCP:
        tcp(data, at, end, row)
    elif proto == P_UDP or proto == P_UDPLITE:
        udp(data, at, end, row)
    elif proto == P_ICMP or proto == P_ICMP6:
        icmp(data, at, end, row)
    elif (proto == P_SCTP or proto == P_DCCP) and end - at >= 12:
        row.sport = u16(data, at)
        row.dport = u16(data, at + 2)
