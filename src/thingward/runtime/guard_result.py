"""What one run of `guard` on files found: plain records, ready to be shown, saved or sent."""

from __future__ import annotations

import msgspec

from thingward.model.codec import encode_batch
from thingward.model.device import Device
from thingward.model.finding import Finding
from thingward.model.observation import CaptureData
from thingward.model.profile import MudProfile, Preview
from thingward.ports.event_store import PeerRow, TrafficPoint


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
    indicators: int = 0

    @property
    def exit_code(self) -> int:
        """0 if every argument was a capture, 2 if any was not."""
        return 0 if all(report.is_capture for report in self.sources) else 2


def result_batch(result: GuardResult) -> bytes:
    """Pack what a run learnt, as core takes it by the intent ImportRecords: devices, profiles, previews, findings."""
    devices = [view.device for view in result.views if not view.device.group]
    profiles = [view.profile for view in result.views if view.profile is not None]
    previews = [view.preview for view in result.views if view.preview is not None]
    return encode_batch([*devices, *profiles, *previews, *result.findings])
