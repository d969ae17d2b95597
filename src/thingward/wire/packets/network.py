"""From an Ethernet type to addresses: tags and labels, LLC, PPP, ARP, IPv4, IPv6 with its extension headers."""

from __future__ import annotations

from typing import Any

import numpy as np

from thingward.model.columns import MORE_FRAGMENTS
from thingward.wire.packets.compile import inlined
from thingward.wire.packets.link import Step, cut
from thingward.wire.packets.names import (
    E_ARP,
    E_CUT,
    E_ETHER,
    E_IP,
    E_IP4,
    E_IP6,
    E_LLC,
    E_MPLS,
    E_MPLS_MULTICAST,
    E_NONE,
    E_PBB,
    E_PPP,
    E_PPPOE,
    E_QINQ,
    E_QINQ_OLD,
    E_VLAN,
    E_VNTAG,
    X_ARP_CUT,
    X_IP_CUT,
    X_IP_EXTENSIONS,
    X_IP_HEADER,
    X_IP_TOTAL,
    X_IP_VERSION,
    X_LINK_TAGS,
)
from thingward.wire.packets.read import mac, u8, u16, u32, u64

MAX_TAGS = 16
MAX_EXTENSIONS = 12
MAPPED = np.uint64(0xFFFF00000000)


@inlined
def step_tags(data: Any, at: int, end: int, kind: int, row: Any) -> Step:
    """Follow tags, labels and small headers until a network protocol, an inner Ethernet frame or nothing is left."""
    for _ in range(MAX_TAGS):
        if kind == E_IP4 or kind == E_IP6 or kind == E_ARP or kind == E_CUT or kind == E_ETHER or kind == E_NONE:
            return kind, at, end
        if kind == E_VLAN or kind == E_QINQ or kind == E_QINQ_OLD:
            kind, at, end = vlan(data, at, end, row)
        elif kind == E_LLC:
            kind, at, end = llc(data, at, end, row)
        elif kind == E_MPLS or kind == E_MPLS_MULTICAST:
            kind, at, end = mpls(data, at, end, row)
        elif kind == E_PPPOE:
            kind, at, end = pppoe(data, at, end, row)
        elif kind == E_PPP:
            kind, at, end = ppp(data, at, end, row)
        elif kind == E_IP:
            kind, at, end = by_version(data, at, end, row)
        elif kind == E_VNTAG:
            if end - at < 6:
                return cut(row, at, end)
            kind, at = u16(data, at + 4), at + 6
        elif kind == E_PBB:
            return (E_ETHER, at + 4, end) if end - at >= 4 else cut(row, at, end)
        else:
            return kind, at, end
    row.problem = X_LINK_TAGS
    return E_NONE, at, end


@inlined
def vlan(data: Any, at: int, end: int, row: Any) -> Step:
    """One 802.1Q tag; the type after it may be a length."""
    if end - at < 4:
        return cut(row, at, end)
    number = u16(data, at) & 0xFFF
    if row.vlan == 0:
        row.vlan = number
    else:
        row.inner_vlan = number
    kind = u16(data, at + 2)
    if kind > 1500:
        return kind, at + 4, end
    return E_LLC, at + 4, end


@inlined
def llc(data: Any, at: int, end: int, row: Any) -> Step:
    """802.2 with SNAP; anything else that it carries is layer 2 only."""
    if end - at < 3:
        return E_NONE, at, end
    dsap = u8(data, at)
    if dsap == 0x06 and data[at + 2] == 3:
        return E_IP4, at + 3, end
    if dsap != 0xAA or data[at + 1] != 0xAA or end - at < 8:
        return E_NONE, at, end
    owner = (u8(data, at + 3) << 16) | u16(data, at + 4)
    kind = u16(data, at + 6)
    if owner == 0 or owner == 0xF8:
        return (kind, at + 8, end) if kind > 1500 else (E_NONE, at + 8, end)
    if owner == 0x0080C2 and (kind == 1 or kind == 7):
        padding = 2 if end - at >= 10 and u16(data, at + 8) == 0 else 0
        return E_ETHER, at + 8 + padding, end
    return E_NONE, at + 8, end


@inlined
def mpls(data: Any, at: int, end: int, row: Any) -> Step:
    """Labels to the bottom of the stack; then IP by its first nibble, or Ethernet after a zero control word."""
    for _ in range(MAX_TAGS):
        if end - at < 4:
            return cut(row, at, end)
        bottom = data[at + 2] & 1
        at += 4
        if bottom:
            break
    if at >= end:
        return E_NONE, at, end
    nibble = u8(data, at) >> 4
    if nibble == 4:
        return E_IP4, at, end
    if nibble == 6:
        return E_IP6, at, end
    if nibble == 0 and end - at >= 18 and is_ethernet(data, at + 4):
        return E_ETHER, at + 4, end
    return E_NONE, at, end


@inlined
def is_ethernet(data: Any, at: int) -> bool:
    """Guess whether a frame that no header names is Ethernet: one sender, and a type that is in use."""
    kind = u16(data, at + 12)
    known = kind in (E_IP4, E_IP6, E_ARP, E_VLAN, E_QINQ, E_MPLS, 0x8863, E_PPPOE, 0x888E, 0x88CC)
    return known and data[at + 6] & 1 == 0 and mac(data, at + 6) != 0


@inlined
def pppoe(data: Any, at: int, end: int, row: Any) -> Step:
    """A PPPoE session's header and its length."""
    if end - at < 6:
        return cut(row, at, end)
    return E_PPP, at + 6, min(end, at + 6 + u16(data, at + 4))


@inlined
def ppp(data: Any, at: int, end: int, row: Any) -> Step:
    """PPP, with or without address and control, with a protocol of one or two bytes."""
    if end - at >= 2 and data[at] == 0xFF and data[at + 1] == 3:
        at += 2
    if end - at < 2:
        return cut(row, at, end)
    if data[at] & 1:
        kind, at = u8(data, at), at + 1
    else:
        kind, at = u16(data, at), at + 2
    if kind == 0x21:
        return E_IP4, at, end
    if kind == 0x57:
        return E_IP6, at, end
    if kind == 0x281:
        return E_MPLS, at, end
    if kind == 0x31 and end - at >= 2:
        return E_ETHER, at + 2, end
    return E_NONE, at, end


@inlined
def by_version(data: Any, at: int, end: int, row: Any) -> Step:
    """Raw IP: the first nibble says which."""
    if at >= end:
        return cut(row, at, end)
    version = u8(data, at) >> 4
    if version == 4:
        return E_IP4, at, end
    if version == 6:
        return E_IP6, at, end
    row.problem = X_IP_VERSION
    return E_NONE, at, end


@inlined
def arp(data: Any, at: int, end: int, row: Any) -> None:
    """ARP for IPv4 over 6-byte addresses: the sender's and target's addresses; other kinds are left alone."""
    row.payload = at
    row.payload_len = end - at
    row.payload_wire = end - at
    if end - at < 8:
        row.problem = X_ARP_CUT
        return
    if u16(data, at + 2) != E_IP4 or data[at + 4] != 6 or data[at + 5] != 4:
        return
    if end - at < 28:
        row.problem = X_ARP_CUT
        return
    row.arp = min(u16(data, at + 6), 255)
    row.src_lo = MAPPED | np.uint64(u32(data, at + 14))
    row.dst_lo = MAPPED | np.uint64(u32(data, at + 24))
    row.payload_len = 28
    row.payload_wire = 28


@inlined
def arp_sender(data: Any, row: Any) -> Any:
    """Give the sender's hardware address of a row that `arp` filled."""
    return mac(data, row.payload + 8)


@inlined
def ip4(data: Any, at: int, end: int, row: Any) -> Step:
    """IPv4: gives protocol, start and end of what it carries; -1 where it cannot be read."""
    if end - at < 20:
        row.problem = X_IP_CUT
        return -1, at, end
    first = u8(data, at)
    size = (first & 15) * 4
    if first >> 4 != 4:
        row.problem = X_IP_VERSION
        return -1, at, end
    if size < 20:
        row.problem = X_IP_HEADER
        return -1, at, end
    row.ip_version = 4
    row.proto = data[at + 9]
    row.ttl = data[at + 8]
    row.ip_id = u16(data, at + 4)
    bits = u16(data, at + 6)
    row.fragment = (bits & 0x1FFF) | (MORE_FRAGMENTS if bits & 0x2000 else 0)
    row.src_lo = MAPPED | np.uint64(u32(data, at + 12))
    row.dst_lo = MAPPED | np.uint64(u32(data, at + 16))
    total = u16(data, at + 2)
    if end - at < size:
        row.problem = X_IP_CUT
        return -1, at, end
    row.payload_wire = end - at - size
    if total:
        if total < size:
            row.problem = X_IP_TOTAL
            return -1, at, end
        row.payload_wire = total - size
        if total > end - at and row.caplen >= row.wirelen:
            row.problem = X_IP_TOTAL
        end = min(end, at + total)
    return u8(data, at + 9), at + size, end


@inlined
def ip6(data: Any, at: int, end: int, row: Any) -> Step:
    """IPv6 and its extension headers: as `ip4`."""
    if end - at < 40:
        row.problem = X_IP_CUT
        return -1, at, end
    if u8(data, at) >> 4 != 6:
        row.problem = X_IP_VERSION
        return -1, at, end
    row.ip_version = 6
    row.ttl = data[at + 7]
    row.src_hi = u64(data, at + 8)
    row.src_lo = u64(data, at + 16)
    row.dst_hi = u64(data, at + 24)
    row.dst_lo = u64(data, at + 32)
    size = u16(data, at + 4)
    row.payload_wire = end - at - 40
    if size:
        row.payload_wire = size
        if size > end - at - 40 and row.caplen >= row.wirelen:
            row.problem = X_IP_TOTAL
        end = min(end, at + 40 + size)
    return extensions(data, at + 40, end, u8(data, at + 6), row)


@inlined
def extensions(data: Any, at: int, end: int, proto: int, row: Any) -> Step:
    """Step over IPv6 extension headers; gives the protocol after them."""
    start = at
    for _ in range(MAX_EXTENSIONS):
        row.proto = proto
        if proto == 44:
            if end - at < 8:
                row.problem = X_IP_CUT
                return -1, at, end
            bits = u16(data, at + 2)
            row.fragment = (bits >> 3) | (MORE_FRAGMENTS if bits & 1 else 0)
            row.ip_id = u32(data, at + 4)
            proto = u8(data, at)
            at += 8
        elif proto in (0, 43, 60, 51, 135, 139, 140):
            size = (u8(data, at + 1) + (2 if proto == 51 else 1)) * (4 if proto == 51 else 8) if end - at >= 8 else 0
            if size == 0 or size > end - at:
                row.problem = X_IP_CUT
                return -1, at, end
            proto = u8(data, at)
            at += size
        else:
            row.payload_wire = max(0, row.payload_wire - (at - start))
            return proto, at, end
    row.problem = X_IP_EXTENSIONS
    return -1, at, end
