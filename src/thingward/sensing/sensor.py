"""The sensor: batches of packets in, observations out. Pure: it reads no clock and no device."""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from thingward.model.columns import FLOW_STATES, PROBLEMS, PacketBatch, PacketColumns, Rows
from thingward.model.flow import Output
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant
from thingward.model.observation import CaptureData, Endpoint, HttpData, Observation, TlsData
from thingward.model.record import Malformed
from thingward.sensing.flows import FlowLimits, FlowTable
from thingward.sensing.observe import PacketContext, observe_message
from thingward.sensing.sensor_payloads import Chosen, DatagramCache, Messages, PayloadChooser, PayloadLimits
from thingward.sensing.sensor_records import RecordMaker, read_arp, read_ndp
from thingward.sensing.streams import HeadStreams, Segment, StreamLimits
from thingward.wire.dispatch import stream_decoder
from thingward.wire.packets import payloads as kernels
from thingward.wire.packets.flowtable import FROM_INITIATOR
from thingward.wire.packets.names import X_LINK_UNKNOWN
from thingward.wire.packets.parse import PacketParser

_STEP_ROWS = 16384
_MAX_NAMES = 65536
_MAX_REASONS = 256
_MAX_SAMPLES = 1024
_SYN = 2
_LAST_STATES = (FLOW_STATES.index("end"), FLOW_STATES.index("whole"))
_by_time = attrgetter("time")


class SensorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and times of a sensor; the defaults are for files."""

    flows: FlowLimits = FlowLimits()
    payloads: PayloadLimits = PayloadLimits()
    streams: StreamLimits = StreamLimits()

    @classmethod
    def live(cls) -> SensorLimits:
        """Give the limits for a live interface."""
        return cls(flows=FlowLimits.live())


class _Counts:
    """What was read so far."""

    def __init__(self) -> None:
        self.packets = 0
        self.bytes = 0
        self.first_ns = 0
        self.last_ns = 0
        self.malformed: dict[str, int] = {}
        self.unknown_links: dict[str, int] = {}
        self.dropped: dict[str, int] = {}

    def add(self, table: dict[str, int], key: str, count: int = 1) -> None:
        """Count under a key; the number of keys is bounded."""
        if key in table or len(table) < _MAX_REASONS:
            table[key] = table.get(key, 0) + count


class Sensor:
    """Parses packets, follows flows, decodes what is worth it. One per source: it keeps that source's state."""

    name = "sensor"

    def __init__(
        self,
        *,
        source: str,
        producer: str,
        tenant: Tenant = DEFAULT_TENANT,
        site: str = DEFAULT_SITE,
        limits: SensorLimits | None = None,
        seed: int = 0,
    ) -> None:
        """Make a sensor.

        Args:
            source: as in `Record.source`, for example `sensor:eth0`.
            producer: names this run in uids: the same for the same file, another one after each start of a live one.
            seed: for the flow table's hash; a secret number where strangers choose the packets.
        """
        limits = limits or SensorLimits()
        self._make = RecordMaker(tenant=tenant, site=site, source=source, producer=producer)
        self._parser = PacketParser(rows=_STEP_ROWS)
        self._flows = FlowTable(limits.flows, seed=seed)
        self._chooser = PayloadChooser(limits.payloads)
        self._datagrams = DatagramCache(limits.payloads.cached)
        self._streams = HeadStreams(stream_decoder, limits.streams)
        self._names: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._samples: set[tuple[str, str]] = set()
        self._counts = _Counts()
        self._uid = ""

    def feed(self, batch: PacketBatch, now: float) -> Output:
        """Take a batch; gives what it shows, in order of time. `now` is used where packets carry no time."""
        self._count_batch(batch)
        self._uid = batch.uid
        records: list[Observation] = []
        for columns in self._parser.parse(batch):
            records += self._read(columns)
        records += self._swept(self._counts.last_ns or int(now * 1e9))
        records.sort(key=_by_time)
        return Output(records=list(records))

    def tick(self, now: float) -> Output:
        """Let time pass on a live source: flows that are over or due."""
        return Output(records=list(self._swept(int(now * 1e9))))

    def finish(self, now: float, *, file: str = "", format: str = "", problem: Malformed | None = None) -> Output:
        """The source ended: end all flows, sum up what was read.

        Args:
            file, format, problem: as the capture's reader says; a problem becomes a record of its own.
        """
        records = list(self._flow_records(self._flows.sweep(self._counts.last_ns, finish=True)))
        records.sort(key=_by_time)
        time = self._counts.last_ns / 1e9 or now
        if problem is not None:
            records.append(self._envelope(time, problem))
        error = problem.reason if problem is not None else ""
        data = self.capture_data(file=file, format=format, complete=problem is None, error=error)
        records.append(self._envelope(time, data))
        return Output(records=list(records))

    def count_dropped(self, kind: str, count: int) -> None:
        """Note a loss outside the sensor, for example in the kernel's ring."""
        if count:
            self._counts.add(self._counts.dropped, kind, count)

    def capture_data(
        self,
        *,
        file: str = "",
        format: str = "",
        complete: bool = False,
        error: str = "",
    ) -> CaptureData:
        """Sum up what was read so far."""
        counts = self._counts
        dropped = dict(counts.dropped) | self._chooser.dropped()
        for kind, count in (
            ("flow_table", self._flows.refused),
            ("flow_evictions", self._flows.evicted),
            ("flow_reports", self._flows.reports_dropped),
            ("streams", self._streams.evicted),
            ("stream_gaps", self._streams.gaps),
        ):
            if count:
                dropped[kind] = count
        return CaptureData(
            file=file or self._make.source,
            format=format,
            packets=counts.packets,
            bytes=counts.bytes,
            first=counts.first_ns / 1e9,
            last=counts.last_ns / 1e9,
            malformed=dict(counts.malformed),
            unknown_links=dict(counts.unknown_links),
            dropped=dropped,
            complete=complete,
            error=error,
        )

    def _envelope(self, time: float, data: Any) -> Observation:
        make = self._make
        return Observation(
            uid=make.names.record(), tenant=make.tenant, time=time, source=make.source, site=make.site, data=data
        )

    def _count_batch(self, batch: PacketBatch) -> None:
        if not len(batch):
            return
        counts = self._counts
        counts.packets += len(batch)
        counts.bytes += int(batch.wirelen.sum(dtype=np.int64))
        first, last = int(batch.ts_ns.min()), int(batch.ts_ns.max())
        counts.first_ns = min(counts.first_ns, first) if counts.first_ns else first
        counts.last_ns = max(counts.last_ns, last)

    def _read(self, columns: PacketColumns) -> list[Observation]:
        update = self._flows.update(columns)
        chosen = self._chooser.choose(columns, update, self._flows.entries)
        records = self._problems(columns)
        if len(chosen.rows):
            records += self._decode(columns, chosen, update.slots, update.numbers)
        records += self._flow_records(update.reports)
        return records

    def _decode(self, columns: PacketColumns, chosen: Chosen, slots: Any, numbers: Any) -> list[Observation]:
        records: list[Observation] = []
        picked = _Picked(columns, chosen, slots, numbers)
        for index, kind in enumerate(chosen.kinds.tolist()):
            if kind == kernels.W_SEGMENT:
                records += self._segment(picked, index)
            elif kind == kernels.W_DATAGRAM:
                records += self._datagram(picked, index)
            elif kind == kernels.W_SENDER:
                src = Endpoint(mac=self._make.addresses.mac(picked.values["src_mac"][index]))
                records.append(self._make.identity(picked.time(index), picked.parent(index), src, "frame"))
            else:
                records += self._neighbour(picked, index, kind)
        return records

    def _endpoint(self, picked: _Picked, index: int, side: str) -> Endpoint:
        return self._make.addresses.endpoint(*picked.end(index, side))

    def _context(self, picked: _Picked, index: int, *, swap: bool = False) -> PacketContext:
        make = self._make
        src, dst = self._endpoint(picked, index, "src"), self._endpoint(picked, index, "dst")
        if swap:
            src, dst = dst, src
        return PacketContext(
            time=picked.time(index),
            src=src,
            dst=dst,
            parents=(picked.parent(index),),
            source=make.source,
            tenant=make.tenant,
            site=make.site,
        )

    def _datagram(self, picked: _Picked, index: int) -> list[Observation]:
        sport, dport = picked.ports(index)
        messages = self._datagrams.datagram(17, sport, dport, picked.payload(index))
        if not messages:
            return []
        records = self._observed(self._context(picked, index), messages)
        self._describe(picked.numbers[index], messages, records)
        return records

    def _neighbour(self, picked: _Picked, index: int, kind: int) -> list[Observation]:
        payload = picked.payload(index)
        if kind == kernels.W_FRAME:
            return self._observed(
                self._context(picked, index), self._datagrams.frame(picked.values["ethertype"][index], payload)
            )
        src = self._endpoint(picked, index, "src")
        found = read_arp(payload) if kind == kernels.W_ARP else read_ndp(payload, src.ip)
        if found is None:
            return []
        mac, ip = found
        announced = Endpoint(mac=self._make.addresses.mac(mac), ip=ip)
        protocol = "arp" if kind == kernels.W_ARP else "ndp"
        attributes = (("arp.ip", ip),) if kind == kernels.W_ARP else ()
        # An ARP request names whom it looks for: many of them are a scan.
        asked = self._endpoint(picked, index, "dst") if picked.values["arp"][index] == 1 else None
        return [self._make.identity(picked.time(index), picked.parent(index), announced, protocol, attributes, asked)]

    def _segment(self, picked: _Picked, index: int) -> list[Observation]:
        from_initiator = bool(picked.slots[index] & FROM_INITIATOR)
        number = picked.numbers[index]
        sport, dport = picked.ports(index)
        segment = Segment(
            flow=number,
            from_initiator=from_initiator,
            sequence=picked.values["tcp_seq"][index],
            start=self._flows.first_sequence(picked.slots[index], number),
            ports=(sport, dport) if from_initiator else (dport, sport),
            data=picked.payload(index),
        )
        messages, over = self._streams.feed(segment)
        if over:
            self._flows.close_head(picked.slots[index] >> 2, number)
        if not messages:
            return []
        records = self._observed(self._context(picked, index, swap=not from_initiator), tuple(messages))
        self._describe(number, tuple(messages), records)
        return records

    def _observed(self, context: PacketContext, messages: Messages) -> list[Observation]:
        records: list[Observation] = []
        for message in messages:
            if isinstance(message, Malformed):
                self._counts.add(self._counts.malformed, message.reason)
            records += observe_message(context, message)
        return records

    def _describe(self, flow: int, messages: Messages, records: list[Observation]) -> None:
        """Remember a flow's application, and the server's name if it was asked for."""
        app, name = self._names.get(flow, ("", ""))
        for message in messages:
            if not isinstance(message, Malformed) and message.protocol not in ("", "credential"):
                app = app or message.protocol
        for record in records:
            if isinstance(record.data, TlsData):
                name = record.data.sni or name
            elif isinstance(record.data, HttpData):
                name = record.data.host or name
        if app or name:
            if flow not in self._names and len(self._names) >= _MAX_NAMES:
                self._names.popitem(last=False)
            self._names[flow] = (app, name)

    def _problems(self, columns: PacketColumns) -> list[Observation]:
        """Count what could not be parsed; give one sample per reason and sender."""
        problems = columns.rows["problem"]
        indices = np.flatnonzero(problems)
        if not len(indices):
            return []
        records: list[Observation] = []
        for index in indices.tolist():
            row = columns.rows[index]
            code = int(row["problem"])
            if code == X_LINK_UNKNOWN:
                self._counts.add(self._counts.unknown_links, str(int(row["link"])))
                continue
            self._counts.add(self._counts.malformed, PROBLEMS[code])
            mac = self._make.addresses.mac(int(row["src_mac"]))
            if (PROBLEMS[code], mac) in self._samples or len(self._samples) >= _MAX_SAMPLES:
                continue
            self._samples.add((PROBLEMS[code], mac))
            records.append(self._sample(columns, row, PROBLEMS[code], mac))
        return records

    def _sample(self, columns: PacketColumns, row: Any, reason: str, mac: str) -> Observation:
        at, size = int(row["offset"]), int(row["caplen"])
        data = columns.batch.data[at : at + min(size, 32)].tobytes()
        position = columns.batch.base + at
        body = Malformed(reason=reason, offset=position, sample=data, protocol=reason.split(":")[0])
        record = self._envelope(int(row["ts_ns"]) / 1e9, body)
        return msgspec.structs.replace(
            record, parents=(f"{columns.batch.uid}#{position}",), src=Endpoint(mac=mac) if mac else None
        )

    def _swept(self, now_ns: int) -> list[Observation]:
        return self._flow_records(self._flows.sweep(now_ns))

    def _flow_records(self, reports: Rows) -> list[Observation]:
        """Turn reports into observations; what an ended connection left unanswered comes with them."""
        records: list[Observation] = []
        if not len(reports):
            return records
        ended = np.isin(reports["state"], _LAST_STATES)
        if len(self._streams):
            for flow, row in zip(reports["flow"][ended].tolist(), np.flatnonzero(ended).tolist(), strict=True):
                if self._streams.get(flow) is not None:
                    records += self._unanswered(flow, reports[row])
        records += self._make.flows(reports, self._uid, self._names)
        if self._names:
            for flow in reports["flow"][ended].tolist():
                self._names.pop(flow, None)
        return records

    def _reported_end(self, report: Any, side: str, port: str) -> Endpoint:
        mac, high, low = (int(report[f"{side}_{part}"]) for part in ("mac", "hi", "lo"))
        return self._make.addresses.endpoint(mac, high, low, int(report[port]), int(report["ip_version"]))

    def _unanswered(self, flow: int, report: Any) -> list[Observation]:
        messages = tuple(self._streams.finish(flow))
        if not messages:
            return []
        make = self._make
        context = PacketContext(
            time=int(report["last_ns"]) / 1e9,
            src=self._reported_end(report, "src", "sport"),
            dst=self._reported_end(report, "dst", "dport"),
            parents=(f"{self._uid}#{int(report['packet'])}",),
            source=make.source,
            tenant=make.tenant,
            site=make.site,
        )
        records = self._observed(context, messages)
        self._describe(flow, messages, records)
        return records


class _Picked:
    """The chosen rows of a batch as plain Python numbers."""

    _COLUMNS = (
        "ts_ns", "offset", "payload", "payload_len", "src_mac", "dst_mac", "src_hi", "src_lo", "dst_hi", "dst_lo",
        "sport", "dport", "ip_version", "ethertype", "tcp_seq", "arp",
    )  # fmt: skip

    def __init__(self, columns: PacketColumns, chosen: Chosen, slots: Any, numbers: Any) -> None:
        rows = columns.rows[chosen.rows]
        self.values: dict[str, list[int]] = {name: rows[name].tolist() for name in self._COLUMNS}
        self.slots: list[int] = slots[chosen.rows].tolist()
        self.numbers: list[int] = numbers[chosen.rows].tolist()
        self._batch = columns.batch
        self._data = columns.batch.data

    def time(self, index: int) -> float:
        """Seconds since 1970."""
        return self.values["ts_ns"][index] / 1e9

    def parent(self, index: int) -> str:
        """Name the packet."""
        return f"{self._batch.uid}#{self._batch.base + self.values['offset'][index]}"

    def payload(self, index: int) -> bytes:
        """Give the payload's bytes."""
        at = self.values["payload"][index]
        return self._data[at : at + self.values["payload_len"][index]].tobytes()

    def ports(self, index: int) -> tuple[int, int]:
        """Give the sender's and the receiver's port."""
        return self.values["sport"][index], self.values["dport"][index]

    def end(self, index: int, side: str) -> tuple[int, int, int, int, int]:
        """Give hardware address, IP address in two halves, port and IP version of the sender or receiver."""
        values = self.values
        port = values["sport" if side == "src" else "dport"][index]
        version = values["ip_version"][index] or values["arp"][index]
        return (
            values[f"{side}_mac"][index],
            values[f"{side}_hi"][index],
            values[f"{side}_lo"][index],
            port,
            version,
        )
