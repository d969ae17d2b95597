"""Records as OCSF JSON objects: what syslog, files and other systems are given.

Source: schema.ocsf.io, version in `model.ocsf.OCSF_VERSION`. Times are milliseconds since 1970. What OCSF has no
attribute for goes into `unmapped`; the classes of our own extension are described in docs/findings.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from thingward.model import ocsf
from thingward.model.action import Action, ActionKind, ActionState, Outcome
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.event_line import event_line
from thingward.model.finding import Case, CaseState, Finding
from thingward.model.observation import (
    AlertData,
    CredentialData,
    DnsData,
    Endpoint,
    FlowData,
    HttpData,
    IdentityData,
    LeaseData,
    MqttData,
    TlsData,
)
from thingward.model.principal import AuditEntry
from thingward.model.record import Record

Json = dict[str, Any]

EXTENSION_VERSION = "1.0.0"
PRODUCT: Json = {"name": "thingward", "vendor_name": "thingward"}
_PROTO_NAMES = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp"}
# Weaknesses by Common Weakness Enumeration: OCSF asks for a CVE, CWE or advisory.
_WEAKNESSES = {
    "login.default_credentials": ("CWE-1392", "Use of Default Credentials"),
    "login.cleartext": ("CWE-319", "Cleartext Transmission of Sensitive Information"),
}
_EXPOSED = ("CWE-923", "Improper Restriction of Communication Channel to Intended Endpoints")
_ROLE_TYPES = {"gateway": 12, "resolver": 1, "server": 1}
_MAX_UNMAPPED = 64


def to_ocsf(record: Record) -> Json | None:
    """Render a record; None for kinds that OCSF has no event for (profiles, previews, tokens ...)."""
    render = _RECORDS.get(type(record))
    return None if render is None else render(record)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _base(
    record: Record, class_uid: int, activity_id: int, severity: int, message: str, *, time: float | None = None
) -> Json:
    is_ours = class_uid >= ocsf.EXTENSION_UID * 100_000
    category = class_uid % 100_000 // 1000
    metadata: Json = {
        "version": ocsf.OCSF_VERSION,
        "product": PRODUCT,
        "uid": record.uid,
        "tenant_uid": record.tenant,
        "log_name": record.source,
    }
    if is_ours:
        uid = str(ocsf.EXTENSION_UID)
        metadata["extensions"] = [{"name": "thingward", "uid": uid, "version": EXTENSION_VERSION}]
    return {
        "activity_id": activity_id,
        "category_uid": category,
        "class_uid": class_uid,
        "type_uid": class_uid * 100 + activity_id,
        "time": _ms(record.time if time is None else time),
        "severity_id": severity,
        "severity": ocsf.SEVERITY_NAMES.get(severity, "Unknown"),
        "message": message,
        "metadata": metadata,
    }


def _endpoint(endpoint: Endpoint) -> Json:
    shown = {
        "uid": endpoint.device,
        "ip": endpoint.ip,
        "mac": endpoint.mac,
        "port": endpoint.port,
        "name": endpoint.ip or endpoint.mac or endpoint.device or "unknown",
    }
    return {name: value for name, value in shown.items() if value}


def _unmapped(data: Any) -> Json:
    """Give a body as plain JSON, without what is empty."""
    content = msgspec.to_builtins(data, builtin_types=(), order=None)
    content.pop("type", None)
    return {name: value for name, value in list(content.items())[:_MAX_UNMAPPED] if value not in ("", [], {}, None)}


def _event(event: Event) -> Json:
    body = _base(event, event.class_uid, event.activity_id, event.severity, event_line(event))
    if event.src is not None:
        body["src_endpoint"] = _endpoint(event.src)
    if event.dst is not None:
        body["dst_endpoint"] = _endpoint(event.dst)
    fill = _BODIES.get(type(event.data))
    if fill is not None:
        fill(event, event.data, body)
    else:
        body["unmapped"] = _unmapped(event.data)
    body.setdefault("unmapped", {})["site"] = event.site
    return body


def _flow(event: Event, data: FlowData, body: Json) -> None:
    body.setdefault("src_endpoint", {"name": "unknown"})
    connection: Json = {"direction_id": 0, "uid": data.flow, "protocol_num": data.proto}
    if data.proto in _PROTO_NAMES:
        connection["protocol_name"] = _PROTO_NAMES[data.proto]
    if data.proto == 6:
        connection["tcp_flags"] = data.flags_out | data.flags_in
    body["connection_info"] = connection
    body["traffic"] = {
        "bytes_out": data.bytes_out,
        "bytes_in": data.bytes_in,
        "bytes": data.bytes_out + data.bytes_in,
        "packets_out": data.packets_out,
        "packets_in": data.packets_in,
        "packets": data.packets_out + data.packets_in,
    }
    body["start_time"], body["end_time"] = _ms(data.first), _ms(data.last)
    shown = {"app": data.app, "name": data.name, "ethertype": data.ethertype, "state": data.state}
    body["unmapped"] = {name: value for name, value in shown.items() if value}


def _dns(event: Event, data: DnsData, body: Json) -> None:
    body["query"] = {"hostname": data.qname, "type": data.qtype}
    if data.rcode >= 0:
        body["rcode_id"] = data.rcode if data.rcode <= 11 or 16 <= data.rcode <= 23 else 99
        body["answers"] = [
            {"hostname": answer.name, "type": answer.rrtype, "rdata": answer.value, "ttl": answer.ttl_s}
            for answer in data.answers
        ]
    body["unmapped"] = {"transport": data.transport}


def _lease(event: Event, data: LeaseData, body: Json) -> None:
    body.setdefault("src_endpoint", {"name": "unknown"})
    body["lease_dur"] = data.lease_s
    body["unmapped"] = _unmapped(data)


def _http(event: Event, data: HttpData, body: Json) -> None:
    url = {"hostname": data.host, "path": data.path or "/", "scheme": "http"}
    body["http_request"] = {
        "http_method": data.method,
        "url": {name: value for name, value in url.items() if value},
        "user_agent": data.user_agent,
    }
    if data.status:
        body["http_response"] = {"code": data.status}


def _tls(event: Event, data: TlsData, body: Json) -> None:
    body["tls"] = {"version": data.version or "unknown", "sni": data.sni}
    body["unmapped"] = _unmapped(data)


def _mqtt(event: Event, data: MqttData, body: Json) -> None:
    body["unmapped"] = {"mqtt": _unmapped(data)}


def _credential(event: Event, data: CredentialData, body: Json) -> None:
    body["user"] = {"name": data.user or "unknown"}
    body["service"] = {"name": data.protocol}
    body["auth_protocol"] = data.protocol
    body["auth_protocol_id"] = 11 if data.protocol == "http-basic" else 99
    body["is_cleartext"] = True
    body["is_remote"] = True
    body["status_id"] = {"success": 1, "failure": 2}.get(data.outcome, 0)
    body["unmapped"] = {"lists": list(data.lists), "tries": data.tries}


def _identity(event: Event, data: IdentityData, body: Json) -> None:
    endpoint = body.pop("src_endpoint", {"name": "unknown"})
    body.pop("dst_endpoint", None)
    endpoint.pop("port", None)
    body["device"] = {"type_id": 0, **endpoint}
    body["unmapped"] = {"protocol": data.protocol, "attributes": [list(pair) for pair in data.attributes]}


def _alert(event: Event, data: AlertData, body: Json) -> None:
    evidence: Json = {name: body.pop(name) for name in ("src_endpoint", "dst_endpoint") if name in body}
    body["evidences"] = [{"data": {"signature": data.signature}, **evidence}]
    body["finding_info"] = {
        "uid": event.uid,
        "title": data.signature or data.signature_id or "alert",
        "analytic": {"type_id": 1, "name": data.engine, "uid": data.signature_id or data.engine},
    }
    body["unmapped"] = _unmapped(data)


def _finding(finding: Finding) -> Json:
    activity = 1
    body = _base(finding, finding.class_uid, activity, finding.severity, f"{finding.title}: {finding.reason}")
    body["finding_info"] = _finding_info(finding)
    body["confidence_id"] = 3 if finding.confidence >= 0.8 else 2 if finding.confidence >= 0.5 else 1
    body["confidence_score"] = round(finding.confidence * 100)
    body["status_id"] = 3 if finding.suppressed else 1
    body["count"] = finding.count
    body["start_time"], body["end_time"] = _ms(finding.first or finding.time), _ms(finding.last or finding.time)
    body["resources"] = _resources(finding)
    if finding.class_uid == ocsf.VULNERABILITY_FINDING:
        uid, caption = _WEAKNESSES.get(finding.rule, _EXPOSED)
        body["vulnerabilities"] = [{"cwe": {"uid": uid, "caption": caption}, "title": finding.title}]
    elif finding.class_uid == ocsf.COMPLIANCE_FINDING:
        body["compliance"] = {"control": finding.rule, "standards": ["thingward"], "status_id": 3}
    else:
        body["is_alert"] = finding.is_alert
        body["evidences"] = [_evidence(finding)]
    body["unmapped"] = {
        "site": finding.site,
        "key": finding.key,
        "case": finding.case,
        "suggested": list(finding.suggested),
        "simulated": finding.simulated,
    }
    return body


def _finding_info(finding: Finding) -> Json:
    info: Json = {
        "uid": finding.uid,
        "title": finding.title,
        "desc": finding.reason,
        "first_seen_time": _ms(finding.first or finding.time),
        "last_seen_time": _ms(finding.last or finding.time),
        "created_time": _ms(finding.time),
        "analytic": {"type_id": 1, "uid": finding.rule, "name": finding.rule},
    }
    if finding.attack:
        info["attacks"] = [{"technique": {"uid": uid}} for uid in finding.attack]
    return info


def _resources(finding: Finding) -> list[Json]:
    """Name the devices concerned: the one it is about as actor, or as affected where it is only weak."""
    role = 2 if finding.class_uid == ocsf.DETECTION_FINDING else 3
    named = [{"uid": finding.device, "type": "device", "role_id": role}] if finding.device else []
    if finding.target and finding.target != finding.device:
        named.append({"uid": finding.target, "type": "device", "role_id": 1})
    return named or [{"name": finding.site, "type": "site", "role_id": 3}]


def _evidence(finding: Finding) -> Json:
    evidence: Json = {"data": {a.name: a.value for a in finding.artifacts}}
    if finding.src is not None:
        evidence["src_endpoint"] = _endpoint(finding.src)
    if finding.dst is not None:
        evidence["dst_endpoint"] = _endpoint(finding.dst)
    return evidence


def _case(case: Case) -> Json:
    is_closed = case.state is CaseState.CLOSED
    activity = 3 if is_closed else 1 if case.updated <= case.opened else 2
    body = _base(case, ocsf.INCIDENT_FINDING, activity, case.severity, case.title, time=case.updated or case.time)
    uids = case.findings[-32:] or (case.uid,)
    body["finding_info_list"] = [{"uid": uid, "title": case.title} for uid in uids]
    body["status_id"] = 5 if is_closed else 2 if case.assignee or case.state is CaseState.CONTAINED else 1
    body["start_time"] = _ms(case.opened)
    body["count"] = max(case.finding_count, 1)
    body["desc"] = case.timeline[-1].text if case.timeline else case.title
    if case.assignee:
        body["assignee"] = {"name": case.assignee}
    else:
        body["assignee_group"] = {"name": "unassigned"}
    if is_closed:
        body["end_time"] = _ms(case.closed)
    body["unmapped"] = {
        "site": case.site,
        "device": case.device,
        "rules": list(case.rules),
        "actions": list(case.actions),
        "resolution": case.resolution,
    }
    return body


_ACTIVITIES = {ActionKind.QUARANTINE: 1, ActionKind.RELEASE: 3, ActionKind.ENFORCE: 4, ActionKind.RELAX: 3}
_STATES = {
    ActionState.IN_FORCE: 1,
    ActionState.UNDONE: 1,
    ActionState.EXPIRED: 1,
    ActionState.REFUSED: 2,
    ActionState.FAILED: 2,
}


def _action(action: Action) -> Json:
    text = f"{action.kind} of {action.device}: {action.state}"
    moment = max(action.requested_at, action.applied_at, action.ended_at) or action.time
    body = _base(action, ocsf.REMEDIATION_ACTIVITY, _ACTIVITIES.get(action.kind, 99), 3, text, time=moment)
    body["command_uid"] = action.uid
    body["status_id"] = _STATES.get(action.state, 0)
    if action.refused:
        body["status_detail"] = action.refused
    body["device"] = {"uid": action.device or "unknown", "type_id": 7, "name": action.device or "unknown"}
    body["countermeasures"] = [{"d3f_technique": {"uid": "D3-NTF", "name": "Network Traffic Filtering"}}]
    body["unmapped"] = {
        "site": action.site,
        "state": action.state.value,
        "requested_by": action.requested_by,
        "reason": action.reason,
        "case": action.case,
        "finding": action.finding,
        "ttl_s": action.ttl_s,
        "macs": list(action.macs),
        "addresses": list(action.addresses),
    }
    return body


def _outcome(outcome: Outcome) -> Json:
    activity = {"applied": 1, "undone": 3, "expired": 3}.get(outcome.status, 0)
    body = _base(outcome, ocsf.REMEDIATION_ACTIVITY, activity, 2, f"{outcome.status} {outcome.detail}".strip())
    body["command_uid"] = outcome.action or outcome.uid
    body["status_id"] = 1 if outcome.status in ("applied", "undone", "expired") else 2
    body["status_detail"] = outcome.detail or outcome.status
    body["unmapped"] = _unmapped(outcome)
    return body


def _device(device: Device) -> Json:
    name = device.label or (device.names[0] if device.names else "") or device.uid
    body = _base(device, ocsf.INVENTORY_INFO, 1, 1, f"{name} {device.maker} {device.model} {device.kind}".strip())
    shown: Json = {
        "uid": device.uid,
        "name": name,
        "type_id": _ROLE_TYPES.get(device.role, 7 if device.identified else 0),
        "ip": device.addresses[0] if device.addresses else "",
        "mac": device.macs[0] if device.macs else "",
        "vendor_name": device.maker,
        "model": device.model,
        "zone": device.site,
        "first_seen_time": _ms(device.first_seen),
        "last_seen_time": _ms(device.last_seen),
    }
    body["device"] = {key: value for key, value in shown.items() if value or key == "type_id"}
    body["unmapped"] = {
        "kind": device.kind,
        "device_class": device.device_class.value,
        "mode": device.mode.value,
        "identified": device.identified,
        "macs": list(device.macs),
        "addresses": list(device.addresses),
    }
    return body


def _audit(entry: AuditEntry) -> Json:
    verbs = {"create": 1, "put": 1, "export": 2, "update": 3, "edit": 3, "delete": 4, "revoke": 4}
    activity = verbs.get(entry.action.partition("_")[0], 99)
    text = f"{entry.principal} {entry.action} {entry.target}: {entry.result}"
    body = _base(entry, ocsf.API_ACTIVITY, activity, 1, text)
    body["actor"] = {"user": {"name": entry.principal or "unknown"}}
    body["api"] = {"operation": entry.action, "request": {"uid": entry.request or entry.uid}}
    address = entry.address or "local"
    body["src_endpoint"] = {"name": address, **({"ip": entry.address} if _is_ip(entry.address) else {})}
    body["status_id"] = 1 if entry.result == "ok" else 2
    body["status_detail"] = entry.detail or entry.result
    if entry.target:
        body["resources"] = [{"uid": entry.target, "role_id": 1}]
    return body


def _is_ip(text: str) -> bool:
    return bool(text) and (text.count(".") == 3 or ":" in text) and not text.startswith("/")


_BODIES: dict[type, Callable[[Event, Any, Json], None]] = {
    FlowData: _flow,
    DnsData: _dns,
    LeaseData: _lease,
    HttpData: _http,
    TlsData: _tls,
    MqttData: _mqtt,
    CredentialData: _credential,
    IdentityData: _identity,
    AlertData: _alert,
}
_RECORDS: dict[type, Callable[[Any], Json]] = {
    Event: _event,
    Finding: _finding,
    Case: _case,
    Action: _action,
    Outcome: _outcome,
    Device: _device,
    AuditEntry: _audit,
}
