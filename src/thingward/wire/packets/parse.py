"""The packet parser: a batch of packets in, one row per frame out."""

from __future__ import annotations

from typing import Any

import numpy as np

from thingward.model.columns import NO_MAC, PACKET, PacketBatch, PacketColumns, Rows
from thingward.wire.packets.compile import array_type, inlined, kernel, record_type, types
from thingward.wire.packets.link import frame_of_link, step_link
from thingward.wire.packets.names import (
    E_ARP,
    E_ETHER,
    E_IP4,
    E_IP6,
    F_ETHER,
    F_NONE,
    F_SFLOW,
    T_BRIDGED,
    T_SFLOW,
    X_TUNNEL_CUT,
    X_TUNNEL_DEPTH,
)
from thingward.wire.packets.network import arp, ip4, ip6, step_tags
from thingward.wire.packets.read import u32
from thingward.wire.packets.transport import step_transport
from thingward.wire.packets.tunnel import Inner, find_tunnel

MAX_DEPTH = 8
MAX_SAMPLES = 16
MAX_FRAMES = MAX_DEPTH + MAX_SAMPLES + 2
"""Most rows that one packet can give."""

_BLANK = np.zeros(1, PACKET)
_BLANK["src_mac"] = NO_MAC
_BLANK["dst_mac"] = NO_MAC


@inlined
def parse_frame(data: Any, at: int, end: int, kind: int, row: Any) -> Inner:
    """Fill one row from one frame; tells what it carries inside."""
    ethertype, at, end = step_link(data, at, end, kind, row)
    if ethertype == E_ETHER:
        return F_ETHER, at, -1
    ethertype, at, end = step_tags(data, at, end, ethertype, row)
    if ethertype >= 1501:
        row.ethertype = ethertype
    row.payload = at
    row.payload_len = max(0, end - at)
    row.payload_wire = row.payload_len
    if ethertype == E_ETHER:
        return F_ETHER, at, T_BRIDGED
    if ethertype == E_ARP:
        arp(data, at, end, row)
        return F_NONE, at, 0
    if ethertype == E_IP4:
        proto, at, end = ip4(data, at, end, row)
    elif ethertype == E_IP6:
        proto, at, end = ip6(data, at, end, row)
    else:
        return F_NONE, at, 0
    if proto < 0:
        row.payload_len = 0
        return F_NONE, at, 0
    step_transport(data, at, end, proto, row)
    return find_tunnel(data, at, end, proto, row)


@inlined
def start_row(rows: Any, blank: Any, n: int, at: int, size: int) -> None:
    """Begin a row for a frame inside the packet that row n - 1 belongs to."""
    before = rows[n - 1]
    rows[n] = blank[0]
    row = rows[n]
    row.ts_ns = before.ts_ns
    row.packet = before.packet
    row.link = before.link
    row.depth = before.depth + 1
    row.offset = at
    row.caplen = size
    row.wirelen = size
    row.src_mac = before.src_mac
    row.dst_mac = before.dst_mac


@inlined
def parse_inner(data: Any, end: int, inner: Inner, rows: Any, blank: Any, n: int) -> int:
    """Follow tunnels down from row n - 1; gives the number of rows."""
    kind, at, tunnel = inner
    while kind != F_NONE:
        if tunnel == -1:
            kind, at, tunnel = parse_frame(data, at, end, kind, rows[n - 1])
            continue
        if kind < 0 or at > end:
            rows[n - 1].problem = X_TUNNEL_CUT
            break
        if rows[n - 1].depth >= MAX_DEPTH:
            rows[n - 1].problem = X_TUNNEL_DEPTH
            break
        if kind == F_SFLOW:
            return parse_samples(data, at, end, rows, blank, n)
        end = max(at, min(end, rows[n - 1].payload + rows[n - 1].payload_len))
        start_row(rows, blank, n, at, end - at)
        rows[n].tunnel = tunnel
        n += 1
        kind, at, tunnel = parse_frame(data, at, end, kind, rows[n - 1])
    return n


@inlined
def parse_samples(data: Any, at: int, end: int, rows: Any, blank: Any, n: int) -> int:
    """The Ethernet headers in an sFlow version 5 datagram; gives the number of rows."""
    here = at + (28 if u32(data, at + 4) == 1 else 40)
    if end - here < 0:
        rows[n - 1].problem = X_TUNNEL_CUT
        return n
    depth = rows[n - 1].depth
    found = 0
    for _ in range(MAX_SAMPLES):
        if end - here < 8 or found >= MAX_SAMPLES:
            break
        kind = u32(data, here)
        stop = here + 8 + u32(data, here + 4)
        if stop > end:
            break
        record = here + 8 + (32 if kind == 1 else 44)
        here = stop
        if kind != 1 and kind != 3:
            continue
        while stop - record >= 24 and found < MAX_SAMPLES:
            size = u32(data, record + 4)
            if size > stop - record - 8:
                break
            if u32(data, record) == 1 and size >= 16 and u32(data, record + 8) == 1:
                start = record + 24
                start_row(rows, blank, n, start, min(stop - start, u32(data, record + 20)))
                rows[n].tunnel = T_SFLOW
                rows[n].depth = depth + 1
                parse_frame(data, start, start + rows[n].caplen, F_ETHER, rows[n])
                n += 1
                found += 1
            record += 8 + size
    return n


_BYTES = array_type(types.uint8, readonly=True)
_I32 = array_type(types.int32)
_I64 = array_type(types.int64)
_ROWS = array_type(record_type(PACKET))


@kernel(types.UniTuple(types.int64, 2)(_BYTES, _I64, _I32, _I32, _I64, _I32, _I32, _ROWS, _ROWS, types.int64))
def parse_packets(
    data: Any,
    offset: Any,
    caplen: Any,
    wirelen: Any,
    ts_ns: Any,
    link: Any,
    vlan: Any,
    rows: Any,
    blank: Any,
    start: int,
) -> tuple[int, int]:
    """Parse packets from `start` on until all are done or the rows are full; gives the next packet and the row count.

    Packets that do not lie within `data` are cut to it.
    """
    n = 0
    i = start
    while i < len(offset) and n + MAX_FRAMES <= len(rows):
        at = min(max(offset[i], 0), len(data))
        end = min(at + max(caplen[i], 0), len(data))
        rows[n] = blank[0]
        row = rows[n]
        row.ts_ns = ts_ns[i]
        row.packet = i
        row.link = link[i]
        row.offset = at
        row.caplen = end - at
        row.wirelen = wirelen[i]
        if len(vlan):
            row.vlan = vlan[i]
        inner = parse_frame(data, at, end, frame_of_link(link[i]), row)
        n += 1
        if inner[0] != F_NONE:
            n = parse_inner(data, end, inner, rows, blank, n)
        i += 1
    return i, n


class PacketParser:
    """Parses batches into rows; holds nothing between batches but an empty row."""

    def __init__(self, *, rows: int = 65536) -> None:
        """Set how many rows one result may have, at least MAX_FRAMES."""
        self._limit = max(rows, MAX_FRAMES)

    def parse(self, batch: PacketBatch) -> list[PacketColumns]:
        """Parse all packets of a batch; tunnels may make more than one result of it."""
        results = []
        start = 0
        while start < len(batch):
            rows: Rows = np.empty(min(self._limit, (len(batch) - start) * 2 + MAX_FRAMES), PACKET)
            start, count = parse_packets(
                batch.data,
                batch.offset,
                batch.caplen,
                batch.wirelen,
                batch.ts_ns,
                batch.link,
                batch.vlan,
                rows,
                _BLANK,
                start,
            )
            results.append(PacketColumns(batch=batch, rows=rows[:count]))
        return results
