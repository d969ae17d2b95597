"""Which payloads are worth decoding, and the decoding of datagrams, each distinct one once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from thingward.model.columns import I32, I64, U8, PacketColumns, Rows
from thingward.model.observation import Endpoint
from thingward.model.record import Malformed
from thingward.sensing.flows import FlowUpdate
from thingward.sensing.sensor_records import Addresses
from thingward.wire.dispatch import decode_datagram, decode_frame
from thingward.wire.message import Message
from thingward.wire.packets import payloads as kernels
from thingward.wire.packets.flowtable import HEAD_CLOSED

Messages = tuple[Message | Malformed, ...]

# UDP services whose every datagram is read, not only the head of a flow.
DECODED_PORTS = (53, 67, 68, 69, 123, 137, 138, 161, 162, 514, 546, 547, 1900, 3702, 5060, 5353, 5355, 5683)
_WITH_ID = (53, 137, 5353, 5355)


class PayloadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of payload decoding.

    Attributes:
        repeat_s: the same payload between the same ends is reported again only after this time;
            `neighbours_s`: the same for ARP, neighbour discovery and LLDP.
        identity_s: the same statement about who a sender is, in whatever payload, is repeated after this time.
        malformed_s: something malformed for the same reason by the same sender is said again after this time.
        head_datagrams, head_segments: payloads of each direction of a flow that are looked at.
        per_second: payloads of one hardware address that are decoded per second of packet time.
        senders_per_second: new hardware addresses reported per second of packet time.
        remembered: payloads and senders remembered, rounded up to a power of two.
        cached: decoded datagrams kept, so that the same bytes from another device are not decoded again.
    """

    repeat_s: float = 300.0
    neighbours_s: float = 1800.0
    identity_s: float = 1800.0
    malformed_s: float = 10.0
    head_datagrams: int = 4
    head_segments: int = 32
    per_second: int = 2000
    senders_per_second: int = 1000
    remembered: int = 131072
    cached: int = 8192


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows to be decoded: their indices, kinds (W_ constants of the kernels), and where their streams start."""

    rows: I32
    kinds: U8
    starts: I64


class PayloadChooser:
    """Remembers what was decoded; memory is fixed when it is made."""

    def __init__(self, limits: PayloadLimits | None = None) -> None:
        limits = limits or PayloadLimits()
        size = 1 << (max(limits.remembered, kernels.SEEN_WAYS) - 1).bit_length()
        self._seen = np.zeros(size, np.uint64)
        self._seen_ns = np.zeros(size, np.int64)
        self._senders = np.zeros(size, np.uint64)
        self._sender_ns = np.zeros(size, np.int64)
        self._rates = np.zeros(2 * kernels.RATES + 2, np.int64)
        self._drops = np.zeros(kernels.DROPS, np.int64)
        self._ports = np.zeros(65536, np.uint8)
        self._ports[list(DECODED_PORTS)] |= kernels.PORT_DECODED
        self._ports[list(_WITH_ID)] |= kernels.PORT_HAS_ID
        self._limits = np.zeros(kernels.LIMITS, np.int64)
        self._limits[kernels.L_REPEAT_NS] = max(1, int(limits.repeat_s * 1e9))
        self._limits[kernels.L_NEIGHBOUR_NS] = max(1, int(limits.neighbours_s * 1e9))
        self._limits[kernels.L_HEAD_DATAGRAMS] = min(limits.head_datagrams, HEAD_CLOSED - 2)
        self._limits[kernels.L_HEAD_SEGMENTS] = min(limits.head_segments, HEAD_CLOSED - 2)
        self._limits[kernels.L_PER_SECOND] = limits.per_second
        self._limits[kernels.L_SENDERS_PER_SECOND] = limits.senders_per_second

    @property
    def repeated(self) -> int:
        """Payloads that said nothing new."""
        return int(self._drops[kernels.D_REPEATED])

    def dropped(self) -> dict[str, int]:
        """Give what was not decoded although it might have said something, by kind."""
        names = {
            "payloads_rate": kernels.D_RATE,
            "payloads_cut": kernels.D_FRAGMENTS,
            "senders_rate": kernels.D_SENDERS,
        }
        return {name: int(self._drops[index]) for name, index in names.items() if self._drops[index]}

    def choose(self, columns: PacketColumns, update: FlowUpdate, entries: Rows) -> Chosen:
        """List what of a batch is to be decoded; notes in the flows' entries that their heads were handed out."""
        rows = columns.rows
        chosen = np.empty(2 * len(rows), np.int32)
        kinds = np.empty(2 * len(rows), np.uint8)
        starts = np.empty(2 * len(rows), np.int64)
        count = kernels.choose_payloads(
            columns.batch.data, rows, update.slots, update.numbers, entries, self._ports, self._seen, self._seen_ns,
            self._senders, self._sender_ns, self._rates, self._limits, self._drops, chosen, kinds, starts,
        )  # fmt: skip
        return Chosen(chosen[:count], kinds[:count], starts[:count])


class Picked:
    """The chosen rows of a batch as plain Python numbers, which are much cheaper to walk than array items."""

    def __init__(self, columns: PacketColumns, chosen: Chosen, update: FlowUpdate) -> None:
        rows = columns.rows[chosen.rows]
        self.kinds: list[int] = chosen.kinds.tolist()
        self.starts: list[int] = chosen.starts.tolist()
        self.slots: list[int] = update.slots[chosen.rows].tolist()
        self.numbers: list[int] = update.numbers[chosen.rows].tolist()
        self.tcp_seq: list[int] = rows["tcp_seq"].tolist()
        self.ethertype: list[int] = rows["ethertype"].tolist()
        self._ts_ns: list[int] = rows["ts_ns"].tolist()
        self._offset: list[int] = rows["offset"].tolist()
        self._payload: list[int] = rows["payload"].tolist()
        self._end: list[int] = (rows["payload"] + rows["payload_len"]).tolist()
        self._version: list[int] = np.maximum(rows["ip_version"], rows["arp"]).tolist()
        self._src: list[list[int]] = [rows[name].tolist() for name in ("src_mac", "src_hi", "src_lo")]
        self._dst: list[list[int]] = [rows[name].tolist() for name in ("dst_mac", "dst_hi", "dst_lo")]
        self.sport: list[int] = rows["sport"].tolist()
        self.dport: list[int] = rows["dport"].tolist()
        self._uid = columns.batch.uid
        self._base = columns.batch.base
        self._data = memoryview(columns.batch.data)  # type: ignore[arg-type]

    def time(self, index: int) -> float:
        """Seconds since 1970."""
        return self._ts_ns[index] / 1e9

    def parent(self, index: int) -> str:
        """Name the packet."""
        return f"{self._uid}#{self._base + self._offset[index]}"

    def payload(self, index: int) -> bytes:
        """Give the payload's bytes."""
        return bytes(self._data[self._payload[index] : self._end[index]])

    def ends(self, index: int, addresses: Addresses) -> tuple[Endpoint, Endpoint]:
        """Give the sender and the receiver."""
        version = self._version[index]
        mac, high, low = self._src
        src = addresses.endpoint((mac[index], high[index], low[index], self.sport[index], version))
        mac, high, low = self._dst
        return src, addresses.endpoint((mac[index], high[index], low[index], self.dport[index], version))


class DatagramCache:
    """Decodes datagrams and frames; the same bytes on the same service are decoded once."""

    def __init__(self, size: int = 8192) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[Any, ...], Messages] = OrderedDict()

    def datagram(self, proto: int, sport: int, dport: int, payload: bytes) -> Messages:
        """Decode a UDP payload."""
        key = (proto, sport if sport in _SERVICES else 0, dport if dport in _SERVICES else 0, payload)
        found = self._kept.get(key)
        if found is None:
            found = self._keep(key, decode_datagram(proto, sport, dport, payload))
        return found

    def frame(self, ethertype: int, payload: bytes) -> Messages:
        """Decode a layer 2 payload."""
        key = (-1, ethertype, 0, payload)
        found = self._kept.get(key)
        if found is None:
            found = self._keep(key, decode_frame(ethertype, payload))
        return found

    def _keep(self, key: tuple[Any, ...], messages: Messages) -> Messages:
        if len(self._kept) >= self._size:
            self._kept.popitem(last=False)
        self._kept[key] = messages
        return messages


_SERVICES = frozenset(DECODED_PORTS)
