"""The flow table: both directions of a conversation in one entry, a fixed number of entries, counted losses.

Entries lie in buckets of WAYS. A full bucket gives up, in this order: an entry that has timed out, one that is
closed, the oldest conversation that was never established, an established one that has been silent for long. If all
are established and lively, the new flow is refused: a flood of spoofed senders cannot push out real conversations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thingward.model.columns import FLOW, FLOW_REASONS, FLOW_STATES, NO_MAC, PACKET
from thingward.wire.packets.compile import array_type, inlined, kernel, record_type, types
from thingward.wire.packets.names import P_ICMP, P_ICMP6, P_TCP, T_SFLOW
from thingward.wire.packets.read import whole

WAYS = 8

ENTRY = np.dtype(
    [
        ("a_hi", "u8"),  # the end with the smaller address and port is a
        ("a_lo", "u8"),
        ("b_hi", "u8"),
        ("b_lo", "u8"),
        ("a_mac", "u8"),  # sender of a's frames
        ("b_mac", "u8"),
        ("a_peer", "u8"),  # receiver of a's frames
        ("b_peer", "u8"),
        ("first_ns", "i8"),  # of this report
        ("last_ns", "i8"),  # of the flow
        ("due_ns", "i8"),  # next report
        ("flow", "u8"),
        ("packet", "i8"),  # where the flow's first packet lies in the stream of bytes
        ("a_packets", "i8"),  # since the last report
        ("a_bytes", "i8"),
        ("b_packets", "i8"),
        ("b_bytes", "i8"),
        ("a_total", "u4"),  # packets of the whole flow
        ("b_total", "u4"),
        ("a_next", "u4"),  # TCP: first sequence number of data, if the SYN was seen
        ("b_next", "u4"),
        ("a_port", "u2"),
        ("b_port", "u2"),
        ("vlan", "u2"),
        ("ethertype", "u2"),
        ("ip_version", "u1"),
        ("proto", "u1"),
        ("tunnel", "u1"),
        ("a_flags", "u1"),
        ("b_flags", "u1"),
        ("starts_b", "u1"),  # b is the initiator
        ("mid_stream", "u1"),
        ("reported", "u1"),
        ("closed", "u1"),
        ("icmp_type", "u1"),
        ("a_head", "u1"),  # payloads of this direction handed out, HEAD_CLOSED for no more
        ("b_head", "u1"),
    ],
    align=True,
)
HEAD_CLOSED = 255
FROM_INITIATOR = 1
FROM_A = 2

S_IDLE_TCP = 0
S_IDLE_OTHER = 1
S_LINGER = 2
S_UPDATE = 3
S_FIRST_UPDATE = 4
S_REPORT_NEW = 5
S_IDLE_FRAMES = 6
SETTINGS = 7

C_FLOWS = 0
"""Flows begun so far: the next flow's number."""
C_ACTIVE = 1
C_EVICTED = 2
C_REFUSED = 3
COUNTERS = 4

R_FIRST = FLOW_REASONS.index("first packet")
R_INTERVAL = FLOW_REASONS.index("interval")
R_IDLE = FLOW_REASONS.index("idle")
R_CLOSED = FLOW_REASONS.index("closed")
R_EVICTED = FLOW_REASONS.index("evicted")
R_REUSED = FLOW_REASONS.index("reused")
R_FINISHED = FLOW_REASONS.index("finished")
STATE_NEW = FLOW_STATES.index("new")
STATE_UPDATE = FLOW_STATES.index("update")
STATE_END = FLOW_STATES.index("end")
STATE_WHOLE = FLOW_STATES.index("whole")

FIN = 1
SYN = 2
RST = 4
ACK = 16
NONE = np.uint64(NO_MAC)
GROUP = np.uint64(1 << 40)
_U1 = np.uint64(0x9E3779B97F4A7C15)
_U2 = np.uint64(0xBF58476D1CE4E5B9)
_U3 = np.uint64(0x94D049BB133111EB)


@inlined
def mixed(value: Any) -> Any:
    """Spread 64 bits (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * _U2
    value = (value ^ (value >> np.uint64(27))) * _U3
    return value ^ (value >> np.uint64(31))


@inlined
def is_forward(row: Any) -> bool:
    """Tell whether the sender is the end named a."""
    if row.ip_version == 0:
        return bool(row.src_mac <= row.dst_mac)
    if row.src_hi != row.dst_hi:
        return bool(row.src_hi < row.dst_hi)
    if row.src_lo != row.dst_lo:
        return bool(row.src_lo < row.dst_lo)
    return bool(row.sport <= row.dport)


@inlined
def flow_hash(row: Any, seed: Any) -> Any:
    """Hash what both directions of a flow share; sums keep the order of the ends out of it."""
    if row.ip_version == 0:
        ends = mixed(row.src_mac + seed) + mixed(row.dst_mac + seed)
    else:
        src = mixed(row.src_lo + seed) ^ (row.src_hi * _U1) ^ (np.uint64(row.sport) << np.uint64(17))
        dst = mixed(row.dst_lo + seed) ^ (row.dst_hi * _U1) ^ (np.uint64(row.dport) << np.uint64(17))
        ends = mixed(src) + mixed(dst)
    rest = (np.uint64(row.proto) << np.uint64(32)) | (np.uint64(row.vlan) << np.uint64(16)) | np.uint64(row.ethertype)
    return mixed(ends ^ (rest * _U1) ^ np.uint64(row.tunnel))


@inlined
def fits_macs(entry: Any, row: Any, forward: bool) -> bool:
    """Tell whether the frame's addresses fit the flow's: a device is its MAC, so another sender is another flow.

    A direction's sender is fixed by its first frame. The first answer must come from the address that was written
    to, or go to the one that wrote (routers answer from another address than the one they share).
    """
    own = entry.a_mac if forward else entry.b_mac
    if own != NONE:
        return bool(row.src_mac == own)
    other = entry.b_mac if forward else entry.a_mac
    written = entry.b_peer if forward else entry.a_peer
    if row.src_mac == NONE or other == NONE or written == NONE or written & GROUP:
        return True
    return bool(row.src_mac == written or row.dst_mac == other)


@inlined
def fits(entry: Any, row: Any, forward: bool) -> bool:
    """Tell whether the frame belongs to the entry's flow."""
    if entry.proto != row.proto or entry.vlan != row.vlan or entry.ethertype != row.ethertype:
        return False
    if entry.tunnel != row.tunnel or entry.ip_version != row.ip_version:
        return False
    if row.ip_version == 0:
        a = row.src_mac if forward else row.dst_mac
        b = row.dst_mac if forward else row.src_mac
        return bool(entry.a_lo == a and entry.b_lo == b)
    if forward:
        same = entry.a_lo == row.src_lo and entry.b_lo == row.dst_lo
        same = same and entry.a_hi == row.src_hi and entry.b_hi == row.dst_hi
        same = same and entry.a_port == row.sport and entry.b_port == row.dport
    else:
        same = entry.b_lo == row.src_lo and entry.a_lo == row.dst_lo
        same = same and entry.b_hi == row.src_hi and entry.a_hi == row.dst_hi
        same = same and entry.b_port == row.sport and entry.a_port == row.dport
    return same and fits_macs(entry, row, forward)


@inlined
def is_established(entry: Any) -> bool:
    """Tell whether the initiator came back after an answer: one spoofed packet and its answers are not enough."""
    if entry.starts_b:
        return bool(entry.b_total >= 2 and entry.a_total >= 1)
    return bool(entry.a_total >= 2 and entry.b_total >= 1)


@inlined
def idle_limit(entry: Any, settings: Any) -> int:
    """Give how long the entry may be silent."""
    if entry.closed:
        return settings[S_LINGER]  # type: ignore[no-any-return]
    if entry.ip_version == 0:
        return settings[S_IDLE_FRAMES]  # type: ignore[no-any-return]
    return settings[S_IDLE_TCP] if entry.proto == P_TCP else settings[S_IDLE_OTHER]  # type: ignore[no-any-return]


@inlined
def report(entry: Any, out: Any, n: int, reason: int) -> int:
    """Write one report and start the next one; gives the number of reports."""
    is_last = reason != R_FIRST and reason != R_INTERVAL
    record = out[n]
    record.first_ns = entry.first_ns if entry.a_packets + entry.b_packets else entry.last_ns
    record.last_ns = entry.last_ns
    record.flow = entry.flow
    record.packet = entry.packet
    swap = entry.starts_b != 0
    record.src_hi = entry.b_hi if swap else entry.a_hi
    record.src_lo = entry.b_lo if swap else entry.a_lo
    record.dst_hi = entry.a_hi if swap else entry.b_hi
    record.dst_lo = entry.a_lo if swap else entry.b_lo
    src_mac = entry.b_mac if swap else entry.a_mac
    dst_mac = entry.a_mac if swap else entry.b_mac
    src_peer = entry.b_peer if swap else entry.a_peer
    dst_peer = entry.a_peer if swap else entry.b_peer
    record.src_mac = src_mac if src_mac != NONE else dst_peer
    record.dst_mac = dst_mac if dst_mac != NONE else src_peer
    record.packets_out = entry.b_packets if swap else entry.a_packets
    record.bytes_out = entry.b_bytes if swap else entry.a_bytes
    record.packets_in = entry.a_packets if swap else entry.b_packets
    record.bytes_in = entry.a_bytes if swap else entry.b_bytes
    record.sport = entry.b_port if swap else entry.a_port
    record.dport = entry.a_port if swap else entry.b_port
    record.flags_out = entry.b_flags if swap else entry.a_flags
    record.flags_in = entry.a_flags if swap else entry.b_flags
    record.ethertype = entry.ethertype
    record.vlan = entry.vlan
    record.ip_version = entry.ip_version
    record.proto = entry.proto
    record.icmp_type = entry.icmp_type
    record.tunnel = entry.tunnel
    record.mid_stream = entry.mid_stream
    record.reason = reason
    if is_last:
        record.state = STATE_END if entry.reported else STATE_WHOLE
    else:
        record.state = STATE_UPDATE if entry.reported else STATE_NEW
    entry.reported = 1
    entry.first_ns = 0
    entry.a_packets = 0
    entry.a_bytes = 0
    entry.b_packets = 0
    entry.b_bytes = 0
    return n + 1


@inlined
def starts_at_receiver(row: Any) -> tuple[bool, bool]:
    """Guess from a flow's first packet whether its receiver began it; and whether that is a guess."""
    known = False
    if row.proto == P_TCP:
        if row.tcp_flags & SYN:
            return row.tcp_flags & ACK != 0, row.tcp_flags & ACK != 0
        known = True
    if row.dst_mac != NONE and row.dst_mac & GROUP:
        return False, False
    if row.ip_version == 4 and (row.dst_lo & np.uint64(0xF0000000)) >= np.uint64(0xE0000000):
        return False, False
    if row.proto == P_ICMP or row.proto == P_ICMP6 or row.sport == 0:
        return row.proto == P_ICMP and row.icmp_type == 0 and row.payload_len > 0 and row.ip_version == 4, False
    if (row.sport == 67 and row.dport == 68) or (row.sport == 547 and row.dport == 546):
        return True, False
    server = row.sport < 1024 <= row.dport or (row.sport < 10000 and row.dport >= 32768)
    return server, known or server


@inlined
def begin(entry: Any, row: Any, forward: bool, number: Any, packet: int) -> None:
    """Fill an entry from its first packet, counts apart."""
    if row.ip_version == 0:
        entry.a_hi = entry.b_hi = 0
        entry.a_lo = row.src_mac if forward else row.dst_mac
        entry.b_lo = row.dst_mac if forward else row.src_mac
    else:
        entry.a_hi = row.src_hi if forward else row.dst_hi
        entry.a_lo = row.src_lo if forward else row.dst_lo
        entry.b_hi = row.dst_hi if forward else row.src_hi
        entry.b_lo = row.dst_lo if forward else row.src_lo
    entry.a_port = row.sport if forward else row.dport
    entry.b_port = row.dport if forward else row.sport
    entry.vlan = row.vlan
    entry.ethertype = row.ethertype
    entry.ip_version = row.ip_version
    entry.proto = row.proto
    entry.tunnel = row.tunnel
    entry.icmp_type = row.icmp_type
    entry.flow = number
    entry.packet = packet
    entry.first_ns = row.ts_ns
    entry.last_ns = row.ts_ns
    from_receiver, guessed = starts_at_receiver(row)
    entry.starts_b = 1 if forward == from_receiver else 0
    entry.mid_stream = 1 if guessed else 0
    entry.a_mac = entry.b_mac = entry.a_peer = entry.b_peer = NONE
    entry.a_packets = entry.a_bytes = entry.b_packets = entry.b_bytes = 0
    entry.a_total = entry.b_total = 0
    entry.a_flags = entry.b_flags = entry.reported = entry.closed = entry.a_head = entry.b_head = 0


@inlined
def count_packet(entry: Any, row: Any, forward: bool) -> None:
    """Add one packet to its flow."""
    if entry.a_packets + entry.b_packets == 0 or row.ts_ns < entry.first_ns:
        entry.first_ns = row.ts_ns
    if row.ts_ns > entry.last_ns:
        entry.last_ns = row.ts_ns
    if forward:
        if entry.a_total == 0:
            entry.a_mac = row.src_mac
            entry.a_peer = row.dst_mac
        entry.a_packets += 1
        entry.a_bytes += row.wirelen
        entry.a_total += 1
        entry.a_flags |= row.tcp_flags
        if row.tcp_flags & SYN:
            entry.a_next = row.tcp_seq + 1
    else:
        if entry.b_total == 0:
            entry.b_mac = row.src_mac
            entry.b_peer = row.dst_mac
        entry.b_packets += 1
        entry.b_bytes += row.wirelen
        entry.b_total += 1
        entry.b_flags |= row.tcp_flags
        if row.tcp_flags & SYN:
            entry.b_next = row.tcp_seq + 1
    if row.tcp_flags & RST or (entry.a_flags & FIN and entry.b_flags & FIN):
        entry.closed = 1


@inlined
def find_slot(table: Any, tags: Any, row: Any, forward: bool, base: int, tag: int) -> int:
    """Give the slot of the frame's flow in the bucket at `base`, -1 if it has none."""
    for slot in range(base, base + WAYS):
        if tags[slot] == tag and fits(table[slot], row, forward):
            return slot
    return -1


@inlined
def free_slot(table: Any, tags: Any, settings: Any, base: int, now_ns: int) -> int:
    """Choose the slot for a new flow in the bucket at `base`: an empty one, or whose flow to give up; -1 for none."""
    best = -1
    best_rank = 0
    oldest = 0
    for slot in range(base, base + WAYS):
        if tags[slot] == 0:
            return slot
        entry = table[slot]
        silent = now_ns - entry.last_ns
        limit = idle_limit(entry, settings)
        if silent > limit:
            rank = 4
        elif entry.closed:
            rank = 3
        elif not is_established(entry):
            rank = 2
        elif silent > limit // 8:
            rank = 1
        else:
            continue
        if rank > best_rank or (rank == best_rank and entry.last_ns < oldest):
            best = slot
            best_rank = rank
            oldest = entry.last_ns
    return best


@inlined
def is_over(entry: Any, row: Any, settings: Any) -> int:
    """Tell why the entry's flow ended before this packet of the same ends; 0 if it did not."""
    if row.ts_ns - entry.last_ns > idle_limit(entry, settings):
        return R_CLOSED if entry.closed else R_IDLE
    opens = row.proto == P_TCP and row.tcp_flags & (SYN | ACK) == SYN
    return R_REUSED if opens and (entry.a_flags | entry.b_flags) & (FIN | RST) else 0


_ENTRIES = array_type(record_type(ENTRY))
_ROWS = array_type(record_type(PACKET))
_FLOWS = array_type(record_type(FLOW))
_TAGS = array_type(types.uint32)
_I32 = array_type(types.int32)
_I64 = array_type(types.int64)
_PAIR = types.UniTuple(types.int64, 2)


@kernel(_PAIR(_ROWS, types.int64, _ENTRIES, _TAGS, _I64, _I64, types.uint64, types.int64, _I32, _I64, _FLOWS))
def update_flows(
    rows: Any,
    start: int,
    table: Any,
    tags: Any,
    settings: Any,
    counters: Any,
    seed: Any,
    position: int,
    slots: Any,
    numbers: Any,
    out: Any,
) -> tuple[int, int]:
    """Count rows from `start` on into the table; gives the next row and the number of reports written.

    Args:
        position: of the batch's data in its stream of bytes.
        slots: per row, the slot of its flow times 4, plus FROM_INITIATOR and FROM_A; -1 for none; filled in.
        numbers: per row, the number of its flow: the slot may be another flow's by the end of the batch; filled in.
        out: reports; the function returns early when fewer than two places are left.
    """
    n = 0
    i = start
    mask = len(tags) // WAYS - 1
    while i < len(rows) and n + 2 <= len(out):
        row = rows[i]
        if row.tunnel == T_SFLOW:
            slots[i] = -1
            i += 1
            continue
        forward = is_forward(row)
        spread = flow_hash(row, seed)
        base = whole(spread & np.uint64(mask)) * WAYS
        tag = whole(spread >> np.uint64(32)) | 1
        slot = find_slot(table, tags, row, forward, base, tag)
        is_new = slot < 0
        if not is_new:
            reason = is_over(table[slot], row, settings)
            if reason:
                n = report(table[slot], out, n, reason)
                is_new = True
        else:
            slot = free_slot(table, tags, settings, base, row.ts_ns)
            if slot < 0:
                counters[C_REFUSED] += 1
                slots[i] = -1
                i += 1
                continue
            if tags[slot]:
                entry = table[slot]
                timed_out = row.ts_ns - entry.last_ns > idle_limit(entry, settings)
                counters[C_EVICTED] += 0 if timed_out else 1
                n = report(entry, out, n, R_IDLE if timed_out else R_EVICTED)
            else:
                counters[C_ACTIVE] += 1
        entry = table[slot]
        if is_new:
            tags[slot] = tag
            begin(entry, row, forward, np.uint64(counters[C_FLOWS]), position + row.offset)
            counters[C_FLOWS] += 1
            entry.due_ns = row.ts_ns + settings[S_FIRST_UPDATE]
        count_packet(entry, row, forward)
        if is_new and settings[S_REPORT_NEW]:
            n = report(entry, out, n, R_FIRST)
        elif entry.due_ns <= row.ts_ns:
            n = report(entry, out, n, R_INTERVAL)
            entry.due_ns = row.ts_ns + settings[S_UPDATE]
        slots[i] = 4 * slot + (FROM_A if forward else 0) + (FROM_INITIATOR if forward != (entry.starts_b != 0) else 0)
        numbers[i] = whole(entry.flow)
        i += 1
    return i, n


@kernel(_PAIR(types.int64, types.int64, types.boolean, _ENTRIES, _TAGS, _I64, _I64, _FLOWS))
def sweep_flows(
    start: int, now_ns: int, finish: bool, table: Any, tags: Any, settings: Any, counters: Any, out: Any
) -> tuple[int, int]:
    """Report flows that are over or due from slot `start` on; gives the next slot and the number of reports.

    Args:
        finish: end every flow, whatever its age.
    """
    n = 0
    slot = start
    while slot < len(tags) and n < len(out):
        if tags[slot]:
            entry = table[slot]
            if finish or now_ns - entry.last_ns > idle_limit(entry, settings):
                n = report(entry, out, n, R_CLOSED if entry.closed else (R_FINISHED if finish else R_IDLE))
                tags[slot] = 0
                counters[C_ACTIVE] -= 1
            elif entry.due_ns <= now_ns and entry.a_packets + entry.b_packets:
                n = report(entry, out, n, R_INTERVAL)
                entry.due_ns = now_ns + settings[S_UPDATE]
        slot += 1
    return slot, n
