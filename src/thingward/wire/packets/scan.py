"""Find the packets in the bytes of a capture: record headers of pcap, blocks of pcapng, frames of a kernel ring."""

from __future__ import annotations

from typing import Any

import numpy as np

from thingward.wire.packets.compile import array_type, inlined, kernel, types
from thingward.wire.packets.read import u16, u16_le, u32, u32_le, whole

MORE = 0
"""The buffer ends inside a record: give more bytes."""
FULL = 1
"""The output arrays are full: call again."""
BLOCK = 2
"""A pcapng block that changes the section's state lies at the position: the caller reads it."""
SKIP = 3
"""A pcapng block that nobody needs starts at the position and is not all in the buffer."""
BAD_LENGTH = 10
"""A packet or block claims more bytes than its format allows."""
BAD_BLOCK = 11
"""A pcapng block is too short for what it says it holds."""
BAD_TRAILER = 12
"""A pcapng block's two lengths differ."""
BAD_INTERFACE = 13
"""A packet names an interface that was not described."""

MAX_PACKET = 262144
MAX_BLOCK = 16 << 20
MAX_SKIPPED = (128 << 20) + 131072 + 32
MAX_SECONDS = 9_000_000_000

B_SECTION = 0x0A0D0D0A
B_INTERFACE = 1
B_PACKET = 2
B_SIMPLE = 3
B_ENHANCED = 6

_BYTES = array_type(types.uint8, readonly=True)
_I32 = array_type(types.int32)
_I64 = array_type(types.int64)
_U64 = array_type(types.uint64)
_INT = types.int64
_FOUND = types.UniTuple(types.int64, 3)


@inlined
def number(data: Any, at: int, big: int) -> int:
    """Read four bytes in the file's byte order."""
    return u32(data, at) if big else u32_le(data, at)


@inlined
def half(data: Any, at: int, big: int) -> int:
    """Read two bytes in the file's byte order."""
    return u16(data, at) if big else u16_le(data, at)


@inlined
def nanoseconds(high: int, low: int, units: Any, shift_s: int) -> int:
    """Turn a pcapng timestamp in `units` per second into nanoseconds since 1970, kept within what 64 bits hold."""
    stamp = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
    seconds = stamp // units
    rest = stamp - seconds * units
    if units <= np.uint64(10_000_000_000):
        part = whole(rest * np.uint64(1_000_000_000) // units)
    else:
        part = whole(np.float64(rest) / np.float64(units) * 1e9)
    kept = whole(seconds if seconds < np.uint64(MAX_SECONDS) else np.uint64(MAX_SECONDS)) + shift_s
    return min(max(kept, 0), MAX_SECONDS) * 1_000_000_000 + part


@kernel(_FOUND(_BYTES, _INT, _INT, _INT, _INT, _INT, _INT, _I64, _I32, _I32, _I64))
def scan_pcap(
    data: Any,
    at: int,
    stop: int,
    big: int,
    header: int,
    fraction_ns: int,
    swapped: int,
    offset: Any,
    caplen: Any,
    wirelen: Any,
    ts_ns: Any,
) -> tuple[int, int, int]:
    """Walk pcap records from `at`; gives the number found, where it stopped, and why.

    Args:
        big: 1 for network byte order.
        header: bytes of a record header (16 for the standard form).
        fraction_ns: nanoseconds per unit of the fraction (1000 or 1).
        swapped: 1 where the two lengths are in the old order, 2 where that is decided packet by packet.
    """
    n = 0
    while stop - at >= header:
        if n >= len(offset):
            return n, at, FULL
        size = number(data, at + 8, big)
        wire = number(data, at + 12, big)
        if swapped == 1 or (swapped == 2 and size > wire):
            size, wire = wire, size
        if size > MAX_PACKET:
            return n, at, BAD_LENGTH
        if stop - at - header < size:
            return n, at, MORE
        offset[n] = at + header
        caplen[n] = size
        wirelen[n] = min(wire, 0x7FFFFFFF)
        ts_ns[n] = number(data, at, big) * 1_000_000_000 + number(data, at + 4, big) * fraction_ns
        n += 1
        at += header + size
    return n, at, MORE


@inlined
def packet_in_block(
    data: Any, at: int, size: int, big: int, kind: int, snap: Any, count: int
) -> tuple[int, int, int, int]:
    """Read a packet block's own header: where its bytes start, captured and wire length, interface (or -status)."""
    if kind == B_SIMPLE:
        if size < 16:
            return 0, 0, 0, -BAD_BLOCK
        if count == 0:
            return 0, 0, 0, -BAD_INTERFACE
        wire = number(data, at + 8, big)
        length = min(wire, snap[0]) if snap[0] else wire
        interface = 0
        start = at + 12
    else:
        if size < 32:
            return 0, 0, 0, -BAD_BLOCK
        interface = half(data, at + 8, big) if kind == B_PACKET else number(data, at + 8, big)
        length = number(data, at + 20, big)
        wire = number(data, at + 24, big)
        start = at + 28
    if start - at + ((length + 3) & ~3) + 4 > size:
        return 0, 0, 0, -BAD_BLOCK
    if interface >= count:
        return 0, 0, 0, -BAD_INTERFACE
    if length > MAX_PACKET:
        return 0, 0, 0, -BAD_LENGTH
    return start, length, wire, interface


@kernel(_FOUND(_BYTES, _INT, _INT, _INT, _I32, _U64, _I64, _I64, _INT, _I64, _I32, _I32, _I64, _I32))
def scan_pcapng(
    data: Any,
    at: int,
    stop: int,
    big: int,
    if_link: Any,
    if_units: Any,
    if_shift: Any,
    if_snap: Any,
    if_count: int,
    offset: Any,
    caplen: Any,
    wirelen: Any,
    ts_ns: Any,
    link: Any,
) -> tuple[int, int, int]:
    """Walk pcapng blocks of one section from `at`; gives the number of packets, where it stopped, and why."""
    n = 0
    while stop - at >= 12:
        kind = number(data, at, big)
        if kind == B_SECTION:
            return n, at, BLOCK
        size = (number(data, at + 4, big) + 3) & ~3
        if size < 12:
            return n, at, BAD_BLOCK
        wanted = kind == B_INTERFACE or kind == B_PACKET or kind == B_SIMPLE or kind == B_ENHANCED
        if size > (MAX_BLOCK if wanted else MAX_SKIPPED):
            return n, at, BAD_LENGTH
        if stop - at < size:
            return n, at, MORE if wanted else SKIP
        if (number(data, at + size - 4, big) + 3) & ~3 != size:
            return n, at, BAD_TRAILER
        if kind == B_INTERFACE:
            return n, at, BLOCK
        if wanted:
            if n >= len(offset):
                return n, at, FULL
            start, length, wire, interface = packet_in_block(data, at, size, big, kind, if_snap, if_count)
            if interface < 0:
                return n, at, -interface
            offset[n] = start
            caplen[n] = length
            wirelen[n] = min(wire, 0x7FFFFFFF)
            link[n] = if_link[interface]
            ts_ns[n] = 0
            if kind != B_SIMPLE:
                high = number(data, at + 12, big)
                ts_ns[n] = nanoseconds(high, number(data, at + 16, big), if_units[interface], if_shift[interface])
            n += 1
        at += size
    return n, at, MORE


@kernel(_FOUND(_BYTES, _INT, _INT, _I64, _I32, _I32, _I64, _I32))
def scan_ring(
    data: Any,
    at: int,
    left: int,
    offset: Any,
    caplen: Any,
    wirelen: Any,
    ts_ns: Any,
    vlan: Any,
) -> tuple[int, int, int]:
    """Walk the frames of one TPACKET_V3 block (linux/if_packet.h), host byte order being little-endian.

    Args:
        at: where the next frame header lies in the block.
        left: frames not read yet.
    Returns:
        Frames written, where the next one lies, frames left.
    """
    n = 0
    while left > 0 and n < len(offset):
        if at < 0 or len(data) - at < 48:
            return n, at, 0
        start = at + u16_le(data, at + 24)
        size = u32_le(data, at + 12)
        if start + size > len(data):
            return n, at, 0
        offset[n] = start
        caplen[n] = size
        wirelen[n] = min(u32_le(data, at + 16), 0x7FFFFFFF)
        ts_ns[n] = u32_le(data, at + 4) * 1_000_000_000 + u32_le(data, at + 8)
        vlan[n] = (u32_le(data, at + 32) & 0xFFF) if u32_le(data, at + 20) & 0x10 else 0
        step = u32_le(data, at)
        n += 1
        left -= 1
        if step == 0:
            return n, at, 0
        at += step
    return n, at, left
