"""One line for people about an event, made when somebody reads it: most events nobody ever reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from thingward.model.event import Event
from thingward.model.observation import (
    AlertData,
    CaptureData,
    CredentialData,
    DnsData,
    FlowData,
    HttpData,
    IdentityData,
    LeaseData,
    LogData,
    MqttData,
    StatusData,
    TlsData,
    where,
)
from thingward.model.record import Malformed

LINE_LIMIT: Final = 200
_PROTO_NAMES: Final = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


def event_line(event: Event) -> str:
    """Give the event's own message, else a line made of its data; at most LINE_LIMIT characters."""
    return event.message or _LINES[type(event.data)](event, event.data)[:LINE_LIMIT]


def _flow(event: Event, data: FlowData) -> str:
    name = _PROTO_NAMES.get(data.proto) or (f"ether {data.ethertype:#06x}" if data.proto < 0 else f"ip {data.proto}")
    about = data.name or data.app
    return (
        f"{name} {where(event.src)} -> {where(event.dst)}"
        f"{f' ({about})' if about else ''} {data.packets_out}/{data.packets_in} packets"
    )


def _dns(event: Event, data: DnsData) -> str:
    if data.rcode < 0:
        return f"{data.transport} {data.qtype} {data.qname}?"
    values = ", ".join(answer.value for answer in data.answers[:4]) or f"code {data.rcode}"
    return f"{data.transport} {data.qtype} {data.qname}: {values}"


def _identity(event: Event, data: IdentityData) -> str:
    pairs = ", ".join(f"{name} {value}" for name, value in data.attributes[:6])
    return f"{data.protocol}: {where(event.src)} {pairs}"


def _lease(event: Event, data: LeaseData) -> str:
    return f"dhcp {data.message} {data.hostname or where(event.src)} {data.address}"


def _http(event: Event, data: HttpData) -> str:
    status = f" {data.status}" if data.status else ""
    return f"http {data.method} {data.host or where(event.dst)}{data.path}{status}"


def _tls(event: Event, data: TlsData) -> str:
    return f"tls {data.version} {data.sni or where(event.dst)} {data.ja4}"


def _mqtt(event: Event, data: MqttData) -> str:
    result = f" code {data.return_code}" if data.return_code >= 0 else ""
    return f"mqtt {data.operation} {data.client_id} {data.topic}{result}"


def _credential(event: Event, data: CredentialData) -> str:
    user = f" as {data.user}" if data.user else ""
    return f"{data.protocol} log-in in clear text to {where(event.dst)}{user}: {data.outcome}"


def _alert(event: Event, data: AlertData) -> str:
    return f"{data.engine}: {data.signature}"


def _log(event: Event, data: LogData) -> str:
    return f"{data.host} {data.app}: {data.message}"


def _capture(event: Event, data: CaptureData) -> str:
    return f"{data.file}: {data.packets} packets{f', {data.error}' if data.error else ''}"


def _status(event: Event, data: StatusData) -> str:
    gap = f" {data.gap_s:.1f} s" if data.gap_s else ""
    return f"{event.source} {data.status}{gap} {data.detail}"


def _malformed(event: Event, data: Malformed) -> str:
    return f"{data.protocol or 'input'} from {where(event.src)} not understood: {data.reason}"


_LINES: Final[dict[type, Callable[[Event, Any], str]]] = {
    FlowData: _flow,
    DnsData: _dns,
    IdentityData: _identity,
    LeaseData: _lease,
    HttpData: _http,
    TlsData: _tls,
    MqttData: _mqtt,
    CredentialData: _credential,
    AlertData: _alert,
    LogData: _log,
    CaptureData: _capture,
    StatusData: _status,
    Malformed: _malformed,
}
