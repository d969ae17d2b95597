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
from thingward.sensing.streams import HeadStreams
from thingward.wire.dispatch import decode_datagram, decode_frame
from thingward.wire.message import Message
from thingward.wire.packets import payloads as kernels
from thingward.wire.packets.flowtable import HEAD_CLOSED
from thingward.wire.packets.walks import F_FOUND, F_OVER

Messages = tuple[Message | Malformed, ...]
EndsKey = tuple[int, int, int, int, int, int, int, int, int]
"""Hardware address, IP address in two halves and port of sender and receiver, and the IP version."""

_ENDS = ("src_mac", "src_hi", "src_lo", "sport", "dst_mac", "dst_hi", "dst_lo", "dport")
_ENDS_KEPT = 16384

# UDP services whose every datagram is read, not only the head of a flow.
DECODED_PORTS = (53, 67, 68, 69, 123, 137, 138, 161, 162, 514, 546, 547, 1900, 3702, 5060, 5353, 5355, 5683)
_WITH_ID = (53, 137, 5353, 5355)


class PayloadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of payload decoding.

    Attributes:
        repeat_s: the same payload between the same ends is reported again only after this time;
            `neighbours_s`: the same for ARP, neighbour discovery and LLDP.
        identity_s: the same statement about who a sender is, in whatever payload, is repeated after this time.
        leases_s: the same DHCP message between the same ends is repeated after this time.
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
    leases_s: float = 60.0
    malformed_s: float = 10.0
    head_datagrams: int = 4
    head_segments: int = 32
    per_second: int = 2000
    senders_per_second: int = 1000
    remembered: int = 131072
    cached: int = 8192


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows to be decoded: their indices, kinds (W_ constants of the kernels), and where their streams start.

    For a W_STEP the start is the number of the step.
    """

    rows: I32
    kinds: U8
    starts: I64


class PayloadChooser:
    """Remembers what was decoded; memory is fixed when it is made."""

    def __init__(self, streams: HeadStreams, limits: PayloadLimits | None = None) -> None:
        """`streams` holds the beginnings of connections that are known already."""
        limits = limits or PayloadLimits()
        self._streams = streams
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
        self._limits[kernels.L_HEAD_BYTES] = streams.head_bytes

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
        memory = self._streams.memory
        count = kernels.choose_payloads(
            columns.batch.data, rows, update.slots, update.numbers, entries, self._ports, self._seen, self._seen_ns,
            self._senders, self._sender_ns, self._rates, self._limits, self._drops,
            self._streams.walks, memory.rows, memory.places, memory.roots, memory.known, memory.counters,
            chosen, kinds, starts,
        )  # fmt: skip
        memory.learn()
        # Of the segments whose steps are known by now, those that say something or end their connection.
        says = F_FOUND | F_OVER
        kept = kinds[:count] != kernels.W_STEP
        kept |= memory.rows["flags"][np.where(kept, 0, starts[:count])] & says != 0
        return Chosen(chosen[:count][kept], kinds[:count][kept], starts[:count][kept])


class Picked:
    """The chosen rows of a batch as plain Python numbers, which are much cheaper to walk than array items."""

    def __init__(self, columns: PacketColumns, chosen: Chosen, update: FlowUpdate) -> None:
        rows = columns.rows[chosen.rows]
        self.kinds: list[int] = chosen.kinds.tolist()
        self.starts: list[int] = chosen.starts.tolist()
        self.slots: list[int] = update.slots[chosen.rows].tolist()
        self.numbers: list[int] = update.numbers[chosen.rows].tolist()
        self._rows = rows
        self.times: list[float] = (rows["ts_ns"] / 1e9).tolist()
        self._position: list[int] = (rows["offset"] + columns.batch.base).tolist()
        self._payload: list[int] = rows["payload"].tolist()
        self._end: list[int] = (rows["payload"] + rows["payload_len"]).tolist()
        version = np.maximum(rows["ip_version"], rows["arp"])
        self._ends: list[EndsKey] = list(zip(*(rows[name].tolist() for name in _ENDS), version.tolist(), strict=True))
        self.sport: list[int] = rows["sport"].tolist()
        self.dport: list[int] = rows["dport"].tolist()
        self._uid = columns.batch.uid
        self._data = memoryview(columns.batch.data)  # type: ignore[arg-type]

    def tcp_seq(self, index: int) -> int:
        """Give a segment's sequence number; few are asked for."""
        return int(self._rows["tcp_seq"][index])

    def ethertype(self, index: int) -> int:
        """Give a frame's type; few are asked for."""
        return int(self._rows["ethertype"][index])

    def parent(self, index: int) -> str:
        """Name the packet."""
        return f"{self._uid}#{self._position[index]}"

    def payload(self, index: int) -> bytes:
        """Give the payload's bytes."""
        return bytes(self._data[self._payload[index] : self._end[index]])

    def ends(self, index: int, known: Ends) -> tuple[Endpoint, Endpoint]:
        """Give the sender and the receiver."""
        return known.of(self._ends[index])


class Ends:
    """Both endpoints of packets by their numbers; what was made is kept within a bound, then made again."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._kept: dict[EndsKey, tuple[Endpoint, Endpoint]] = {}

    def of(self, key: EndsKey) -> tuple[Endpoint, Endpoint]:
        """Give the sender and the receiver."""
        ends = self._kept.get(key)
        if ends is None:
            if len(self._kept) >= _ENDS_KEPT:
                self._kept.clear()
            mac, high, low, port, to_mac, to_high, to_low, to_port, version = key
            new = self._addresses.new_endpoint
            ends = self._kept[key] = (
                new(mac, high, low, port, version),
                new(to_mac, to_high, to_low, to_port, version),
            )
        return ends


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
