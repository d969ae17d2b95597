"""Choose the payloads worth decoding: the head of every flow, all datagrams of decodable services, each once."""

from __future__ import annotations

from typing import Any

import numpy as np

from thingward.model.columns import MORE_FRAGMENTS, PACKET
from thingward.wire.packets.compile import array_type, inlined, kernel, record_type, types
from thingward.wire.packets.flowtable import ENTRY, FROM_A, FROM_INITIATOR, HEAD_CLOSED, SYN, mixed
from thingward.wire.packets.names import P_ICMP6, P_TCP, P_UDP, T_SFLOW
from thingward.wire.packets.read import whole
from thingward.wire.packets.walks import (
    ENDS_QUIETLY,
    F_OVER,
    STEPS,
    TO_ORDER,
    WALKS,
    give_away,
    payload_hash,
    walk_segment,
)

W_NONE = 0
W_DATAGRAM = 1
W_SEGMENT = 2
W_ARP = 3
W_NDP = 4
W_FRAME = 5
W_SENDER = 6
"""A hardware address that was not seen before."""
W_STEP = 7
"""A segment whose bytes are kept: the step is handed out that it leads to."""

SEEN_WAYS = 4
RATES = 4096

PORT_DECODED = 1
PORT_HAS_ID = 2
"""The first two bytes are a transaction number: a repeat differs in nothing else."""

L_REPEAT_NS = 0
L_HEAD_DATAGRAMS = 1
L_HEAD_SEGMENTS = 2
L_PER_SECOND = 3
L_SENDERS_PER_SECOND = 4
L_NEIGHBOUR_NS = 5
L_HEAD_BYTES = 6
LIMITS = 7

D_REPEATED = 0
D_RATE = 1
D_FRAGMENTS = 2
D_SENDERS = 3
DROPS = 4

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@inlined
def is_repeat(seen: Any, seen_ns: Any, key: Any, now_ns: int, repeat_ns: int) -> bool:
    """Look a key up and note it; true if it was noted less than `repeat_ns` ago (0: ever)."""
    base = whole(key & np.uint64(len(seen) // SEEN_WAYS - 1)) * SEEN_WAYS
    oldest = base
    for slot in range(base, base + SEEN_WAYS):
        if seen[slot] == key:
            if repeat_ns == 0 or (now_ns - seen_ns[slot] < repeat_ns and seen_ns[slot] - now_ns < repeat_ns):
                return True
            seen_ns[slot] = now_ns
            return False
        if seen_ns[slot] < seen_ns[oldest]:
            oldest = slot
    seen[oldest] = key
    seen_ns[oldest] = now_ns
    return False


@inlined
def is_known(seen: Any, key: Any) -> bool:
    """Look a key up without noting it."""
    base = whole(key & np.uint64(len(seen) // SEEN_WAYS - 1)) * SEEN_WAYS
    found = False
    for slot in range(base, base + SEEN_WAYS):
        found = found or seen[slot] == key
    return found


@inlined
def is_new_sender(row: Any, senders: Any, sender_ns: Any, rates: Any, limits: Any, drops: Any) -> bool:
    """Tell whether the frame's sender is to be reported: never seen, and not too many this second."""
    if row.src_mac >= np.uint64(1 << 48):
        return False
    key = mixed(row.src_mac + np.uint64(1)) | np.uint64(1)
    second = row.ts_ns // 1_000_000_000
    if rates[2 * RATES] != second:
        rates[2 * RATES] = second
        rates[2 * RATES + 1] = 0
    if rates[2 * RATES + 1] >= limits[L_SENDERS_PER_SECOND]:
        drops[D_SENDERS] += 0 if is_known(senders, key) else 1
        return False
    if is_repeat(senders, sender_ns, key, row.ts_ns, 0):
        return False
    rates[2 * RATES + 1] += 1
    return True


@inlined
def within_rate(rates: Any, row: Any, per_second: int) -> bool:
    """Count a payload against its sender's share of this second."""
    slot = whole(mixed(row.src_mac) & np.uint64(RATES - 1)) * 2
    second = row.ts_ns // 1_000_000_000
    if rates[slot] != second:
        rates[slot] = second
        rates[slot + 1] = 0
    rates[slot + 1] += 1
    return rates[slot + 1] <= per_second  # type: ignore[no-any-return]


@inlined
def kind_of_payload(row: Any, entry: Any, has_entry: bool, from_a: bool, ports: Any, limits: Any, drops: Any) -> int:
    """Tell what kind of decoding a row's payload is worth."""
    if row.ip_version == 0:
        if row.arp:
            return W_ARP
        return W_FRAME if row.ethertype == 0x88CC else W_NONE
    if row.fragment & ~MORE_FRAGMENTS or row.payload_len <= 0:
        return W_NONE
    if row.proto == P_ICMP6:
        return W_NDP if 133 <= row.icmp_type <= 137 else W_NONE
    if row.proto == P_TCP:
        head = (entry.a_head if from_a else entry.b_head) if has_entry else 0
        return W_SEGMENT if head < limits[L_HEAD_SEGMENTS] else W_NONE
    if row.proto != P_UDP:
        return W_NONE
    if row.fragment & MORE_FRAGMENTS or row.payload_len < row.payload_wire:
        drops[D_FRAGMENTS] += 1
        return W_NONE
    if (ports[row.sport] | ports[row.dport]) & PORT_DECODED:
        return W_DATAGRAM
    head = (entry.a_head if from_a else entry.b_head) if has_entry else 0
    return W_DATAGRAM if head < limits[L_HEAD_DATAGRAMS] else W_NONE


@inlined
def repeat_key(data: Any, row: Any, kind: int, ports: Any) -> Any:
    """Name what makes two payloads the same observation: who, to whom, which service, which bytes."""
    at = row.payload
    size = row.payload_len
    if kind == W_DATAGRAM and (ports[row.sport] | ports[row.dport]) & PORT_HAS_ID and size > 2:
        at += 2
        size -= 2
    key = payload_hash(data, at, size)
    key = mixed(key ^ (row.src_mac * _MULTIPLIER) ^ row.src_lo)
    key = mixed(key ^ (row.dst_mac * _MULTIPLIER) ^ row.dst_lo)
    sport = row.sport if ports[row.sport] else 0
    dport = row.dport if ports[row.dport] else 0
    return mixed(key ^ (np.uint64(sport) << np.uint64(16)) ^ np.uint64(dport)) | np.uint64(1)


@inlined
def first_sequence(entry: Any, from_a: bool) -> int:
    """Give the sequence number of a direction's first data byte, -1 if its SYN was not seen."""
    flags = entry.a_flags if from_a else entry.b_flags
    return whole(entry.a_next if from_a else entry.b_next) if flags & SYN else -1


@inlined
def count_head(entry: Any, from_a: bool) -> None:
    """Note that a payload of a direction was looked at."""
    if from_a:
        entry.a_head = min(entry.a_head + 1, HEAD_CLOSED - 1)
    else:
        entry.b_head = min(entry.b_head + 1, HEAD_CLOSED - 1)


@inlined
def take_segment(
    data: Any,
    row: Any,
    number: int,
    start: int,
    out: bool,
    entry: Any,
    has_entry: bool,
    walks: Any,
    steps: Any,
    places: Any,
    roots: Any,
    known: Any,
    counters: Any,
    head_bytes: int,
) -> int:
    """Walk on with a segment, close the heads of a flow that is over; gives the step or what becomes of it."""
    if not has_entry:
        return give_away(walks, number)
    step = walk_segment(data, row, number, start, out, walks, steps, places, roots, known, counters, head_bytes)
    if step == ENDS_QUIETLY or (step >= 0 and steps[step].flags & F_OVER):
        entry.a_head = entry.b_head = HEAD_CLOSED
    return step


_BYTES = array_type(types.uint8, readonly=True)
_U8 = array_type(types.uint8)
_I32 = array_type(types.int32)
_I64 = array_type(types.int64)
_U64 = array_type(types.uint64)
_ROWS = array_type(record_type(PACKET))
_ENTRIES = array_type(record_type(ENTRY))


_TREE = (WALKS, STEPS, _I32, _I32, _U8, _I64)
_SEEN = (_U64, _I64, _U64, _I64, _I64, _I64, _I64)


@kernel(types.int64(_BYTES, _ROWS, _I32, _I64, _ENTRIES, _U8, *_SEEN, *_TREE, _I32, _U8, _I64))
def choose_payloads(
    data: Any,
    rows: Any,
    slots: Any,
    numbers: Any,
    table: Any,
    ports: Any,
    seen: Any,
    seen_ns: Any,
    senders: Any,
    sender_ns: Any,
    rates: Any,
    limits: Any,
    drops: Any,
    walks: Any,
    steps: Any,
    places: Any,
    roots: Any,
    known: Any,
    counters: Any,
    chosen: Any,
    kinds: Any,
    starts: Any,
) -> int:
    """List the rows to be decoded, in order; gives their number.

    Args:
        slots, numbers: as `update_flows` filled them in.
        ports: per port, PORT_DECODED and PORT_HAS_ID.
        seen, seen_ns: table of payloads, a power of two of places; senders, sender_ns: of hardware addresses.
        rates: pairs of second and count, RATES for payloads by sender and one for new senders.
        walks: connections that walk known beginnings; steps, places, roots, known, counters: the beginnings.
        chosen, kinds: row index and W_ constant, room for twice the rows.
        starts: for segments, the sequence number of the direction's first data byte, -1 where its SYN was not seen;
            for W_STEP the step.
    """
    n = 0
    for i in range(len(rows)):
        row = rows[i]
        if is_new_sender(row, senders, sender_ns, rates, limits, drops):
            chosen[n] = i
            kinds[n] = W_SENDER
            n += 1
        if row.tunnel == T_SFLOW:
            continue
        entry = table[max(slots[i], 0) >> 2]
        has_entry = slots[i] >= 0 and whole(entry.flow) == numbers[i]
        from_a = slots[i] & FROM_A != 0
        kind = kind_of_payload(row, entry, has_entry, from_a, ports, limits, drops)
        if kind == W_NONE or (kind == W_SEGMENT and slots[i] < 0):
            continue
        start = -1
        if kind != W_SEGMENT:
            repeat_ns = limits[L_REPEAT_NS if kind == W_DATAGRAM else L_NEIGHBOUR_NS]
            if is_repeat(seen, seen_ns, repeat_key(data, row, kind, ports), row.ts_ns, repeat_ns):
                drops[D_REPEATED] += 1
                continue
        elif has_entry:
            start = first_sequence(entry, from_a)
        if not within_rate(rates, row, limits[L_PER_SECOND]):
            drops[D_RATE] += 1
            continue
        if has_entry and (kind == W_SEGMENT or kind == W_DATAGRAM):
            count_head(entry, from_a)
        if kind == W_SEGMENT:
            step = take_segment(
                data, row, numbers[i], start, slots[i] & FROM_INITIATOR != 0, entry, has_entry, walks, steps, places,
                roots, known, counters, limits[L_HEAD_BYTES],
            )  # fmt: skip
            if step < TO_ORDER:
                continue
            if step >= 0:
                kind = W_STEP
                start = step
        chosen[n] = i
        kinds[n] = kind
        starts[n] = start
        n += 1
    return n
