"""`-o json` and `-o ndjson`: one flat object per record, with a `kind`.

The form is a promise to scripts; docs/reference/guard-output.md describes it, a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from thingward.model.device import Device
from thingward.model.finding import Finding
from thingward.model.profile import MudProfile, Preview
from thingward.runtime.guard_result import GuardResult, SourceReport


def result_lines(result: GuardResult) -> Iterator[dict[str, Any]]:
    """Give every record of a run: captures, devices, profiles, previews, findings, in this order."""
    for report in result.sources:
        yield capture_line(report)
    for view in result.views:
        yield device_line(view.device)
    for view in result.views:
        if view.profile is not None:
            yield profile_line(view.profile)
    for view in result.views:
        if view.preview is not None:
            yield preview_line(view.preview)
    for finding in result.findings:
        yield finding_line(finding)


def capture_line(report: SourceReport) -> dict[str, Any]:
    """Describe what was read of one argument."""
    data = report.data
    return {
        "kind": "capture",
        "file": data.file,
        "format": data.format,
        "is_capture": report.is_capture,
        "packets": data.packets,
        "bytes": data.bytes,
        "first": data.first,
        "last": data.last,
        "malformed": sum(data.malformed.values()),
        "malformed_reasons": data.malformed,
        "unknown_links": data.unknown_links,
        "dropped": data.dropped,
        "complete": data.complete,
        "error": data.error,
    }


def device_line(device: Device) -> dict[str, Any]:
    """Describe one device; `device_type` is its kind, since `kind` names the line."""
    body = _plain(device, "kind")
    return {
        "kind": "device",
        "uid": device.uid,
        "mac": device.macs[0] if device.macs else "",
        "macs": list(device.macs),
        "addresses": list(device.addresses),
        "names": list(device.names),
        "device_type": device.kind,
        "maker": device.maker,
        "model": device.model,
        "identified": device.identified,
        "evidence": body.get("evidence", []),
        **body,
    }


def profile_line(profile: MudProfile) -> dict[str, Any]:
    """Describe one profile."""
    return {
        "kind": "profile",
        **_plain(profile),
        "acls": msgspec.to_builtins(profile.acls),
        "settled": _all_fields(profile.settled),
    }


def preview_line(preview: Preview) -> dict[str, Any]:
    """Describe what enforcing a profile would have done."""
    return {"kind": "preview", **_all_fields(preview)}


def finding_line(finding: Finding) -> dict[str, Any]:
    """Describe one finding."""
    return {"kind": "finding", **_plain(finding), "severity": finding.severity, "confidence": finding.confidence}


def _plain(record: msgspec.Struct, *without: str) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(record)
    body.pop("type", None)
    for name in without:
        body.pop(name, None)
    return body


def _all_fields(record: msgspec.Struct) -> dict[str, Any]:
    body = {name: msgspec.to_builtins(getattr(record, name)) for name in record.__struct_fields__}
    return {name: value for name, value in body.items() if name not in ("tenant", "source")}
