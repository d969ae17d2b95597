"""One line for people for each record that passes."""

from __future__ import annotations

import msgspec

from thingward.apps.server.console.words import PROTOCOLS, service, size
from thingward.model.action import Action, Approval, Outcome
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.finding import Case, Finding
from thingward.model.observation import (
    AlertData,
    CredentialData,
    DnsData,
    Endpoint,
    FlowData,
    HttpData,
    IdentityData,
    LeaseData,
    LogData,
    MqttData,
    StatusData,
    TlsData,
)
from thingward.model.profile import MudProfile
from thingward.model.record import Malformed, Record


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One record as a row: when, what kind, who, what; `href` leads to more."""

    uid: str
    time: float
    kind: str
    who: str
    who_href: str = ""
    text: str
    severity: int = 1
    href: str = ""
    source: str = ""


def line_of(record: Record, names: dict[str, str]) -> Line:
    """Say a record in one line; `names` gives devices' names by uid."""
    if isinstance(record, Event):
        return _event_line(record, names)
    device = str(getattr(record, "device", "")) or (record.uid if isinstance(record, Device) else "")
    href, text = _record_text(record)
    return Line(
        uid=record.uid,
        time=record.time,
        kind=str(record.__struct_config__.tag),
        who=names.get(device, device),
        who_href=f"/devices/{device}" if device else "",
        text=text,
        severity=int(getattr(record, "severity", 1)),
        href=href,
        source=record.source,
    )


def _record_text(record: Record) -> tuple[str, str]:
    if isinstance(record, Finding):
        return f"/findings/{record.uid}", record.title
    if isinstance(record, Case):
        return f"/cases/{record.uid}", f"{record.title}: {record.state}"
    if isinstance(record, Action):
        return "/in-force", f"{record.kind}: {str(record.state).replace('_', ' ')}. {record.reason}"
    if isinstance(record, Outcome):
        return "/in-force", f"{record.status} by {record.enforcer} in {record.took_s * 1000:.0f} ms. {record.detail}"
    if isinstance(record, Approval):
        return "/in-force", f"profile {record.state.replace('_', ' ')} for {record.scope} {record.target}"
    if isinstance(record, MudProfile):
        return f"/devices/{record.device}#profile", f"profile version {record.version}: {len(record.acls)} entries"
    if isinstance(record, Device):
        what = " ".join(part for part in (record.maker, record.kind) if part)
        return f"/devices/{record.uid}", f"device record changed: {what or 'unknown'}"
    return "", str(record.__struct_config__.tag)


def _event_line(event: Event, names: dict[str, str]) -> Line:
    data = event.data
    device = event.src.device if event.src else ""
    return Line(
        uid=event.uid,
        time=event.time,
        kind=str(data.__struct_config__.tag),
        who=_end(event.src, names) or event.source,
        who_href=f"/devices/{device}" if device else "",
        text=event.message or _event_text(event, names),
        severity=event.severity,
        source=event.source,
    )


def _end(end: Endpoint | None, names: dict[str, str]) -> str:
    if end is None:
        return ""
    return names.get(end.device, "") or (end.names[0] if end.names else "") or end.ip or end.mac


def _event_text(event: Event, names: dict[str, str]) -> str:
    data = event.data
    to = _end(event.dst, names)
    if isinstance(data, FlowData):
        port = event.dst.port if event.dst else 0
        return (
            f"to {data.name or to}: {service(data.proto, port)}, {size(data.bytes_out)} out, {size(data.bytes_in)} in"
        )
    if isinstance(data, DnsData):
        return _dns_text(data)
    if isinstance(data, StatusData):
        gap = f", blind for {data.gap_s:.0f} s" if data.gap_s else ""
        return f"{data.status}{gap}. {data.detail}".strip()
    if isinstance(data, Malformed):
        return f"not understood: {data.protocol} {data.reason}".replace("  ", " ")
    return _payload_text(data, to)


def _dns_text(data: DnsData) -> str:
    if data.rcode < 0:
        return f"asks for {data.qname} ({data.qtype})"
    if data.rcode == 3:
        return f"no such name: {data.qname}"
    answers = ", ".join(row.value for row in data.answers[:3])
    return f"{data.qname} is {answers}" if answers else f"{data.qname}: no answer"


def _payload_text(data: object, to: str) -> str:
    if isinstance(data, HttpData):
        return f"{data.method} {data.host or to}{data.path} {data.status or ''}".strip()
    if isinstance(data, TlsData):
        return f"TLS {data.version} to {data.sni or to}".replace("  ", " ")
    if isinstance(data, MqttData):
        return f"MQTT {data.operation} {data.topic or data.client_id} to {to}".replace("  ", " ")
    if isinstance(data, LeaseData):
        return f"DHCP {data.message} {data.address} {data.hostname}".strip()
    if isinstance(data, IdentityData):
        return f"{data.protocol}: " + ", ".join(f"{name} {value}" for name, value in data.attributes[:3])
    if isinstance(data, CredentialData):
        lists = f", on the list {', '.join(data.lists)}" if data.lists else ""
        return f"log-in as {data.user or '?'} on {to} by {data.protocol}: {data.outcome}{lists}"
    if isinstance(data, AlertData):
        return f"{data.engine}: {data.signature}"
    if isinstance(data, LogData):
        return f"{data.app}: {data.message}"[:200]
    return str(getattr(data, "file", "")) or PROTOCOLS[-1]
