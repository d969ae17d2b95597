"""The sensor: batches of packets in, observations out. Pure: it reads no clock and no device."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from thingward.model.columns import FLOW, FLOW_STATES, PROBLEMS, PacketBatch, PacketColumns, Rows
from thingward.model.flow import Output
from thingward.model.flow_reports import FlowReports
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant
from thingward.model.observation import CaptureData, Endpoint, Observation
from thingward.model.record import Malformed, Record
from thingward.sensing.flows import FlowLimits, FlowTable
from thingward.sensing.sensor_decode import PayloadDecoder
from thingward.sensing.sensor_payloads import PayloadChooser, PayloadLimits, Picked
from thingward.sensing.sensor_records import RecordMaker
from thingward.sensing.streams import StreamLimits
from thingward.wire.packets.names import X_LINK_UNKNOWN
from thingward.wire.packets.parse import PacketParser

_STEP_ROWS = 32768
_MAX_KEYS = 256
_SAMPLE_BYTES = 32
_SAMPLE_EVERY_S = 3600.0
_FIRST_LAST_STATE = FLOW_STATES.index("end")
_MAX_REPORTS = 4096
_NO_REPORTS: Rows = np.empty(0, FLOW)
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
        by_column: bool = False,
    ) -> None:
        """Make a sensor.

        Args:
            source: as in `Record.source`, for example `sensor:eth0`.
            producer: names this run in uids: the same for the same file, another one after each start of a live one.
            seed: for the flow table's hash; a secret number where strangers choose the packets.
            by_column: give flows as FlowReports at the end of each batch, not as observations in between; three
                times as fast, for roads whose inventory is in the same process.
        """
        limits = limits or SensorLimits()
        self._make = RecordMaker(tenant=tenant, site=site, source=source, producer=producer)
        self._parser = PacketParser(rows=_STEP_ROWS)
        self._flows = FlowTable(limits.flows, seed=seed)
        self._decoder = PayloadDecoder(self._make, limits.payloads, limits.streams)
        self._chooser = PayloadChooser(self._decoder.streams, limits.payloads)
        self._packets = 0
        self._bytes = 0
        self._first_ns = 0
        self._last_ns = 0
        self._unknown_links: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._uid = ""
        self._by_column = by_column
        self._reports: list[Rows] = []
        self._described: list[tuple[str, str]] = []

    def feed(self, batch: PacketBatch, now: float) -> Output:
        """Take a batch; gives what it shows, in order of time. `now` is used where packets carry no time."""
        self._count_batch(batch)
        self._uid = batch.uid
        records: list[Observation] = []
        for columns in self._parser.parse(batch):
            self._read(columns, records)
        self._take_reports(self._flows.sweep(self._last_ns or int(now * 1e9)), records)
        return Output(records=self._with_flows(records))

    def tick(self, now: float) -> Output:
        """Let time pass on a live source: flows that are over or due."""
        records: list[Observation] = []
        self._take_reports(self._flows.sweep(int(now * 1e9)), records)
        return Output(records=self._with_flows(records))

    def finish(self, now: float, *, file: str = "", format: str = "", problem: Malformed | None = None) -> Output:
        """The source ended: end all flows, sum up what was read.

        Args:
            file, format, problem: as the capture's reader says; a problem becomes a record of its own.
        """
        ended: list[Observation] = []
        self._take_reports(self._flows.sweep(self._last_ns, finish=True), ended)
        records = self._with_flows(ended)
        time = self._last_ns / 1e9 or now
        if problem is not None:
            records.append(self._make.envelope(time, "", None, None, problem))
        error = problem.reason if problem is not None else ""
        data = self.capture_data(file=file, format=format, complete=problem is None, error=error)
        records.append(self._make.envelope(time, "", None, None, data))
        return Output(records=records)

    def count_dropped(self, kind: str, count: int) -> None:
        """Note a loss outside the sensor, for example in the kernel's ring."""
        if count:
            _count(self._dropped, kind, count)

    def capture_data(
        self,
        *,
        file: str = "",
        format: str = "",
        complete: bool = False,
        error: str = "",
    ) -> CaptureData:
        """Sum up what was read so far."""
        dropped = self._dropped | self._chooser.dropped()
        for kind, count in (
            ("flow_table", self._flows.refused),
            ("flow_evictions", self._flows.evicted),
            ("flow_reports", self._flows.reports_dropped),
            ("streams", self._decoder.streams.evicted),
            ("stream_gaps", self._decoder.streams.gaps),
        ):
            if count:
                dropped[kind] = count
        return CaptureData(
            file=file or self._make.source,
            format=format,
            packets=self._packets,
            bytes=self._bytes,
            first=self._first_ns / 1e9,
            last=self._last_ns / 1e9,
            malformed=dict(self._decoder.malformed),
            unknown_links=dict(self._unknown_links),
            dropped=dropped,
            complete=complete,
            error=error,
        )

    def _count_batch(self, batch: PacketBatch) -> None:
        if not len(batch):
            return
        self._packets += len(batch)
        self._bytes += int(batch.wirelen.sum(dtype=np.int64))
        first, last = int(batch.ts_ns.min()), int(batch.ts_ns.max())
        self._first_ns = min(self._first_ns, first) if self._first_ns else first
        self._last_ns = max(self._last_ns, last)

    def _read(self, columns: PacketColumns, records: list[Observation]) -> None:
        update = self._flows.update(columns)
        chosen = self._chooser.choose(columns, update, self._flows.entries)
        records += self._problems(columns)
        if len(chosen.rows):
            found, slots, numbers = self._decoder.decode(Picked(columns, chosen, update))
            records += found
            self._flows.close_heads(slots, numbers)
        self._take_reports(update.reports, records)

    def _problems(self, columns: PacketColumns) -> list[Observation]:
        """Count what could not be parsed; give a sample per reason and sender now and then."""
        records: list[Observation] = []
        for index in np.flatnonzero(columns.rows["problem"]).tolist():
            row = columns.rows[index]
            code = int(row["problem"])
            if code == X_LINK_UNKNOWN:
                _count(self._unknown_links, str(int(row["link"])), 1)
                continue
            self._decoder.count(PROBLEMS[code])
            mac = self._make.addresses.mac(int(row["src_mac"]))
            time = int(row["ts_ns"]) / 1e9
            if self._decoder.is_news((mac, PROBLEMS[code]), time, _SAMPLE_EVERY_S):
                records.append(self._sample(columns, row, PROBLEMS[code], mac))
        return records

    def _sample(self, columns: PacketColumns, row: Any, reason: str, mac: str) -> Observation:
        at, size = int(row["offset"]), int(row["caplen"])
        data = columns.batch.data[at : at + min(size, _SAMPLE_BYTES)].tobytes()
        position = columns.batch.base + at
        body = Malformed(reason=reason, offset=position, sample=data, protocol=reason.split(":")[0])
        src = Endpoint(mac=mac) if mac else None
        return self._make.envelope(int(row["ts_ns"]) / 1e9, f"{columns.batch.uid}#{position}", src, None, body)

    def _take_reports(self, reports: Rows, records: list[Observation]) -> None:
        """Keep reports until the batch is read; what an ended connection left unanswered is said at once."""
        if not len(reports):
            return
        decoder = self._decoder
        is_over = reports["state"] >= _FIRST_LAST_STATE
        ended = np.flatnonzero(is_over)
        numbers = reports["flow"][ended].astype(np.int64)
        for index in decoder.streams.unanswered(numbers):
            report = reports[ended[index]]
            records += decoder.end_flow(int(numbers[index]), report, f"{self._uid}#{int(report['packet'])}")
        self._described += decoder.describe_ended(reports["flow"].tolist(), is_over.tolist())
        self._reports.append(reports)

    def _with_flows(self, records: list[Observation]) -> list[Record]:
        """Give observations in order of time together with the kept reports, which are kept no longer."""
        kept, described = self._reports, self._described
        self._reports, self._described = [], []
        reports: Rows = np.concatenate(kept) if kept else _NO_REPORTS
        if self._by_column:
            records.sort(key=_by_time)
            return [*records, *self._columns(reports, described)]
        for columns in self._columns(reports, described):
            records += columns.observations()
        records.sort(key=_by_time)
        return [*records]

    def _columns(self, reports: Rows, described: list[tuple[str, str]]) -> list[FlowReports]:
        """A batch that reports very many flows gives several records, so that each stays small."""
        order = np.argsort(reports["last_ns"], kind="stable") if len(reports) > _MAX_REPORTS else None
        if order is not None:
            reports, described = reports[order], [described[index] for index in order.tolist()]
        return [
            self._make.flows(reports[at : at + _MAX_REPORTS], self._uid, described[at : at + _MAX_REPORTS])
            for at in range(0, len(reports), _MAX_REPORTS)
        ]


def _count(table: dict[str, int], key: str, count: int) -> None:
    if key in table or len(table) < _MAX_KEYS:
        table[key] = table.get(key, 0) + count
