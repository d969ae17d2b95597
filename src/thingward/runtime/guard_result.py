"""What one run of `guard` on files found: plain records, ready to be shown, saved or sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec

from thingward.model.codec import AnyRecord, encode_batch
from thingward.model.device import Device
from thingward.model.finding import Finding
from thingward.model.observation import CaptureData
from thingward.model.profile import Learnt, MudProfile, Preview
from thingward.ports.event_store import PeerRow, TrafficPoint

#: Most bytes in one batch: what one frame of a link carries, with room for the intent around it.
BATCH_BYTES: Final = 8 << 20


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """One argument of the command: what was read of it, or why it is no capture."""

    source: str
    data: CaptureData
    is_capture: bool = True
    kind: str = "capture"


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one device; profile and preview are missing where it was only spoken to."""

    device: Device
    profile: MudProfile | None = None
    preview: Preview | None = None
    findings: tuple[Finding, ...] = ()
    peers: tuple[PeerRow, ...] = ()
    traffic: tuple[TrafficPoint, ...] = ()


class GuardResult(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run.

    Attributes:
        views: devices, the ones with the worst findings first.
        findings: all findings, worst first.
        counts: events by kind. dropped: what bounds threw away, by kind.
        elapsed_s: wall time of the run.
        learnt: each device's learning, so that a platform goes on from it.
        indicators: known-bad patterns that were looked for; 0 means that talk to known-bad addresses is unknown.
    """

    site: str
    tenant: str
    version: str
    sources: tuple[SourceReport, ...] = ()
    views: tuple[DeviceView, ...] = ()
    findings: tuple[Finding, ...] = ()
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}
    elapsed_s: float = 0.0
    learnt: tuple[Learnt, ...] = ()
    indicators: int = 0

    @property
    def single_devices(self) -> tuple[DeviceView, ...]:
        """The views of devices: records that stand for many (a multicast address that sent) are left out."""
        return tuple(view for view in self.views if not view.device.group)

    @property
    def exit_code(self) -> int:
        """0 if every argument was a capture, 2 if any was not."""
        return 0 if all(report.is_capture for report in self.sources) else 2


def result_batches(result: GuardResult) -> Iterator[bytes]:
    """Pack what a run learnt for the intent ImportRecords, in batches that fit: what belongs to one device together."""
    learnt = {record.device: record for record in result.learnt}
    batch: list[AnyRecord] = []
    size = 0
    groups: Iterable[list[AnyRecord]] = chain(_device_groups(result, learnt), _each(result.findings))
    for group in groups:
        length = len(encode_batch(group))
        if batch and size + length > BATCH_BYTES:
            yield encode_batch(batch)
            batch, size = [], 0
        batch += group
        size += length
    if batch:
        yield encode_batch(batch)


def _device_groups(result: GuardResult, learnt: dict[str, Learnt]) -> Iterator[list[AnyRecord]]:
    for view in result.views:
        if not view.device.group:
            parts = (view.device, view.profile, view.preview, learnt.get(view.device.uid))
            yield [part for part in parts if part is not None]


def _each(findings: Iterable[Finding]) -> Iterator[list[AnyRecord]]:
    for finding in findings:
        yield [finding]
