"""Packets and flows as columns: the one module of the model that uses NumPy.

A batch of packets is raw bytes with one offset per packet; parsing gives one fixed-size row per frame. Rows are a
structured array: one row is one or two cache lines, and `rows["dport"]` is still a column for array code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Rows = NDArray[Any]

NO_MAC = 1 << 48
"""Value of a MAC column where the link has no such address: 00:00:00:00:00:00 is a real value."""

PACKET = np.dtype(
    [
        ("ts_ns", "i8"),  # since 1970
        ("offset", "i8"),  # of the frame in the batch's data
        ("payload", "i8"),  # of the innermost payload understood, in the batch's data
        ("src_mac", "u8"),
        ("dst_mac", "u8"),
        ("src_hi", "u8"),  # addresses in network order; IPv4 as ::ffff:a.b.c.d
        ("src_lo", "u8"),
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("caplen", "i4"),
        ("wirelen", "i4"),
        ("payload_len", "i4"),  # captured
        ("payload_wire", "i4"),  # as the headers say
        ("packet", "i4"),  # index of the packet in its batch
        ("tcp_seq", "u4"),
        ("ip_id", "u4"),
        ("link", "u2"),
        ("ethertype", "u2"),  # 0 for 802.2 LLC and links without one
        ("vlan", "u2"),  # outermost tag's VLAN id, 0 none
        ("inner_vlan", "u2"),
        ("sport", "u2"),
        ("dport", "u2"),
        ("fragment", "u2"),  # offset in 8-byte units, MORE_FRAGMENTS
        ("ip_version", "u1"),  # 0 where there is no IP header
        ("proto", "u1"),
        ("ttl", "u1"),
        ("tcp_flags", "u1"),
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
        ("tunnel", "u1"),  # index into TUNNELS: what carried this frame
        ("depth", "u1"),  # 0 for the packet itself, 1.. for frames inside it
        ("problem", "u1"),  # index into PROBLEMS
        ("arp", "u1"),  # ARP operation with its addresses in src and dst
    ],
    align=True,
)

MORE_FRAGMENTS = 0x8000

TUNNELS = (
    "",
    "ip",
    "gre",
    "erspan",
    "eoip",
    "vxlan",
    "geneve",
    "gtp",
    "teredo",
    "etherip",
    "tzsp",
    "sflow",
    "mpls",
    "pbb",
    "ppp",
    "bridged",
)

PROBLEMS = (
    "",
    "link: unknown type",
    "link: header cut",
    "ip: header cut",
    "ip: bad version",
    "ip: bad header length",
    "ip: bad total length",
    "ip: too many extension headers",
    "tcp: header cut",
    "tcp: bad header length",
    "udp: header cut",
    "udp: bad length",
    "icmp: header cut",
    "arp: cut",
    "tunnel: header cut",
    "tunnel: too deep",
    "link: too many tags",
)

FLOW = np.dtype(
    [
        ("first_ns", "i8"),  # of the packets in this report
        ("last_ns", "i8"),
        ("flow", "u8"),  # number of the flow, unique within its table
        ("packet", "i8"),  # where its first packet lies in the stream of bytes
        ("src_mac", "u8"),  # initiator
        ("dst_mac", "u8"),
        ("src_hi", "u8"),
        ("src_lo", "u8"),
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("packets_out", "i8"),
        ("bytes_out", "i8"),
        ("packets_in", "i8"),
        ("bytes_in", "i8"),
        ("sport", "u2"),
        ("dport", "u2"),
        ("ethertype", "u2"),
        ("vlan", "u2"),
        ("ip_version", "u1"),
        ("proto", "u1"),
        ("flags_out", "u1"),
        ("flags_in", "u1"),
        ("icmp_type", "u1"),
        ("tunnel", "u1"),
        ("state", "u1"),  # index into FLOW_STATES
        ("mid_stream", "u1"),
        ("reason", "u1"),  # index into FLOW_REASONS
    ],
    align=True,
)

FLOW_STATES = ("new", "update", "end", "whole")
FLOW_REASONS = ("first packet", "interval", "idle", "closed", "evicted", "reused", "finished")


@dataclass(frozen=True, slots=True)
class PacketBatch:
    """Packets as a source gave them, not parsed.

    Attributes:
        data: the bytes, shape (B,).
        offset, caplen, wirelen, ts_ns, link: one entry per packet, shape (N,); each packet lies within `data`.
            `wirelen` and `caplen` in bytes, `ts_ns` since 1970, `link` the LINKTYPE number.
        vlan: tag that the interface card took off, shape (N,) or (0,) where no packet lost one; 0 none.
        uid: names the stream of bytes that `data` is part of.
        base: position of `data[0]` in that stream, so that `<uid>#<base + offset>` finds a packet again.
    """

    data: U8
    offset: I64
    caplen: I32
    wirelen: I32
    ts_ns: I64
    link: I32
    vlan: I32 = field(default_factory=lambda: np.zeros(0, np.int32))
    uid: str = ""
    base: int = 0

    def __len__(self) -> int:
        return len(self.offset)

    def part(self, start: int, stop: int) -> PacketBatch:
        """Give packets start to stop (exclusive) over the same data."""
        cut = slice(start, stop)
        return PacketBatch(
            data=self.data,
            offset=self.offset[cut],
            caplen=self.caplen[cut],
            wirelen=self.wirelen[cut],
            ts_ns=self.ts_ns[cut],
            link=self.link[cut],
            vlan=self.vlan[cut],
            uid=self.uid,
            base=self.base,
        )


@dataclass(frozen=True, slots=True)
class PacketColumns:
    """Parsed frames of a batch.

    Attributes:
        batch: where the bytes are.
        rows: one row of dtype PACKET per frame, in order; a packet that carries tunnelled frames has several rows,
            the outermost first, with `depth` growing.
    """

    batch: PacketBatch
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def payload(self, row: int) -> bytes:
        """Give the captured payload bytes of one row."""
        start = int(self.rows[row]["payload"])
        return self.batch.data[start : start + int(self.rows[row]["payload_len"])].tobytes()


def mac_text(mac: int) -> str:
    """Give a MAC column's value as lower-case text with colons, empty for NO_MAC."""
    if mac >= NO_MAC:
        return ""
    return mac.to_bytes(6, "big").hex(":")


def mac_number(text: str) -> int:
    """Give the column value of a MAC in text, NO_MAC for an empty one."""
    return int(text.replace(":", ""), 16) if text else NO_MAC
