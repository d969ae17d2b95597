"""What a packet carries inside it: the kind of the inner frame and where it lies, or nothing."""

from __future__ import annotations

from typing import Any

from thingward.model.columns import MORE_FRAGMENTS
from thingward.wire.packets.compile import inlined
from thingward.wire.packets.names import (
    E_IP4,
    E_IP6,
    E_MPLS,
    E_TRANSPARENT,
    F_DOT11,
    F_ETHER,
    F_IP,
    F_MPLS,
    F_NONE,
    F_PPP,
    F_PRISM,
    F_SFLOW,
    P_ETHERIP,
    P_GRE,
    P_IP6,
    P_IPIP,
    P_UDP,
    T_EOIP,
    T_ERSPAN,
    T_ETHERIP,
    T_GENEVE,
    T_GRE,
    T_GTP,
    T_IP,
    T_PPP,
    T_SFLOW,
    T_TEREDO,
    T_TZSP,
    T_VXLAN,
)
from thingward.wire.packets.read import u8, u16, u32

Inner = tuple[int, int, int]
"""Kind of frame (F_NONE: no tunnel; -1: header cut), its start, its tunnel (index into TUNNELS)."""


@inlined
def by_ethertype(kind: int, at: int, tunnel: int) -> Inner:
    """The inner frame by an Ethernet type."""
    if kind == E_TRANSPARENT:
        return F_ETHER, at, tunnel
    if kind == E_IP4 or kind == E_IP6:
        return F_IP, at, tunnel
    if kind == E_MPLS:
        return F_MPLS, at, tunnel
    return F_NONE, at, 0


@inlined
def gre(data: Any, at: int, end: int) -> Inner:
    """GRE and what is built on it: ERSPAN, PPTP, MikroTik's EoIP."""
    if end - at < 4:
        return -1, at, T_GRE
    flags = u16(data, at)
    kind = u16(data, at + 2)
    if flags & 7 == 1:
        return gre_enhanced(flags, kind, at, end)
    here = at + 4
    here += 4 if flags & 0xC000 else 0
    here += 4 if flags & 0x2000 else 0
    here += 4 if flags & 0x1000 else 0
    if here > end:
        return -1, at, T_GRE
    if kind == 0x88BE:
        return F_ETHER, here + (8 if flags & 0x1000 else 0), T_ERSPAN
    if kind == 0x22EB:
        if end - here < 12:
            return -1, at, T_ERSPAN
        return F_ETHER, here + (20 if data[here + 11] & 1 else 12), T_ERSPAN
    if 0x8200 <= kind <= 0x83FF:
        return F_DOT11, here, T_GRE
    return by_ethertype(kind, here, T_GRE)


@inlined
def gre_enhanced(flags: int, kind: int, at: int, end: int) -> Inner:
    """GRE version 1: PPTP carries PPP; EoIP writes a fixed header of eight bytes."""
    if kind == 0x6400:
        return (F_ETHER, at + 8, T_EOIP) if end - at >= 8 else (-1, at, T_EOIP)
    if kind != 0x880B or flags & 0x2000 == 0:
        return F_NONE, at, 0
    here = at + 8 + (4 if flags & 0x1000 else 0) + (4 if flags & 0x80 else 0)
    return (F_PPP, here, T_PPP) if here < end else (F_NONE, at, 0)


@inlined
def vxlan(data: Any, at: int, end: int, generic: bool) -> Inner:
    """VXLAN, and its generic extension that names what follows."""
    if end - at < 8:
        return -1, at, T_VXLAN
    if data[at] & 8 == 0:
        return F_NONE, at, 0
    if generic and data[at] & 4 and data[at + 3] != 3:
        return F_IP, at + 8, T_VXLAN
    return F_ETHER, at + 8, T_VXLAN


@inlined
def geneve(data: Any, at: int, end: int) -> Inner:
    """GENEVE with its options stepped over."""
    if end - at < 8:
        return -1, at, T_GENEVE
    if u8(data, at) >> 6:
        return F_NONE, at, 0
    here = at + 8 + (u8(data, at) & 0x3F) * 4
    if here > end:
        return -1, at, T_GENEVE
    return by_ethertype(u16(data, at + 2), here, T_GENEVE)


@inlined
def gtp(data: Any, at: int, end: int) -> Inner:
    """GTP-U version 1, user data only."""
    if end - at < 12 or u8(data, at) >> 4 != 3 or data[at + 1] != 0xFF:
        return F_NONE, at, 0
    here = at + 8
    if data[at] & 7:
        extension = u8(data, at + 11) if data[at] & 4 else 0
        here += 4
        for _ in range(8):
            if extension == 0:
                break
            if end - here < 4 or data[here] == 0:
                return -1, at, T_GTP
            size = u8(data, here) * 4
            if size > end - here:
                return -1, at, T_GTP
            extension = u8(data, here + size - 1)
            here += size
    return carried_ip(data, here, end, T_GTP)


@inlined
def teredo(data: Any, at: int, end: int) -> Inner:
    """Teredo: authentication and origin indications, then IPv6."""
    if end - at >= 13 and u16(data, at) == 1:
        at += 13 + u8(data, at + 2) + u8(data, at + 3)
    if end - at >= 8 and u16(data, at) == 0:
        at += 8
    if end - at < 40 or u8(data, at) >> 4 != 6:
        return F_NONE, at, 0
    return F_IP, at, T_TEREDO


@inlined
def tzsp(data: Any, at: int, end: int) -> Inner:
    """TaZmen Sniffer Protocol: a mirrored frame, Ethernet or 802.11."""
    if end - at < 5 or data[at] != 1 or data[at + 1] > 1:
        return F_NONE, at, 0
    kind = u16(data, at + 2)
    here = at + 4
    for _ in range(64):
        if here >= end:
            return -1, at, T_TZSP
        tag = u8(data, here)
        if tag == 1:
            here += 1
            break
        if tag == 0:
            here += 1
        else:
            here += 2 + (u8(data, here + 1) if here + 1 < end else 0)
    if kind == 1:
        return F_ETHER, here, T_TZSP
    if kind == 18:
        return F_DOT11, here, T_TZSP
    if kind == 119 or kind == 127:
        return F_PRISM, here, T_TZSP
    return F_NONE, at, 0


@inlined
def l2tp(data: Any, at: int, end: int) -> Inner:
    """L2TP version 2 data messages carry PPP."""
    if end - at < 6:
        return F_NONE, at, 0
    flags = u16(data, at)
    if flags & 0x800F != 2:
        return F_NONE, at, 0
    here = at + 6
    here += 2 if flags & 0x4000 else 0
    here += 4 if flags & 0x0800 else 0
    if flags & 0x0200:
        if end - here < 2:
            return -1, at, T_PPP
        here += 2 + u16(data, here)
    return (F_PPP, here, T_PPP) if end - here >= 2 else (F_NONE, at, 0)


@inlined
def carried_ip(data: Any, at: int, end: int, tunnel: int) -> Inner:
    """IP without a header that says so: only if its first nibble fits."""
    if at < end and (u8(data, at) >> 4 == 4 or u8(data, at) >> 4 == 6):
        return F_IP, at, tunnel
    return F_NONE, at, 0


@inlined
def over_udp(data: Any, at: int, end: int, sport: int, dport: int) -> Inner:
    """The tunnels that are known by their UDP port."""
    if dport == 4789 or sport == 4789:
        return vxlan(data, at, end, False)
    if dport == 4790:
        return vxlan(data, at, end, True)
    if dport == 6081:
        return geneve(data, at, end)
    if dport == 2152 or sport == 2152:
        return gtp(data, at, end)
    if dport == 3544 or sport == 3544:
        return teredo(data, at, end)
    if dport == 37008:
        return tzsp(data, at, end)
    if dport == 4754:
        return gre(data, at, end)
    if dport == 1701 or sport == 1701:
        return l2tp(data, at, end)
    if dport == 6343 and end - at >= 28 and u32(data, at) == 5:
        return F_SFLOW, at, T_SFLOW
    return F_NONE, at, 0


@inlined
def find_tunnel(data: Any, at: int, end: int, proto: int, row: Any) -> Inner:
    """Tell what the IP payload at `at` carries; `row` holds its parsed ports."""
    if row.fragment & ~MORE_FRAGMENTS or row.payload_len <= 0:
        return F_NONE, at, 0
    if proto == P_UDP:
        return over_udp(data, row.payload, row.payload + row.payload_len, row.sport, row.dport)
    if proto == P_GRE:
        return gre(data, at, end)
    if proto == P_IPIP or proto == P_IP6:
        return carried_ip(data, at, end, T_IP)
    if proto == P_ETHERIP:
        return (F_ETHER, at + 2, T_ETHERIP) if end - at >= 2 else (-1, at, T_ETHERIP)
    return F_NONE, at, 0
