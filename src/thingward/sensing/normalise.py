"""Observation to Event: OCSF class, activity and severity, and no secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from thingward.model import ocsf
from thingward.model.event import Event
from thingward.model.flow import Output
from thingward.model.flow_reports import FlowReports
from thingward.model.ids import event_uid
from thingward.model.observation import (
    AlertData,
    CaptureData,
    CredentialData,
    Data,
    DnsData,
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

MAX_PARENTS: Final = 8

# TCP flags as in the header.
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_METHODS: Final = {
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
_LEASES: Final = {
    "discover": 1,
    "offer": 2,
    "request": 3,
    "decline": 4,
    "ack": 5,
    "nak": 6,
    "release": 7,
    "inform": 8,
}
_MQTT_ACTIVITIES: Final = {"connect": 1, "publish": 2, "subscribe": 3, "disconnect": 4}
_STATUSES: Final = {"started": 3, "stopped": 4}

Kind = tuple[int, int, int]
"""OCSF class_uid, activity_id, severity_id."""


def normalise(observation: Observation) -> Event:
    """Give the event of an observation; the same observation always gives the same event.

    The digest of a credential pair is dropped here whatever came before, so that no event can carry it. The line for
    people is left empty: `model.event_line` makes it when somebody reads.
    """
    data = observation.data
    if type(data) is CredentialData and data.pair:
        data = msgspec.structs.replace(data, pair="")
    class_uid, activity_id, severity = _KINDS[type(data)](data)
    parents = observation.parents
    return Event(
        uid=event_uid(observation.uid),
        tenant=observation.tenant,
        time=observation.time,
        source=observation.source,
        parents=(observation.uid, *(parents if len(parents) < MAX_PARENTS else parents[: MAX_PARENTS - 1])),
        class_uid=class_uid,
        activity_id=activity_id,
        severity=severity,
        site=observation.site,
        src=observation.src,
        dst=observation.dst,
        data=data,
    )


class NormaliseStage:
    """Turns every observation of a batch into its event; other records pass through. It keeps no state."""

    name = "normalise"

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Normalise a batch, in order."""
        return Output(
            records=[
                normalise(r) if type(r) is Observation else _with_activities(r) if type(r) is FlowReports else r
                for r in batch
            ]
        )

    def tick(self, now: float) -> Output:
        """Do nothing: there is no state."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the empty state."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take the empty state."""


@lru_cache(maxsize=4096)
def flow_activity(state: str, proto: int, out: int, back: int) -> int:
    """Open 1, close 2, reset 3, fail 4 (no answer), refuse 5 (reset at once), traffic 6; flags of both directions."""
    if state == "new":
        return 1
    if state == "update":
        return 6
    if proto == 6 and out & _SYN and not out & _ACK and not back & _SYN:
        return 5 if back & _RST else 4
    if (out | back) & _RST:
        return 3
    return 2 if state == "end" else 6


def _with_activities(reports: FlowReports) -> FlowReports:
    activities = list(map(flow_activity, reports.states, reports.proto, reports.flags_out, reports.flags_in))
    return msgspec.structs.replace(reports, activities=activities)


def _flow(data: FlowData) -> Kind:
    return (ocsf.NETWORK_ACTIVITY, flow_activity(data.state, data.proto, data.flags_out, data.flags_in), 1)


def _dns(data: DnsData) -> Kind:
    return (ocsf.DNS_ACTIVITY, 1 if data.rcode < 0 else 2, 1)


def _identity(data: IdentityData) -> Kind:
    return (ocsf.INVENTORY_INFO, 2, 1)


def _lease(data: LeaseData) -> Kind:
    return (ocsf.DHCP_ACTIVITY, _LEASES.get(data.message, 0), 1)


def _http(data: HttpData) -> Kind:
    return (ocsf.HTTP_ACTIVITY, _METHODS.get(data.method.upper(), 99), 1)


def _tls(data: TlsData) -> Kind:
    return (ocsf.TLS_ACTIVITY, 1, 1)


def _mqtt(data: MqttData) -> Kind:
    return (ocsf.MQTT_ACTIVITY, _MQTT_ACTIVITIES.get(data.operation, 99), 1)


def _credential(data: CredentialData) -> Kind:
    return (ocsf.AUTHENTICATION, 1, 2)


def _alert(data: AlertData) -> Kind:
    return (ocsf.DETECTION_FINDING, 1, min(max(data.severity, 1), 5))


def _log(data: LogData) -> Kind:
    return (ocsf.LOG_LINE, 1, {0: 5, 1: 5, 2: 4, 3: 3, 4: 2}.get(data.severity, 1))


def _capture(data: CaptureData) -> Kind:
    return (ocsf.SOURCE_STATUS, 4 if data.complete else 6, 2 if data.error else 1)


def _status(data: StatusData) -> Kind:
    severity = 2 if data.status in ("gap", "drops") else 1
    return (ocsf.SOURCE_STATUS, _STATUSES.get(data.status, 99), severity)


def _malformed(data: Malformed) -> Kind:
    return (ocsf.MALFORMED_INPUT, 1, 1)


_KINDS: Final[dict[type[Data], Callable[[Any], Kind]]] = {
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
