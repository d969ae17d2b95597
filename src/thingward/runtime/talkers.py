"""Who talks to whom and when, summed up in bounded memory: what a run of `guard` keeps instead of its events."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from thingward.model.event import Event
from thingward.model.observation import Endpoint, FlowData
from thingward.model.record import Record
from thingward.ports.event_store import PeerRow, TrafficPoint

MAX_DEVICES = 4096
MAX_PEERS = 128
BUCKETS = 120
_FIRST_WIDTH_S = 1.0


class _Peer(msgspec.Struct):
    flows: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    first: float = 0.0
    last: float = 0.0
    app: str = ""


class _Traffic(msgspec.Struct):
    """Buckets of one device; when they do not span the time any more, pairs of them are joined."""

    width_s: float = _FIRST_WIDTH_S
    start: float = 0.0
    rows: dict[int, list[int]] = {}

    def add(self, time: float, bytes_out: int, bytes_in: int, packets_out: int, packets_in: int) -> None:
        if not self.rows:
            self.start = time
        if time < self.start:
            self._move_start(time)
        while (time - self.start) / self.width_s >= BUCKETS:
            self._widen()
        row = self.rows.setdefault(int((time - self.start) / self.width_s), [0, 0, 0, 0])
        for index, count in enumerate((bytes_out, bytes_in, packets_out, packets_in)):
            row[index] += count

    def _move_start(self, time: float) -> None:
        shift = int((self.start - time) / self.width_s) + 1
        self.start -= shift * self.width_s
        self.rows = {index + shift: row for index, row in self.rows.items()}
        while max(self.rows) >= BUCKETS:
            self._widen()

    def _widen(self) -> None:
        joined: dict[int, list[int]] = {}
        for index, row in self.rows.items():
            into = joined.setdefault(index // 2, [0, 0, 0, 0])
            for column, count in enumerate(row):
                into[column] += count
        self.width_s *= 2
        self.rows = joined


class Talkers:
    """Takes events that passed inventory; gives peers and traffic per device."""

    def __init__(self) -> None:
        self._peers: dict[str, dict[tuple[str, bool, int, int, bool], _Peer]] = {}
        self._traffic: dict[str, _Traffic] = {}
        self.counts: dict[str, int] = {}
        self.dropped = 0

    def feed(self, records: Iterable[Record]) -> None:
        """Count a batch; other records than events pass by."""
        for record in records:
            if not isinstance(record, Event):
                continue
            kind = str(record.data.__struct_config__.tag)
            self.counts[kind] = self.counts.get(kind, 0) + 1
            if isinstance(record.data, FlowData) and record.src and record.dst:
                self._flow(record.data, record.src, record.dst)

    def peers(self, device: str, limit: int = 50) -> tuple[PeerRow, ...]:
        """Give a device's conversations, largest first."""
        rows = [
            PeerRow(
                peer=peer,
                is_device=is_device,
                proto=proto,
                port=port,
                app=row.app,
                outgoing=outgoing,
                flows=row.flows,
                bytes_out=row.bytes_out,
                bytes_in=row.bytes_in,
                first=row.first,
                last=row.last,
            )
            for (peer, is_device, proto, port, outgoing), row in self._peers.get(device, {}).items()
        ]
        return tuple(sorted(rows, key=lambda row: -(row.bytes_out + row.bytes_in))[:limit])

    def traffic(self, device: str) -> tuple[TrafficPoint, ...]:
        """Give a device's traffic in equal buckets, empty ones included, at most BUCKETS."""
        found = self._traffic.get(device)
        if found is None or not found.rows:
            return ()
        last = max(found.rows)
        empty = [0, 0, 0, 0]
        return tuple(
            TrafficPoint(found.start + index * found.width_s, *found.rows.get(index, empty))
            for index in range(last + 1)
        )

    def rename(self, absorbed: str, into: str) -> None:
        """Follow a merge of two device records."""
        for key, row in self._peers.pop(absorbed, {}).items():
            self._join(self._peers.setdefault(into, {}), key, row)
        gone = self._traffic.pop(absorbed, None)
        if gone is not None:
            kept = self._traffic.setdefault(into, _Traffic())
            for index, (out, inn, packets_out, packets_in) in sorted(gone.rows.items()):
                kept.add(gone.start + index * gone.width_s, out, inn, packets_out, packets_in)

    def _flow(self, flow: FlowData, src: Endpoint, dst: Endpoint) -> None:
        names = getattr(dst, "names", ())
        sides = (
            (src.device, dst, dst.port, True, flow.name or (names[0] if names else "")),
            (dst.device, src, dst.port, False, ""),
        )
        for device, other, port, outgoing, name in sides:
            if not device or (device not in self._peers and len(self._peers) >= MAX_DEVICES):
                self.dropped += bool(device)
                continue
            sent, got = (flow.bytes_out, flow.bytes_in) if outgoing else (flow.bytes_in, flow.bytes_out)
            packets = (flow.packets_out, flow.packets_in) if outgoing else (flow.packets_in, flow.packets_out)
            self._traffic.setdefault(device, _Traffic()).add(flow.first, sent, got, *packets)
            peer = other.device or name or other.ip or other.mac
            row = _Peer(int(flow.state in ("new", "whole")), sent, got, flow.first, flow.last, flow.app)
            key = (peer, bool(other.device), flow.proto, port, outgoing)
            self._join(self._peers.setdefault(device, {}), key, row)

    def _join(
        self, table: dict[tuple[str, bool, int, int, bool], _Peer], key: tuple[str, bool, int, int, bool], row: _Peer
    ) -> None:
        old = table.get(key)
        if old is None:
            if len(table) >= MAX_PEERS:
                self.dropped += 1
                quietest = min(table, key=lambda name: table[name].bytes_out + table[name].bytes_in)
                del table[quietest]
            table[key] = row
            return
        old.flows += row.flows
        old.bytes_out += row.bytes_out
        old.bytes_in += row.bytes_in
        old.first, old.last = min(old.first, row.first), max(old.last, row.last)
        old.app = old.app or row.app
