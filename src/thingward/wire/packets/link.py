"""Link headers: each function writes what it finds into the row and says what follows, where, and where it ends."""

from __future__ import annotations

from typing import Any

from thingward.wire.packets.compile import inlined
from thingward.wire.packets.names import (
    E_CUT,
    E_ETHER,
    E_IP,
    E_IP4,
    E_IP6,
    E_LLC,
    E_MPLS,
    E_NONE,
    E_PPP,
    E_PPPOE,
    F_DOT11,
    F_ENC,
    F_ETHER,
    F_FDDI,
    F_HDLC,
    F_IP,
    F_LLC,
    F_MPLS,
    F_NFLOG,
    F_NULL,
    F_PFLOG,
    F_PKTAP,
    F_PPI,
    F_PPP,
    F_PPPOE,
    F_PRISM,
    F_RADIOTAP,
    F_SLL,
    F_SLL2,
    FRAME_OF_LINK,
    LINK_LIMIT,
    X_LINK_CUT,
    X_LINK_UNKNOWN,
)
from thingward.wire.packets.read import mac, u8, u16, u16_le, u32, u32_le, whole

Step = tuple[int, int, int]


@inlined
def frame_of_link(link: int) -> int:
    """Give the kind of frame that a LINKTYPE number stands for."""
    if 0 <= link < LINK_LIMIT:
        return whole(FRAME_OF_LINK[link])
    return 255


@inlined
def cut(row: Any, at: int, end: int) -> Step:
    """Note that the link header is not all there."""
    row.problem = X_LINK_CUT
    return E_CUT, at, end


@inlined
def ethernet(data: Any, at: int, end: int, row: Any) -> Step:
    """Ethernet II and 802.3; Cisco FabricPath's outer header is stepped over."""
    if end - at >= 30 and u16(data, at + 12) == 0x8903:
        at += 16
    if end - at < 14:
        if end - at >= 12:
            row.dst_mac = mac(data, at)
            row.src_mac = mac(data, at + 6)
        return cut(row, at, end)
    row.dst_mac = mac(data, at)
    row.src_mac = mac(data, at + 6)
    kind = u16(data, at + 12)
    if kind > 1500:
        return kind, at + 14, end
    return E_LLC, at + 14, min(end, at + 14 + kind) if kind else end


@inlined
def cooked(data: Any, at: int, end: int, row: Any) -> Step:
    """Linux cooked capture, version 1."""
    if end - at < 16:
        return cut(row, at, end)
    if u16(data, at + 4) == 6:
        row.src_mac = mac(data, at + 6)
    return cooked_protocol(u16(data, at + 14), at + 16, end)


@inlined
def cooked2(data: Any, at: int, end: int, row: Any) -> Step:
    """Linux cooked capture, version 2."""
    if end - at < 20:
        return cut(row, at, end)
    if data[at + 11] == 6:
        row.src_mac = mac(data, at + 12)
    return cooked_protocol(u16(data, at), at + 20, end)


@inlined
def cooked_protocol(kind: int, at: int, end: int) -> Step:
    """Linux gives 4 for 802.2 LLC and small numbers for what has no Ethernet type."""
    if kind > 1535:
        return kind, at, end
    if kind == 4:
        return E_LLC, at, end
    return E_NONE, at, end


@inlined
def family(value: int, at: int, end: int, row: Any) -> Step:
    """What follows by the address family numbers of the BSDs, Linux, macOS and Windows."""
    if value == 2:
        return E_IP4, at, end
    if value in (10, 23, 24, 28, 30):
        return E_IP6, at, end
    if value > 1535 and value <= 0xFFFF:
        return value, at, end
    return E_NONE, at, end


@inlined
def loopback(data: Any, at: int, end: int, row: Any) -> Step:
    """BSD loopback: the family in the byte order of whoever wrote it."""
    if end - at < 4:
        return cut(row, at, end)
    value = u32_le(data, at)
    if value > 0xFFFF:
        value = u32(data, at)
    return family(value, at + 4, end, row)


@inlined
def fddi(data: Any, at: int, end: int, row: Any) -> Step:
    """FDDI with its addresses in bit-reversed bytes, as Ethernet writes them."""
    if end - at < 13:
        return cut(row, at, end)
    dst = 0
    src = 0
    for i in range(6):
        dst = (dst << 8) | reversed_bits(u8(data, at + 1 + i))
        src = (src << 8) | reversed_bits(u8(data, at + 7 + i))
    row.dst_mac = dst
    row.src_mac = src
    if data[at] & 0xF0 == 0x50:
        return E_LLC, at + 13, end
    return E_NONE, at + 13, end


@inlined
def reversed_bits(value: int) -> int:
    """Reverse the bits of one byte."""
    value = ((value & 0xF0) >> 4) | ((value & 0x0F) << 4)
    value = ((value & 0xCC) >> 2) | ((value & 0x33) << 2)
    return ((value & 0xAA) >> 1) | ((value & 0x55) << 1)


@inlined
def nflog(data: Any, at: int, end: int, row: Any) -> Step:
    """Netfilter log: attributes, among them the sender's hardware address and the packet."""
    if end - at < 4:
        return cut(row, at, end)
    value = u8(data, at)
    here = at + 4
    for _ in range(64):
        if end - here < 4:
            break
        size = u16_le(data, here)
        kind = u16_le(data, here + 2) & 0x7FFF
        if size < 4 or size > end - here:
            return cut(row, here, end)
        if kind == 8 and size >= 14 and u16(data, here + 4) == 6:
            row.src_mac = mac(data, here + 8)
        elif kind == 9:
            return family(value, here + 4, here + size, row)
        here += (size + 3) & ~3
    return E_NONE, min(here, end), end


@inlined
def radiotap(data: Any, at: int, end: int, row: Any) -> Step:
    """Radiotap: skip its header; its flags say whether the 802.11 header is padded."""
    if end - at < 8:
        return cut(row, at, end)
    size = u16_le(data, at + 2)
    if size < 8 or size > end - at:
        return cut(row, at, end)
    present = u32_le(data, at + 4)
    here = at + 8
    more = present
    while more & 0x80000000 and here + 4 <= at + size:
        more = u32_le(data, here)
        here += 4
    padded = False
    if present & 1:
        here = at + ((here - at + 7) & ~7) + 8
    if present & 2 and here < at + size:
        padded = data[here] & 0x20 != 0
    return dot11(data, at + size, end, row, padded)


@inlined
def dot11(data: Any, at: int, end: int, row: Any, padded: bool) -> Step:
    """802.11: source and destination by the direction bits, then LLC if the frame carries clear data."""
    if end - at < 10:
        return cut(row, at, end)
    kind = (u8(data, at) >> 2) & 3
    subtype = u8(data, at) >> 4
    flags = u8(data, at + 1)
    if kind == 1 or kind == 3:
        return E_NONE, at, end
    if end - at < 24:
        return cut(row, at, end)
    size = 24
    to_ds = flags & 1 != 0
    from_ds = flags & 2 != 0
    if kind == 2 and to_ds and from_ds:
        if end - at < 30:
            return cut(row, at, end)
        size = 30
    row.dst_mac = mac(data, at + 16) if to_ds else mac(data, at + 4)
    if from_ds:
        row.src_mac = mac(data, at + 24) if size == 30 else mac(data, at + 16)
    else:
        row.src_mac = mac(data, at + 10)
    if kind != 2 or subtype & 4 or flags & 0x40:
        return E_NONE, at + size, end
    return dot11_data(data, at, end, size, row, padded)


@inlined
def dot11_data(data: Any, at: int, end: int, size: int, row: Any, padded: bool) -> Step:
    """The rest of an 802.11 data frame's header; of aggregated frames the first is read."""
    aggregate = False
    if data[at] & 0x80:
        aggregate = end - at > size and data[at + size] & 0x80 != 0
        size += 6 if data[at + 1] & 0x80 else 2
    if padded:
        size = (size + 3) & ~3
    if aggregate:
        size += 14
    if end - at < size:
        return cut(row, at, end)
    at += size
    if aggregate:
        row.dst_mac = mac(data, at - 14)
        row.src_mac = mac(data, at - 8)
        end = min(end, at + u16(data, at - 2))
    return E_LLC, at, end


@inlined
def prism(data: Any, at: int, end: int, row: Any) -> Step:
    """Prism's fixed header, or AVS's with its length, before 802.11."""
    if end - at < 8:
        return cut(row, at, end)
    size = 144
    if u32(data, at) & 0xFFFFF000 == 0x80211000:
        size = u32(data, at + 4)
    if size > end - at:
        return cut(row, at, end)
    return dot11(data, at + size, end, row, False)


@inlined
def wrapped(data: Any, at: int, end: int, size: int, link: int, row: Any) -> Step:
    """A header that names the link type of what follows it: one of the common ones, or nothing."""
    if size < 8 or size > end - at:
        return cut(row, at, end)
    at += size
    kind = frame_of_link(link)
    if kind == F_ETHER:
        return E_ETHER, at, end
    if kind == F_DOT11:
        return dot11(data, at, end, row, False)
    if kind == F_RADIOTAP:
        return radiotap(data, at, end, row)
    return simple(data, at, end, kind, row)


@inlined
def simple(data: Any, at: int, end: int, kind: int, row: Any) -> Step:
    """Links without addresses."""
    if kind == F_IP:
        return E_IP, at, end
    if kind == F_PPP:
        return E_PPP, at, end
    if kind == F_NULL:
        return loopback(data, at, end, row)
    if kind == F_LLC:
        return E_LLC, at, end
    if kind == F_MPLS:
        return E_MPLS, at, end
    if kind == F_PPPOE:
        return E_PPPOE, at, end
    if kind == F_HDLC:
        if end - at < 4:
            return cut(row, at, end)
        return u16(data, at + 2), at + 4, end
    if kind == F_ENC:
        if end - at < 12:
            return cut(row, at, end)
        return family(loopback(data, at, end, row)[0], at + 12, end, row)
    if kind == F_PFLOG:
        return packet_filter_log(data, at, end, row)
    row.problem = X_LINK_UNKNOWN
    return E_NONE, at, end


@inlined
def packet_filter_log(data: Any, at: int, end: int, row: Any) -> Step:
    """OpenBSD's pf log: length, family, and much else that is not needed."""
    if end - at < 4:
        return cut(row, at, end)
    size = (u8(data, at) + 3) & ~3
    if size < 4 or size > end - at:
        return cut(row, at, end)
    return family(u8(data, at + 1), at + size, end, row)


@inlined
def step_link(data: Any, at: int, end: int, kind: int, row: Any) -> Step:
    """Read the link header of one frame of the given kind."""
    if kind == F_ETHER:
        return ethernet(data, at, end, row)
    if kind == F_SLL:
        return cooked(data, at, end, row)
    if kind == F_SLL2:
        return cooked2(data, at, end, row)
    if kind == F_RADIOTAP:
        return radiotap(data, at, end, row)
    if kind == F_DOT11:
        return dot11(data, at, end, row, False)
    if kind == F_PRISM:
        return prism(data, at, end, row)
    if kind == F_FDDI:
        return fddi(data, at, end, row)
    if kind == F_NFLOG:
        return nflog(data, at, end, row)
    if kind == F_PPI:
        if end - at < 8:
            return cut(row, at, end)
        return wrapped(data, at, end, u16_le(data, at + 2), u32_le(data, at + 4), row)
    if kind == F_PKTAP:
        if end - at < 12:
            return cut(row, at, end)
        return wrapped(data, at, end, u32_le(data, at), u32_le(data, at + 8), row)
    return simple(data, at, end, kind, row)
