"""Observation to Event: OCSF class, activity and severity, one line for people, and no secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from thingward.model import ocsf
from thingward.model.event import Event
from thingward.model.flow import Output
from thingward.model.ids import hashed_uid
from thingward.model.observation import (
    AlertData,
    CaptureData,
    CredentialData,
    DnsData,
    Endpoint,
    FlowData,
    HttpData,
    IdentityData,
    LeaseData,
    LogData,
    MqttData,
    Observation,
    StatusData,
    TlsData,
)
from thingward.model.record import Malformed, Record

MAX_PARENTS = 8
MESSAGE_LIMIT = 200

# TCP flags as in the header.
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_PROTO_NAMES = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_METHODS = {
    "CONNECT": 1,
    "DELETE": 2,
    "GET": 3,
    "HEAD": 4,
    "OPTIONS": 5,
    "POST": 6,
    "PUT": 7,
    "TRACE": 8,
    "PATCH": 9,
}
_LEASES = {
    "discover": 1,
    "offer": 2,
    "request": 3,
    "decline": 4,
    "ack": 5,
    "nak": 6,
    "release": 7,
    "inform": 8,
}
_MQTT_ACTIVITIES = {"connect": 1, "publish": 2, "subscribe": 3, "disconnect": 4}
_STATUSES = {"started": 3, "stopped": 4}


class _Kind(msgspec.Struct, frozen=True):
    """What an observation's body becomes."""

    class_uid: int
    activity_id: int
    severity: int
    message: str


def normalise(observation: Observation) -> Event:
    """Give the event of an observation; the same observation always gives the same event.

    The digest of a credential pair is dropped here whatever came before, so that no event can carry it.
    """
    data = observation.data
    if type(data) is CredentialData and data.pair:
        data = msgspec.structs.replace(data, pair="")
    kind = _KINDS[type(data)](observation, data)
    return Event(
        uid=hashed_uid("event", observation.uid),
        tenant=observation.tenant,
        time=observation.time,
        source=observation.source,
        parents=(observation.uid, *observation.parents[: MAX_PARENTS - 1]),
        class_uid=kind.class_uid,
        activity_id=kind.activity_id,
        severity=kind.severity,
        site=observation.site,
        src=observation.src,
        dst=observation.dst,
        data=data,
        message=kind.message[:MESSAGE_LIMIT],
    )


class NormaliseStage:
    """Turns every observation of a batch into its event; other records pass through. It keeps no state."""

    name = "normalise"

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Normalise a batch, in order."""
        return Output(records=[normalise(r) if type(r) is Observation else r for r in batch])

    def tick(self, now: float) -> Output:
        """Do nothing: there is no state."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the empty state."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take the empty state."""


def _where(endpoint: Endpoint | None) -> str:
    if endpoint is None:
        return "?"
    host = endpoint.ip or endpoint.mac or "?"
    if not endpoint.port:
        return host
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"


def _flow(observation: Observation, data: FlowData) -> _Kind:
    name = _PROTO_NAMES.get(data.proto) or (f"ether {data.ethertype:#06x}" if data.proto < 0 else f"ip {data.proto}")
    about = data.name or data.app
    message = (
        f"{name} {_where(observation.src)} -> {_where(observation.dst)}"
        f"{f' ({about})' if about else ''} {data.packets_out}/{data.packets_in} packets"
    )
    return _Kind(ocsf.NETWORK_ACTIVITY, _flow_activity(data), 1, message)


def _flow_activity(data: FlowData) -> int:
    """Open 1, close 2, reset 3, fail 4 (no answer), refuse 5 (reset at once), traffic 6."""
    if data.state == "new":
        return 1
    if data.state == "update":
        return 6
    if data.proto == 6 and data.flags_out & _SYN and not data.flags_out & _ACK:
        if data.flags_in & _RST and not data.flags_in & _SYN:
            return 5
        if not data.flags_in & _SYN:
            return 4
    if data.flags_out & _RST or data.flags_in & _RST:
        return 3
    return 2 if data.state == "end" else 6


def _dns(observation: Observation, data: DnsData) -> _Kind:
    if data.rcode < 0:
        return _Kind(ocsf.DNS_ACTIVITY, 1, 1, f"{data.transport} {data.qtype} {data.qname}?")
    values = ", ".join(answer.value for answer in data.answers[:4]) or f"code {data.rcode}"
    return _Kind(ocsf.DNS_ACTIVITY, 2, 1, f"{data.transport} {data.qtype} {data.qname}: {values}")


def _identity(observation: Observation, data: IdentityData) -> _Kind:
    pairs = ", ".join(f"{name} {value}" for name, value in data.attributes[:6])
    return _Kind(ocsf.INVENTORY_INFO, 2, 1, f"{data.protocol}: {_where(observation.src)} {pairs}")


def _lease(observation: Observation, data: LeaseData) -> _Kind:
    who = data.hostname or _where(observation.src)
    return _Kind(ocsf.DHCP_ACTIVITY, _LEASES.get(data.message, 0), 1, f"dhcp {data.message} {who} {data.address}")


def _http(observation: Observation, data: HttpData) -> _Kind:
    status = f" {data.status}" if data.status else ""
    message = f"http {data.method} {data.host or _where(observation.dst)}{data.path}{status}"
    return _Kind(ocsf.HTTP_ACTIVITY, _METHODS.get(data.method.upper(), 99), 1, message)


def _tls(observation: Observation, data: TlsData) -> _Kind:
    return _Kind(ocsf.TLS_ACTIVITY, 1, 1, f"tls {data.version} {data.sni or _where(observation.dst)} {data.ja4}")


def _mqtt(observation: Observation, data: MqttData) -> _Kind:
    result = f" code {data.return_code}" if data.return_code >= 0 else ""
    message = f"mqtt {data.operation} {data.client_id} {data.topic}{result}"
    return _Kind(ocsf.MQTT_ACTIVITY, _MQTT_ACTIVITIES.get(data.operation, 99), 1, message)


def _credential(observation: Observation, data: CredentialData) -> _Kind:
    user = f" as {data.user}" if data.user else ""
    message = f"{data.protocol} log-in in clear text to {_where(observation.dst)}{user}: {data.outcome}"
    return _Kind(ocsf.AUTHENTICATION, 1, 2, message)


def _alert(observation: Observation, data: AlertData) -> _Kind:
    return _Kind(ocsf.DETECTION_FINDING, 1, min(max(data.severity, 1), 5), f"{data.engine}: {data.signature}")


def _log(observation: Observation, data: LogData) -> _Kind:
    severity = {0: 5, 1: 5, 2: 4, 3: 3, 4: 2}.get(data.severity, 1)
    return _Kind(ocsf.LOG_LINE, 1, severity, f"{data.host} {data.app}: {data.message}")


def _capture(observation: Observation, data: CaptureData) -> _Kind:
    message = f"{data.file}: {data.packets} packets{f', {data.error}' if data.error else ''}"
    return _Kind(ocsf.SOURCE_STATUS, 4 if data.complete else 6, 2 if data.error else 1, message)


def _status(observation: Observation, data: StatusData) -> _Kind:
    gap = f" {data.gap_s:.1f} s" if data.gap_s else ""
    severity = 2 if data.status in ("gap", "drops") else 1
    message = f"{observation.source} {data.status}{gap} {data.detail}"
    return _Kind(ocsf.SOURCE_STATUS, _STATUSES.get(data.status, 99), severity, message)


def _malformed(observation: Observation, data: Malformed) -> _Kind:
    message = f"{data.protocol or 'input'} from {_where(observation.src)} not understood: {data.reason}"
    return _Kind(ocsf.MALFORMED_INPUT, 1, 1, message)


_KINDS: dict[type, Callable[[Observation, Any], _Kind]] = {
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
