"""One observation of every kind, and one of every record that leaves the platform."""

import msgspec

from thingward.model.action import Action, ActionKind, ActionState, Outcome
from thingward.model.device import Device
from thingward.model.finding import Case, CaseNote, CaseState, Finding, FindingArtifact
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.observation import (
    AlertData,
    CaptureData,
    CredentialData,
    DnsAnswer,
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
    pair_digest,
)
from thingward.model.principal import AuditEntry
from thingward.model.record import Malformed

CAMERA = Endpoint(mac="02:00:00:00:00:05", ip="192.168.1.5", port=40000, device="d-camera")
SERVER = Endpoint(mac="02:00:00:00:00:01", ip="93.184.216.34", port=443)
NOW = 1_700_000_000.25


def observed(data, *, src=CAMERA, dst=SERVER, uid="", time=NOW, **fields):
    return Observation(
        uid=Uid(uid or f"o-{type(data).__name__}"),
        tenant=DEFAULT_TENANT,
        time=time,
        source="sensor:test",
        parents=("batch#1",),
        src=src,
        dst=dst,
        data=data,
        **fields,
    )


def flow(state="whole", **fields):
    defaults = {
        "flow": Uid("f1"),
        "state": state,
        "first": NOW - 1,
        "last": NOW,
        "proto": 6,
        "packets_out": 3,
        "bytes_out": 200,
        "packets_in": 2,
        "bytes_in": 150,
        "flags_out": 0x1B,
        "flags_in": 0x1B,
    }
    return FlowData(**{**defaults, **fields})


OBSERVATIONS = [
    observed(flow(app="tls", name="example.org")),
    observed(flow(proto=-1, ethertype=0x888E), uid="o-frame", dst=None),
    observed(flow(proto=17, flags_out=0, flags_in=0, packets_in=0), uid="o-udp"),
    observed(DnsData(qname="example.org"), uid="o-query"),
    observed(
        DnsData(
            qname="example.org",
            rcode=0,
            answers=(DnsAnswer(name="example.org", rrtype="A", value="1.2.3.4", ttl_s=60),),
        ),
        uid="o-answer",
    ),
    observed(DnsData(qname="x.example", rcode=24), uid="o-odd"),
    observed(IdentityData(protocol="dhcp", attributes=(("dhcp.hostname", "cam"),)), dst=None),
    observed(LeaseData(message="ack", address="192.168.1.5", hostname="cam", lease_s=3600)),
    observed(HttpData(method="GET", host="example.org", path="/a", user_agent="cam/1", status=200)),
    observed(HttpData(method="M-ODD"), uid="o-http-odd"),
    observed(TlsData(sni="example.org", version="1.3", ja4="t13d1516h2_8daaf6152771_e5627efa2ab1")),
    observed(MqttData(operation="connect", client_id="c1", user="u", return_code=5)),
    observed(
        CredentialData(protocol="telnet", user="root", pair=pair_digest("root", "xc3511"), outcome="failure", tries=3)
    ),
    observed(CredentialData(protocol="snmp", pair=pair_digest("", "public")), uid="o-snmp"),
    observed(AlertData(engine="suricata", signature="ET SCAN", signature_id="1:2", severity=3)),
    observed(AlertData(engine="zeek", signature=""), uid="o-bare-alert", src=None, dst=None),
    observed(LogData(host="cam", app="sshd", severity=3, message="failed"), dst=None),
    observed(CaptureData(file="a.pcap", packets=3, bytes=300, complete=True), src=None, dst=None),
    observed(StatusData(status="gap", gap_s=2.5), src=None, dst=None),
    observed(Malformed(reason="dns: name loops", offset=12, sample=b"\x00\xff", protocol="dns")),
]

FINDING = Finding(
    uid=Uid("f-1"),
    tenant=DEFAULT_TENANT,
    time=NOW,
    source="detection",
    parents=("o-1",),
    rule="scan.hosts",
    title="192.168.1.5 scans the network on tcp/23",
    reason="4 different hosts",
    severity=4,
    confidence=0.95,
    device="d-camera",
    target="d-plug",
    src=CAMERA,
    dst=SERVER,
    key="scan.hosts d-camera worm",
    attack=("T1046", "T0846"),
    is_alert=True,
    first=NOW - 2,
    last=NOW,
    suggested=("quarantine",),
    artifacts=(FindingArtifact(name="port", value="23"),),
)
CASE = Case(
    uid=Uid("c-1"),
    tenant=DEFAULT_TENANT,
    time=NOW,
    source="response",
    title="camera: scan",
    device="d-camera",
    severity=4,
    opened=NOW,
    updated=NOW,
    findings=("f-1",),
    finding_count=1,
    rules=("scan.hosts",),
    timeline=(CaseNote(time=NOW, by="system", text="found", kind="finding"),),
)
ACTION = Action(
    uid=Uid("x-1"),
    tenant=DEFAULT_TENANT,
    time=NOW,
    source="response",
    kind=ActionKind.QUARANTINE,
    device="d-camera",
    macs=("02:00:00:00:00:05",),
    addresses=("192.168.1.5",),
    state=ActionState.IN_FORCE,
    ttl_s=3600,
    requested_at=NOW,
    applied_at=NOW + 0.1,
)
replace = msgspec.structs.replace
EXPORTED = [
    FINDING,
    replace(FINDING, uid=Uid("f-2"), rule="login.default_credentials", class_uid=2002),
    replace(FINDING, uid=Uid("f-3"), rule="exposure.reachable", class_uid=2002, device="", target="", confidence=0.3),
    replace(FINDING, uid=Uid("f-4"), rule="x.y", class_uid=2003, suppressed=True, src=None, dst=None, attack=()),
    CASE,
    replace(CASE, uid=Uid("c-2"), assignee="kim", state=CaseState.CLOSED, closed=NOW + 5, findings=(), timeline=()),
    ACTION,
    replace(ACTION, uid=Uid("x-2"), kind=ActionKind.RELEASE, state=ActionState.UNDONE),
    replace(ACTION, uid=Uid("x-3"), state=ActionState.REFUSED, refused="never-block", device=""),
    Outcome(uid=Uid("o-1"), tenant=DEFAULT_TENANT, time=NOW, source="warden", action="x-1", status="applied"),
    Outcome(uid=Uid("o-2"), tenant=DEFAULT_TENANT, time=NOW, source="warden", action="", status="failed", detail="no"),
    Device(
        uid=Uid("d-camera"),
        tenant=DEFAULT_TENANT,
        time=NOW,
        source="inventory",
        macs=("02:00:00:00:00:05",),
        addresses=("192.168.1.5", "fe80::1"),
        maker="Acme",
        identified=True,
        first_seen=NOW - 100,
        last_seen=NOW,
    ),
    Device(uid=Uid("d-bare"), tenant=DEFAULT_TENANT, time=NOW, source="inventory"),
    AuditEntry(
        uid=Uid("a-1"), tenant=DEFAULT_TENANT, time=NOW, source="core", principal="kim", action="put_rule", target="r-1"
    ),
    AuditEntry(
        uid=Uid("a-2"),
        tenant=DEFAULT_TENANT,
        time=NOW,
        source="core",
        principal="",
        action="create_session",
        address="10.0.0.9",
        result="access.forbidden",
    ),
]
