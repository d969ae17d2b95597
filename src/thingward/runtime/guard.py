"""One run of `guard` on files: sources in, the same stages as the platform, a result out. Nothing is changed anywhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import msgspec

from thingward._version import __version__
from thingward.adapters.maker.oui import maker_of
from thingward.inventory.adoption import pack_learnt
from thingward.model.device import Device
from thingward.model.errors import ThingwardError
from thingward.model.finding import Finding
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant, hashed_uid
from thingward.model.observation import CaptureData, Observation
from thingward.model.profile import Learnt, MudProfile, Preview
from thingward.model.record import Record
from thingward.policy.preview import preview_profile
from thingward.runtime.compose import compose_guard
from thingward.runtime.flow import Road
from thingward.runtime.guard_result import DeviceView, GuardResult, SourceReport
from thingward.runtime.packs import content_of, read_pack
from thingward.runtime.stages import RoadPlan, Stages
from thingward.runtime.talkers import Talkers

#: `advance(label, done, total)` in bytes; total 0 where it is not known.
Advance = Callable[[str, int, int], None]
MAX_FINDINGS = 20_000
_LOG_BATCH = 2048


class GuardOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is told.

    Attributes:
        networks: the site's ranges in CIDR form; empty means private ranges.
        learn_share: share of each device's time that the preview's trial profile learns from.
        packs: lists of indicators.
    """

    site: str = DEFAULT_SITE
    tenant: str = DEFAULT_TENANT
    networks: tuple[str, ...] = ()
    learn_share: float = 0.5
    packs: tuple[Path, ...] = ()


def run_guard(sources: Sequence[str], options: GuardOptions, advance: Advance | None = None) -> GuardResult:
    """Read every source, one after the other, as one site.

    A source that is no capture is reported and the rest is read all the same.
    """
    started = time.perf_counter()
    run = _Run(options)
    reports = [run.read(source, advance or _ignore) for source in sources]
    return run.result(reports, time.perf_counter() - started)


class _Run:
    """The road, what is kept of what comes off it, and the sources read so far."""

    def __init__(self, options: GuardOptions) -> None:
        self._options = options
        packs = tuple(read_pack(path)[0] for path in options.packs)
        self._indicators = sum(len(pack.indicators) for pack in packs)
        plan = RoadPlan(
            tenant=options.tenant,
            site=options.site,
            producer="guard",
            networks=options.networks,
            maker_of=maker_of,
            content=content_of(packs),
        )
        self._road: Road
        self._stages: Stages
        self._road, self._stages = compose_guard(plan)
        self._talkers = Talkers()
        self._findings: dict[str, Finding] = {}
        self._lost = 0
        self._now = 0.0

    def read(self, source: str, advance: Advance) -> SourceReport:
        """Read one argument to its end, or to what cannot be passed."""
        kind, read = _road_into(source)
        shown = shown_name(source)
        summary = CaptureData(file=shown)
        try:
            for batch in read(source, self._options, advance):
                for record in batch:
                    if isinstance(record, Observation) and isinstance(record.data, CaptureData):
                        summary = _joined(summary, record.data)
                self._feed(batch)
        except ThingwardError as error:
            reason = str(error)
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}."
        else:
            return SourceReport(source=shown, data=msgspec.structs.replace(summary, file=shown), kind=kind)
        return SourceReport(source=shown, data=CaptureData(file=shown, error=reason), is_capture=False, kind=kind)

    def result(self, reports: Sequence[SourceReport], elapsed_s: float) -> GuardResult:
        """Sum up the run."""
        devices_changed = self._stages.inventory.finish(self._now).records  # learning follows merges and makers
        self._keep(self._stages.learning.feed(devices_changed, self._now).records)
        self._keep(self._road.tick(self._now).records)
        self._keep(self._stages.learning.finish(self._now).records)
        devices = [device for device in self._stages.inventory.devices() if not device.merged_into]
        findings = sorted(self._findings.values(), key=lambda finding: (-finding.severity, finding.first, finding.uid))
        views = [self._view(device, devices, findings) for device in devices]
        views.sort(key=_urgency)
        return GuardResult(
            site=self._options.site,
            tenant=self._options.tenant,
            version=__version__,
            sources=tuple(reports),
            views=tuple(views),
            findings=tuple(findings),
            counts=dict(self._talkers.counts),
            dropped=self._dropped(),
            learnt=tuple(self._learnt(devices)),
            indicators=self._indicators,
            elapsed_s=elapsed_s,
        )

    def _learnt(self, devices: Sequence[Device]) -> Iterator[Learnt]:
        for device in devices:
            kept = self._stages.learning.kept(device.uid)
            if kept is not None and not device.group:
                yield pack_learnt(kept, tenant=self._options.tenant, site=self._options.site, source="guard")

    def _feed(self, batch: Sequence[Record]) -> None:
        if batch:
            self._now = max(self._now, max(record.time for record in batch))
            self._keep(self._road.feed(batch, self._now).records)

    def _keep(self, records: Sequence[Record]) -> None:
        self._talkers.feed(records)
        for record in records:
            if isinstance(record, Finding):
                if record.uid in self._findings or len(self._findings) < MAX_FINDINGS:
                    self._findings[record.uid] = record
                else:
                    self._lost += 1
            elif isinstance(record, Device) and record.merged_into:
                self._talkers.rename(record.uid, record.merged_into)

    def _view(self, device: Device, devices: Sequence[Device], findings: Sequence[Finding]) -> DeviceView:
        profile = self._stages.learning.profile(device.uid)
        return DeviceView(
            device=device,
            profile=profile,
            preview=self._preview(device, profile, devices) if profile else None,
            findings=tuple(finding for finding in findings if device.uid in (finding.device, finding.target)),
            peers=self._talkers.peers(device.uid),
            traffic=self._talkers.traffic(device.uid),
        )

    def _preview(self, device: Device, profile: MudProfile, devices: Sequence[Device]) -> Preview | None:
        learning = self._stages.learning
        split = learning.split_time(device.uid, self._options.learn_share)
        trial = learning.profile(device.uid, until=split)
        if trial is None:
            return None
        return preview_profile(
            profile,
            trial,
            learning.traffic(device.uid),
            devices=devices,
            roles=self._stages.inventory.roles(),
            learnt_until=split,
            now=self._now,
        )

    def _dropped(self) -> dict[str, int]:
        lost = {"findings": self._lost, "talkers": self._talkers.dropped, "detection": self._stages.detection.dropped}
        for kind, count in (*self._stages.inventory.dropped.items(), *self._stages.learning.dropped.items()):
            lost[kind] = lost.get(kind, 0) + count
        return {kind: count for kind, count in lost.items() if count}


def shown_name(source: str) -> str:
    """Give a file's name as text that every output can hold: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(source).decode("utf-8", "replace")


def _road_into(source: str) -> tuple[str, Callable[[str, GuardOptions, Advance], Iterator[Sequence[Record]]]]:
    path = Path(source)
    if source != "-" and os.path.isdir(source):
        return "zeek", _read_zeek
    # A named pipe gives its bytes only once: a look at its head would be the last one.
    if source != "-" and os.path.isfile(source) and _is_eve(path):
        return "eve", _read_eve
    return "capture", _read_capture


def _read_capture(source: str, options: GuardOptions, advance: Advance) -> Iterator[Sequence[Record]]:
    # The packet kernels import a compiler's runtime: only a run that reads packets pays for it.
    from thingward.sensing.sensor import Sensor
    from thingward.wire.capture_read import CaptureReader
    from thingward.wire.packets.warm import warm

    warm()
    total = 0 if source == "-" else Path(source).stat().st_size
    producer = f"guard:{hashed_uid('source', source)[:12]}"
    sensor = Sensor(
        source=f"guard:{shown_name(source)}",
        producer=producer,
        tenant=_tenant(options),
        site=options.site,
        by_column=True,
    )
    with _opened(source) as stream:
        reader = CaptureReader(stream, uid=producer, is_pipe=source == "-" or not os.path.isfile(source))
        for batch in reader:
            yield sensor.feed(batch, 0.0).records
            advance(source, reader.position, total)
        yield sensor.finish(0.0, file=shown_name(source), format=reader.format, problem=reader.problem).records


def _opened(source: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb")


def _read_zeek(source: str, options: GuardOptions, advance: Advance) -> Iterator[Sequence[Record]]:
    from thingward.model.errors import InvalidInput
    from thingward.sensing.log_files import LogContext
    from thingward.sensing.zeek import looks_like_zeek, read_zeek_folder

    folder = Path(source)
    if not looks_like_zeek(folder):
        raise InvalidInput(
            "the folder holds no Zeek logs.", hint="Name a folder with conn.log or others, or a capture."
        )
    context = LogContext(source=f"zeek:{shown_name(source)}", tenant=_tenant(options), site=options.site)
    yield from _batched(source, read_zeek_folder(folder, context), advance)


def _read_eve(source: str, options: GuardOptions, advance: Advance) -> Iterator[Sequence[Record]]:
    from thingward.sensing.eve import read_eve_file
    from thingward.sensing.log_files import LogContext

    context = LogContext(source=f"eve:{shown_name(source)}", tenant=_tenant(options), site=options.site)
    yield from _batched(source, read_eve_file(Path(source), context), advance)


def _batched(source: str, records: Iterator[Observation], advance: Advance) -> Iterator[Sequence[Record]]:
    batch: list[Record] = []
    done = 0
    for record in records:
        batch.append(record)
        if len(batch) >= _LOG_BATCH:
            done += len(batch)
            yield batch
            advance(source, done, 0)
            batch = []
    yield batch


def _is_eve(path: Path) -> bool:
    """Suricata's lines begin with a brace and name a timestamp; a capture never does."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    return head.lstrip()[:1] == b"{" and b'"event_type"' in head


def _joined(one: CaptureData, two: CaptureData) -> CaptureData:
    """Add up what was read of several files of one source."""
    if not one.packets and not one.format:
        return two
    return CaptureData(
        file=one.file,
        format=one.format,
        packets=one.packets + two.packets,
        bytes=one.bytes + two.bytes,
        first=min(filter(None, (one.first, two.first)), default=0.0),
        last=max(one.last, two.last),
        malformed=_sum(one.malformed, two.malformed),
        unknown_links=_sum(one.unknown_links, two.unknown_links),
        dropped=_sum(one.dropped, two.dropped),
        complete=one.complete and two.complete,
        error=one.error or two.error,
    )


def _sum(one: dict[str, int], two: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + two.get(key, 0) for key in (*one, *two)}


def _tenant(options: GuardOptions) -> Tenant:
    return Tenant(options.tenant)


def _urgency(view: DeviceView) -> tuple[bool, int, bool, float, str]:
    worst = max((finding.severity for finding in view.findings if finding.device == view.device.uid), default=0)
    return view.device.group, -worst, view.device.role == "", -view.device.last_seen, view.device.uid


def _ignore(label: str, done: int, total: int) -> None:
    """Nobody watches the progress."""
