"""Examples in the OpenAPI document: one small site, so that they fit each other."""

from __future__ import annotations

from typing import Any, Final

from thingward.apps.server.present import explicit
from thingward.model.action import Action, ActionKind, ActionState, Approval, BlastRadius
from thingward.model.device import Attribute, Device, DeviceClass
from thingward.model.event import Event
from thingward.model.finding import Case, CaseNote, Finding
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.observation import Endpoint, FlowData
from thingward.model.profile import Acl, MudProfile, PeerKind, Settledness

_T: Final = 1_764_000_000.0
_DEVICE: Final = "d-3f9c0a1b2c3d4e5f6071"


def _base(uid: str, source: str = "core") -> dict[str, Any]:
    return {"uid": Uid(uid), "tenant": DEFAULT_TENANT, "time": _T, "source": source}


_ACL = Acl(
    direction="out",
    peer=PeerKind.NAME,
    value="api.camera.example",
    proto=6,
    port=443,
    flows=412,
    first=_T - 6 * 86400,
    last=_T,
    days=6,
)
_RECORDS: Final = {
    "Device": Device(
        **_base(_DEVICE),
        macs=("00:00:5e:00:53:17",),
        addresses=("192.168.1.23",),
        names=("cam-hall",),
        label="Hall camera",
        maker="Example Optics",
        kind="camera",
        kind_reason="DHCP vendor class and mDNS service",
        device_class=DeviceClass.B,
        evidence=(
            Attribute(name="dhcp.hostname", value="cam-hall", source="sensor:eth0", first=_T - 6 * 86400, last=_T),
        ),
        first_seen=_T - 6 * 86400,
        last_seen=_T,
        identified=True,
    ),
    "Finding": Finding(
        **_base("f-1c2d3e4f"),
        rule="scan.ports",
        title="Hall camera scans the site for telnet",
        reason="tried tcp/23 on 61 addresses in 60 s; the profile has no such entry",
        severity=4,
        confidence=0.95,
        device=_DEVICE,
        attack=("T1046",),
        is_alert=True,
        count=3,
        first=_T - 60,
        last=_T,
        suggested=("quarantine",),
        case="k-77aa",
    ),
    "Case": Case(
        **_base("k-77aa"),
        title="Hall camera: scan",
        device=_DEVICE,
        severity=4,
        opened=_T - 60,
        updated=_T,
        findings=("f-1c2d3e4f",),
        finding_count=3,
        rules=("scan.ports",),
        timeline=(CaseNote(time=_T, by="system", text="scan.ports: 61 addresses in 60 s", kind="finding"),),
    ),
    "Action": Action(
        **_base("x-90ab"),
        kind=ActionKind.QUARANTINE,
        device=_DEVICE,
        macs=("00:00:5e:00:53:17",),
        reason="scans the site for telnet",
        requested_by="u-ann",
        state=ActionState.IN_FORCE,
        ttl_s=3600.0,
        expires=_T + 3600,
        blast=BlastRadius(devices=1, fleet_share=0.05, services=("recording",)),
        requested_at=_T,
        applied_at=_T + 0.2,
    ),
    "MudProfile": MudProfile(
        **_base("p-51de"),
        device=_DEVICE,
        version=4,
        acls=(_ACL,),
        settled=Settledness(observed_s=6 * 86400, flows=1204, since_new_s=2.1 * 86400, week_share=0.8, is_settled=True),
    ),
    "Approval": Approval(
        **_base("v-22cc"),
        scope="device",
        target=_DEVICE,
        device=_DEVICE,
        profile="p-51de",
        acls=(_ACL,),
        by="u-ann",
        comment="seen for a week",
    ),
    "Event": Event(
        **_base("e-00ff", "sensor:eth0"),
        class_uid=4001,
        activity_id=6,
        src=Endpoint(mac="00:00:5e:00:53:17", ip="192.168.1.23", port=50122, device=_DEVICE),
        dst=Endpoint(ip="203.0.113.9", port=443, names=("api.camera.example",)),
        data=FlowData(
            flow=Uid("00aa"),
            state="whole",
            first=_T - 4,
            last=_T,
            proto=6,
            packets_out=12,
            bytes_out=1800,
            packets_in=10,
            bytes_in=5200,
            app="tls",
            name="api.camera.example",
        ),
    ),
}

#: Name of a schema to its example.
EXAMPLES: Final[dict[str, Any]] = {name: explicit(record) for name, record in _RECORDS.items()}

#: A line of each form that can be pushed, with its end.
PUSHED_LINES: Final = {
    "observation": '{"time": 1764000000.0, "src": {"mac": "00:00:5e:00:53:17", "ip": "192.168.1.23", "port": 50122}, '
    '"dst": {"ip": "203.0.113.9", "port": 443}, "data": {"type": "flow", "flow": "00aa", "state": "whole", '
    '"first": 1763999996.0, "last": 1764000000.0, "proto": 6, "packets_out": 12, "bytes_out": 1800, '
    '"packets_in": 10, "bytes_in": 5200, "app": "tls", "name": "api.camera.example"}}\n',
    "zeek": '{"_path": "dns", "ts": 1764000000.0, "uid": "C1a2b3", "id.orig_h": "192.168.1.23", "id.orig_p": 40001, '
    '"id.resp_h": "192.168.1.1", "id.resp_p": 53, "proto": "udp", "query": "api.camera.example", "qtype_name": "A"}\n',
    "eve": '{"timestamp": "2025-11-24T16:00:00.000000+0000", "event_type": "dns", "src_ip": "192.168.1.23", '
    '"src_port": 40001, "dest_ip": "192.168.1.1", "dest_port": 53, "proto": "UDP", '
    '"dns": {"type": "query", "id": 7, "rrname": "api.camera.example", "rrtype": "A"}}\n',
}
EXAMPLES["PushResult"] = {
    "dry_run": False,
    "form": "zeek",
    "lines": 3,
    "taken": 1,
    "rejected": 1,
    "errors": ["line 2: zeek: neither JSON nor TSV"],
    "ignored": {"stats log": 1},
}
