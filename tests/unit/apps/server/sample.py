"""A sample home for tests, development and the README's picture: made up, but shaped like the real thing."""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Sequence
from functools import cache

import msgspec

from tests.unit.apps.server.tiny_core import TinyCore
from thingward.identity.access import ALL_SCOPES
from thingward.identity.credentials import make_session, make_token
from thingward.identity.passwords import hash_password
from thingward.model.action import Action, ActionKind, ActionState, Approval, BlastRadius, ResponseRule
from thingward.model.device import Attribute, Device, DeviceClass, Mode, Site
from thingward.model.event import Event
from thingward.model.finding import Case, CaseNote, CaseState, Finding, FindingArtifact
from thingward.model.ids import DEFAULT_TENANT, Uid, device_uid, hashed_uid
from thingward.model.intent import CreateLoginLink, Intent
from thingward.model.observation import DnsAnswer, DnsData, Endpoint, FlowData, LeaseData, StatusData, TlsData
from thingward.model.principal import Principal, Role
from thingward.model.profile import Acl, FlowVerdict, MudProfile, PeerKind, Preview, Settledness
from thingward.model.record import Record
from thingward.ports.control_store import Put
from thingward.runtime.desk_identity import user_uid

NOW = 1_763_835_600.0  # 2025-11-22 18:20 UTC
DAY = 86400.0
PASSWORD = "correct horse battery staple"

#: name, label, maker, model, kind, class, days known, identified, clouds, kB an hour
ROWS: tuple[tuple[str, str, str, str, str, str, float, bool, tuple[str, ...], float], ...] = (
    ("gateway", "Router", "Fritz Example", "7590", "gateway", "D", 41, True, (), 900),
    ("cam-hall", "Hall camera", "Northwind Optics", "NC-200", "camera", "B", 19, True, ("api.northwind.example", "relay.northwind.example"), 5200),
    ("cam-garage", "Garage camera", "Northwind Optics", "NC-200", "camera", "B", 19, True, ("api.northwind.example", "relay.northwind.example"), 4700),
    ("cam-garden", "", "Northwind Optics", "NC-310", "camera", "B", 6.2, True, ("api.northwind.example",), 3900),
    ("plug-1a2b", "Desk plug", "Tasmo Example", "P1", "plug", "B", 33, True, ("mqtt.tasmo.example",), 14),
    ("plug-77c0", "", "Tasmo Example", "P1", "plug", "B", 33, True, ("mqtt.tasmo.example",), 12),
    ("plug-9e11", "Washing machine", "Tasmo Example", "P1M", "plug", "B", 12, True, ("mqtt.tasmo.example",), 19),
    ("bulb-kitchen", "", "Lumen Example", "A60", "bulb", "B", 28, True, ("cloud.lumen.example",), 6),
    ("bulb-stairs", "", "Lumen Example", "A60", "bulb", "B", 28, True, ("cloud.lumen.example",), 5),
    ("hue-bridge", "Light bridge", "Lumen Example", "Bridge 2", "hub", "C", 40, True, ("cloud.lumen.example", "time.lumen.example"), 88),
    ("thermostat", "Thermostat", "Warmly Example", "T3", "thermostat", "C", 37, True, ("api.warmly.example",), 41),
    ("speaker-living", "Living-room speaker", "Sonance Example", "One", "speaker", "C", 39, True, ("stream.sonance.example", "auth.sonance.example"), 2100),
    ("tv-living", "Television", "Viewtron", "QX55", "tv", "D", 40, True, ("ads.viewtron.example", "epg.viewtron.example", "fw.viewtron.example"), 6800),
    ("printer", "Printer", "Paperware", "LaserJot 400", "printer", "C", 30, True, (), 7),
    ("doorbell", "Doorbell", "Ringo Example", "D2", "doorbell", "B", 15, True, ("api.ringo.example",), 310),
    ("vacuum", "Robot vacuum", "Sweepo", "S5", "vacuum", "C", 22, True, ("iot.sweepo.example",), 120),
    ("nas", "Storage", "Stackbox", "DS2", "storage", "D", 41, True, ("update.stackbox.example",), 410),
    ("lock-front", "Front door lock", "Keyless Example", "L1", "lock", "B", 9, True, ("api.keyless.example",), 9),
    ("meter", "Electricity meter", "Gridwise", "M100", "sensor", "B", 35, True, ("ingest.gridwise.example",), 22),
    ("phone-ann", "Ann's phone", "Pearl", "P14", "phone", "D", 41, True, ("push.pearl.example", "cdn.video.example"), 5100),
    ("laptop", "", "Lattice", "X1", "computer", "D", 41, True, ("cdn.video.example", "git.code.example"), 9200),
    ("espressif-b81c", "", "Espressif", "", "", "unknown", 3.1, False, ("ota.unbranded.example",), 11),
    ("", "", "", "", "", "unknown", 0.4, False, (), 3),
)  # fmt: skip
SETTLED = {"plug", "bulb", "hub", "thermostat", "speaker", "printer", "vacuum", "sensor", "lock"}
APPROVED = {"plug-1a2b", "plug-77c0", "hue-bridge", "thermostat", "speaker-living", "meter", "cam-hall"}
_BAD = "cam-garage"


def mac_of(index: int) -> str:
    return f"00:00:5e:00:53:{index + 16:02x}"


def uid_of(name: str) -> str:
    index = next(i for i, row in enumerate(ROWS) if row[0] == name)
    return device_uid(DEFAULT_TENANT, "home", f"mac:{mac_of(index)}")


def base(kind: str, name: str, time: float, source: str = "core") -> dict[str, object]:
    return {
        "uid": Uid(f"{kind}-{hashed_uid(kind, name)[:16]}"),
        "tenant": DEFAULT_TENANT,
        "time": time,
        "source": source,
    }


def devices() -> list[Device]:
    found = []
    for index, (name, label, maker, model, kind, cls, days, known, _, _) in enumerate(ROWS):
        first, last = NOW - days * DAY, NOW - (index * 37 % 290)
        mac, ip = mac_of(index), f"192.168.1.{10 + index if name != 'gateway' else 1}"
        found.append(
            Device(
                uid=device_uid(DEFAULT_TENANT, "home", f"mac:{mac}"),
                tenant=DEFAULT_TENANT,
                time=last,
                source="core",
                macs=(mac,),
                addresses=(ip, f"fe80::200:5eff:fe00:53{index + 16:02x}"),
                names=(name,) if name and known else (),
                label=label,
                maker=maker,
                model=model,
                kind=kind,
                kind_reason=_reason(kind),
                role="gateway" if kind == "gateway" else "",
                device_class=DeviceClass(cls),
                mode=Mode.ENFORCE if name in APPROVED else Mode.OBSERVE,
                evidence=_evidence(name, maker, model, kind, mac, ip, first, last),
                first_seen=first,
                last_seen=last,
                identified=known,
                randomised=not maker,
                conflicts=("kind: camera (mDNS) or doorbell (DHCP vendor class)",) if name == "doorbell" else (),
            )
        )
    return found


def _reason(kind: str) -> str:
    return f"mDNS service and DHCP vendor class say {kind}" if kind else "no protocol that says who it is was seen"


def _evidence(
    name: str, maker: str, model: str, kind: str, mac: str, ip: str, first: float, last: float
) -> tuple[Attribute, ...]:
    rows = [("mac", mac, "sensor:eth0", 1.0, 2210), ("ip", ip, "sensor:eth0", 1.0, 2102)]
    if maker:
        rows.append(("oui.maker", maker, "registry:oui", 0.8, 1))
    if name:
        rows.append(("dhcp.hostname", name, "sensor:eth0", 0.95, 44))
    if kind:
        rows += [
            ("mdns.service", f"_{kind.replace(' ', '-')}._tcp.local", "sensor:eth0", 0.95, 311),
            ("dhcp.vendor_class", f"{maker.split()[0].lower()}-dhcp 1.2", "sensor:eth0", 0.9, 44),
            ("http.user_agent", f"{maker.split()[0]}/{model or '1'} (linux)", "sensor:eth0", 0.7, 128),
            ("tls.ja4", "t13d1516h2_8daaf6152771_02713d6af862", "sensor:eth0", 0.4, 903),
        ]
    return tuple(
        Attribute(name=n, value=v, source=s, first=first, last=last, confidence=c, count=k) for n, v, s, c, k in rows
    )


def acls_for(row: Sequence[object], uid: str) -> tuple[Acl, ...]:
    name, kind, days, clouds = str(row[0]), str(row[4]), float(str(row[6])), row[8]
    first, last = NOW - days * DAY, NOW - 60
    rng = random.Random(name)

    def entry(peer: PeerKind, value: str, proto: int, port: int, flows: int, **more: object) -> Acl:
        seen = min(int(days) + 1, 14)
        return Acl(
            direction="out",
            peer=peer,
            value=value,
            proto=proto,
            port=port,
            flows=flows,
            first=first,
            last=last,
            days=seen,
            **more,  # type: ignore[arg-type]
        )

    found = [
        entry(PeerKind.ROLE, "dns", 17, 53, rng.randint(400, 4000)),
        entry(PeerKind.ROLE, "ntp", 17, 123, rng.randint(80, 700)),
        entry(PeerKind.ROLE, "dhcp", 17, 67, rng.randint(12, 60)),
        entry(PeerKind.GROUP, "224.0.0.251", 17, 5353, rng.randint(300, 2500)),
    ]
    for cloud in clouds:  # type: ignore[attr-defined]
        port = 8883 if str(cloud).startswith("mqtt") else 443
        address = f"203.0.113.{rng.randint(2, 250)}"
        found.append(
            entry(
                PeerKind.NAME,
                str(cloud),
                6,
                port,
                rng.randint(200, 9000),
                addresses=(address,),
                resolved=cloud != "ads.viewtron.example",
            )
        )
    if kind in ("camera", "doorbell"):
        found.append(entry(PeerKind.DEVICE, uid_of("nas"), 6, 554, rng.randint(90, 400)))
    if kind == "bulb":
        found.append(entry(PeerKind.DEVICE, uid_of("hue-bridge"), 17, 5683, rng.randint(900, 4000)))
    if kind == "printer":
        found.append(
            Acl(
                direction="in",
                peer=PeerKind.LOCAL,
                value="",
                proto=6,
                port=631,
                flows=41,
                first=first,
                last=last,
                days=9,
            )
        )
    return tuple(found)


def profiles() -> list[Record]:
    found: list[Record] = []
    for index, row in enumerate(ROWS):
        name, kind, days = row[0], row[4], row[6]
        uid = device_uid(DEFAULT_TENANT, "home", f"mac:{mac_of(index)}")
        if kind == "gateway" or days < 1:
            continue
        acls = acls_for(row, uid)
        flows = sum(acl.flows for acl in acls)
        settled = kind in SETTLED or name == "cam-hall"
        profile = MudProfile(
            **base("p", name, NOW - 3600 - index),  # type: ignore[arg-type]
            device=uid,
            version=3 if settled else 5,
            acls=acls,
            settled=Settledness(
                observed_s=days * DAY,
                flows=flows,
                since_new_s=days * DAY * (0.6 if settled else 0.05),
                week_share=min(1.0, days / 9),
                unseen_bound=min(1.0, 3 / max(flows, 1)),
                is_settled=settled,
                curve=_curve(flows, len(acls), settled),
                missing=() if settled else ("something new was seen 7 h ago; 48 h without are needed",),
            ),
        )
        found += [profile, _preview(profile, name, settled)]
        if name in APPROVED:
            found.append(_approval(profile, name))
    return found


def _curve(flows: int, entries: int, settled: bool) -> tuple[tuple[int, int], ...]:
    points = []
    for step in range(33):
        share = step / 32
        rise = 1 - math.exp(-share * (7 if settled else 2.2))
        points.append((int(flows * share), round(entries * rise / (1 - math.exp(-(7 if settled else 2.2))))))
    return tuple(points)


def _preview(profile: MudProfile, name: str, settled: bool) -> Preview:
    judged = profile.settled.flows // 2
    refused = 0 if settled else 9
    verdicts = []
    if not settled:
        verdicts = [
            FlowVerdict(direction="out", proto=6, port=8443, peer="198.51.100.77", permitted=False, reason="no entry allows tcp/8443 to 198.51.100.77", flows=6, bytes=18_000, first=NOW - 9 * 3600, last=NOW - 7 * 3600),
            FlowVerdict(direction="out", proto=17, port=123, peer="pool.ntp.example", permitted=False, reason="no entry allows udp/123 to pool.ntp.example", flows=3, bytes=270, first=NOW - DAY, last=NOW - 7 * 3600, breaks="ntp"),
        ]  # fmt: skip
    for acl in profile.acls:
        peer = "the site's DNS resolver" if acl.value == "dns" else acl.value
        verdicts.append(
            FlowVerdict(direction=acl.direction, proto=acl.proto, port=acl.port, peer=peer, permitted=True, reason="entry of the profile", flows=acl.flows // 2, bytes=acl.flows * 900)
        )  # fmt: skip
    return Preview(
        **base("w", name, NOW - 3000),  # type: ignore[arg-type]
        device=profile.device,
        profile=profile.uid,
        learnt_until=NOW - profile.settled.observed_s / 2,
        flows_learnt=profile.settled.flows - judged,
        flows_judged=judged,
        flows_refused=refused,
        refused_bound=min(1.0, (refused + 3) / max(judged, 1)),
        verdicts=tuple(verdicts),
        reach_before=22 * 4,
        reach_after=3,
        not_by_name=("ads.viewtron.example: the device asks a resolver of its own (DNS over HTTPS)",)
        if name == "tv-living"
        else (),
        warnings=() if settled else ("time: one of its time servers would be refused",),
    )


def _approval(profile: MudProfile, name: str) -> Approval:
    acls = profile.acls[:-1] if name == "speaker-living" else profile.acls
    scope = "kind" if name.startswith("plug") else "device"
    return Approval(
        **base("v", name, NOW - 5 * DAY - len(name) * 977),  # type: ignore[arg-type]
        scope=scope,
        target="plug" if scope == "kind" else profile.device,
        device=profile.device,
        profile=profile.uid,
        acls=acls,
        by=user_uid(DEFAULT_TENANT, "ann"),
        comment="a week without anything new",
        added=len(acls),
    )


def finding(
    name: str,
    rule: str,
    title: str,
    reason: str,
    severity: int,
    at: float,
    *,
    count: int = 1,
    alert: bool = True,
    **more: object,
) -> Finding:
    uid = uid_of(name)
    return Finding(
        **base("f", f"{rule} {name} {at}", at),  # type: ignore[arg-type]
        rule=rule,
        title=title,
        reason=reason,
        severity=severity,
        confidence=0.95 if severity > 3 else 0.7,
        device=uid,
        key=f"{rule}:{uid}",
        is_alert=alert,
        count=count,
        first=at - 240,
        last=at,
        suggested=("quarantine",) if severity > 3 else (),
        **more,  # type: ignore[arg-type]
    )


def findings() -> list[Finding]:
    case = f"k-{hashed_uid('k', _BAD)[:16]}"
    tried = FindingArtifact(name="pairs tried", value="root:xc3511, admin:admin, root:vizxv ... 31 of Mirai's list")
    return [
        finding(_BAD, "scan.ports", "Garage camera scans the site for telnet", "tried tcp/23 and tcp/2323 on 61 addresses in 60 s; its profile has no such entry", 4, NOW - 1500, count=7, attack=("T1046",), case=case, artifacts=(FindingArtifact(name="addresses", value="61"), FindingArtifact(name="ports", value="23, 2323"))),
        finding(_BAD, "login.bruteforce", "Garage camera tries default passwords on Storage", "31 different pairs in 40 s over telnet, 29 of them on the list that Mirai tries", 5, NOW - 1460, count=31, attack=("T1110.001",), case=case, target=uid_of("nas"), artifacts=(tried,)),
        finding("cam-hall", "policy.violation", "Hall camera talks to an address outside its profile", "tcp/8443 to 198.51.100.77: no entry allows it; 6 flows, 18 kB", 3, NOW - 7 * 3600, count=6, attack=("T1071",), case=f"k-{hashed_uid('k', 'cam-hall')[:16]}"),
        finding("printer", "credentials.clear", "Printer takes passwords in clear text", "HTTP basic authentication without TLS on tcp/80, seen 12 times", 3, NOW - 20 * 3600, count=12, attack=("T1040",)),
        finding("tv-living", "intel.indicator", "Television asks for a name on an indicator list", "ads.viewtron.example is on the list tracking-domains", 2, NOW - 3 * 3600, count=44, alert=False),
        finding("espressif-b81c", "device.unknown", "A device that nobody can identify talks to the internet", "ota.unbranded.example over HTTP, no protocol that says who it is", 3, NOW - 2.2 * 3600, count=3),
        finding("nas", "exposure.inbound", "Storage was reached from outside", "3 connections from 192.0.2.44 to tcp/5000; nothing else of the site is", 4, NOW - 30 * 3600, count=3, attack=("T1190",), case=f"k-{hashed_uid('k', 'nas')[:16]}"),
    ]  # fmt: skip


def cases() -> list[Record]:
    bad, nas, hall = uid_of(_BAD), uid_of("nas"), uid_of("cam-hall")
    by_device = {device: [f for f in findings() if f.device == device and f.case] for device in (bad, nas, hall)}

    def case(
        name: str, device: str, title: str, state: CaseState, severity: int, lines: list[CaseNote], **more: object
    ) -> Case:
        rows = by_device[device]
        return Case(
            **base("k", name, lines[-1].time),  # type: ignore[arg-type]
            title=title,
            device=device,
            state=state,
            severity=severity,
            opened=lines[0].time,
            updated=lines[-1].time,
            findings=tuple(row.uid for row in rows),
            finding_count=sum(row.count for row in rows),
            rules=tuple(dict.fromkeys(row.rule for row in rows)),
            timeline=tuple(lines),
            **more,  # type: ignore[arg-type]
        )

    found = by_device[bad]
    return [
        case(_BAD, bad, "Garage camera scans and tries passwords", CaseState.OPEN, 5, [
            CaseNote(time=NOW - 1500, by="system", text="scan.ports: tcp/23 on 61 addresses in 60 s", record=found[0].uid, kind="finding"),
            CaseNote(time=NOW - 1460, by="system", text="login.bruteforce: 31 pairs on Storage, 29 on Mirai's list", record=found[1].uid, kind="finding"),
            CaseNote(time=NOW - 1455, by="system", text="webhook: told security@home.example", kind="notification"),
            CaseNote(time=NOW - 900, by="ann", text="I am not at home. The camera was bought second-hand.", kind="note"),
        ]),
        case("cam-hall", hall, "Hall camera talks outside its profile", CaseState.OPEN, 3, [
            CaseNote(time=NOW - 7 * 3600, by="system", text="policy.violation: tcp/8443 to 198.51.100.77", kind="finding"),
        ]),
        case("nas", nas, "Storage reached from outside", CaseState.CLOSED, 4, [
            CaseNote(time=NOW - 30 * 3600, by="system", text="exposure.inbound: 3 connections from 192.0.2.44", kind="finding"),
            CaseNote(time=NOW - 28 * 3600, by="ann", text="port forwarding on the router removed", kind="note"),
            CaseNote(time=NOW - 28 * 3600 + 60, by="ann", text="closed: port forwarding removed", kind="state"),
        ], closed=NOW - 28 * 3600 + 60, resolution="port forwarding removed"),
    ]  # fmt: skip


def actions() -> list[Record]:
    vacuum, mac = uid_of("vacuum"), mac_of(15)
    shared = {
        "device": vacuum,
        "macs": (mac,),
        "addresses": ("192.168.1.25",),
        "requested_by": user_uid(DEFAULT_TENANT, "ann"),
    }
    return [
        Action(
            **base("x", "vacuum", NOW - 2000),  # type: ignore[arg-type]
            kind=ActionKind.QUARANTINE,
            reason="maker's cloud account was taken over",
            state=ActionState.IN_FORCE,
            ttl_s=4 * 3600.0,
            expires=NOW - 2000 + 4 * 3600,
            blast=BlastRadius(devices=1, fleet_share=1 / 22, services=("cleaning by app",)),
            requested_at=NOW - 2000.4,
            applied_at=NOW - 2000,
            state_before="9f2c41d07be35a68",
            state_after="51ab0c9e7713fd20",
            **shared,  # type: ignore[arg-type]
        ),
        Action(
            **base("x", "vacuum earlier", NOW - 9 * DAY),  # type: ignore[arg-type]
            kind=ActionKind.QUARANTINE,
            reason="trying it out",
            state=ActionState.UNDONE,
            ttl_s=900.0,
            requested_at=NOW - 9 * DAY,
            applied_at=NOW - 9 * DAY,
            ended_at=NOW - 9 * DAY + 120,
            **shared,  # type: ignore[arg-type]
        ),
    ]


def rules() -> list[Record]:
    return [
        ResponseRule(
            **base("r", "mirai", NOW - 20 * DAY),  # type: ignore[arg-type]
            name="Shut out what behaves like Mirai",
            rules=("login.bruteforce", "scan.*"),
            min_severity=5,
            min_confidence=0.9,
            ttl_s=4 * 3600.0,
            enabled=False,
            by=user_uid(DEFAULT_TENANT, "ann"),
        )
    ]


def events(hours: int = 24) -> list[Event]:
    rng = random.Random(11)
    found: list[Event] = []
    for index, row in enumerate(ROWS):
        name, kind, clouds, rate = row[0], row[4], row[8], row[9]
        me = Endpoint(mac=mac_of(index), ip=f"192.168.1.{10 + index if name != 'gateway' else 1}", device=device_uid(DEFAULT_TENANT, "home", f"mac:{mac_of(index)}"))  # fmt: skip
        for slot in range(hours * 4):
            at = NOW - hours * 3600 + slot * 900 + rng.random() * 800
            hour = (at / 3600) % 24
            wave = (
                0.35 + 0.65 * max(0.0, math.sin((hour - 7) / 16 * math.pi))
                if kind in ("tv", "phone", "computer", "speaker")
                else 1.0
            )
            amount = int(rate * 250 * wave * rng.uniform(0.4, 1.6)) + 200
            if kind == "camera" and rng.random() < 0.3:
                found.append(_flow(me, uid_endpoint("nas"), at, 6, 554, amount, amount // 30, "rtsp"))
            if clouds:
                cloud = clouds[slot % len(clouds)]
                there = Endpoint(ip=f"203.0.113.{len(cloud) * 7 % 250}", port=443, names=(cloud,))
                down = amount * (1 if kind in ("camera", "doorbell") else 9)
                found.append(
                    _flow(me, there, at, 6, 8883 if cloud.startswith("mqtt") else 443, amount, down, "tls", cloud)
                )
            if slot % 6 == 0:
                found.append(_flow(me, uid_endpoint("gateway"), at + 1, 17, 53, 120, 260, "dns"))
            if kind == "bulb":
                found.append(_flow(me, uid_endpoint("hue-bridge"), at + 2, 17, 5683, 900, 700, "coap"))
    found += _scan() + _talk() + _status()
    return found


def uid_endpoint(name: str) -> Endpoint:
    index = next(i for i, row in enumerate(ROWS) if row[0] == name)
    return Endpoint(mac=mac_of(index), ip=f"192.168.1.{10 + index if name != 'gateway' else 1}", device=uid_of(name))


def _flow(
    src: Endpoint, dst: Endpoint, at: float, proto: int, port: int, out: int, back: int, app: str = "", name: str = ""
) -> Event:
    uid = hashed_uid("flow", src.mac, dst.ip, f"{at:.3f}", str(port))
    return Event(
        uid=uid,
        tenant=DEFAULT_TENANT,
        time=at,
        source="sensor:eth0",
        class_uid=4001,
        activity_id=6,
        src=msgspec.structs.replace(src, port=49152 + int(at) % 9000),
        dst=msgspec.structs.replace(dst, port=port),
        data=FlowData(flow=uid, state="whole", first=at - 2, last=at, proto=proto, packets_out=out // 700 + 1, bytes_out=out, packets_in=back // 900 + 1, bytes_in=back, app=app, name=name),
    )  # fmt: skip


def _scan() -> list[Event]:
    me = uid_endpoint(_BAD)
    return [
        _flow(
            me,
            Endpoint(ip=f"192.168.1.{13 + n % 18}", device=uid_of(ROWS[3 + n % 18][0])),
            NOW - 1500 + n,
            6,
            23,
            74,
            54,
        )
        for n in range(40)
    ]


def _talk() -> list[Event]:
    found = []
    rng = random.Random(5)
    for n in range(120):
        row = ROWS[rng.randrange(1, 21)]
        me = uid_endpoint(row[0])
        clouds = row[8] or ("time.example",)
        cloud = clouds[n % len(clouds)]
        at = NOW - n * 11 - 3
        where = {"tenant": DEFAULT_TENANT, "time": at, "source": "sensor:eth0", "src": me}
        uid = hashed_uid("talk", str(n))
        if n % 3 == 0:
            data = DnsData(
                qname=cloud, rcode=0, answers=(DnsAnswer(name=cloud, rrtype="A", value=f"203.0.113.{n % 250}"),)
            )
            found.append(Event(uid=uid, class_uid=4003, data=data, dst=uid_endpoint("gateway"), **where))
        elif n % 3 == 1:
            tls = TlsData(sni=cloud, version="1.3", ja4="t13d1516h2_8daaf6152771_02713d6af862")
            found.append(
                Event(uid=uid, class_uid=99_904_102, data=tls, dst=Endpoint(ip="203.0.113.9", port=443), **where)
            )
        else:
            lease = LeaseData(message="ack", address=me.ip, hostname=row[0], lease_s=7200)
            found.append(Event(uid=uid, class_uid=4004, data=lease, dst=uid_endpoint("gateway"), **where))
    return found


def _status() -> list[Event]:
    rows = [
        ("sensor:eth0", "started", NOW - 3 * DAY, 0.0, "listening on eth0"),
        ("sensor:eth0", "gap", NOW - 6 * 3600, 14 * 60.0, "the interface was down"),
        ("sensor:eth0", "alive", NOW - 4, 0.0, "listening on eth0"),
        ("syslog:5514", "alive", NOW - 55, 0.0, "listening for syslog on 127.0.0.1:5514"),
        ("zeek:/var/log/zeek", "gap", NOW - 9 * 3600, 95.0, "log rotated late"),
        ("zeek:/var/log/zeek", "alive", NOW - 31, 0.0, "follows conn.log, dns.log"),
    ]
    return [
        Event(uid=hashed_uid("status", source, str(at)), tenant=DEFAULT_TENANT, time=at, source=source, class_uid=99_906_101, severity=3 if gap else 1, data=StatusData(status=status, gap_s=gap, detail=detail))
        for source, status, at, gap, detail in rows
    ]  # fmt: skip


def attack(core: TinyCore) -> list[Record]:
    """What the demo's button brings: findings of the doorbell, graver each time."""
    at = core.time
    name = "doorbell"
    me = uid_endpoint(name)
    flows: list[Record] = [
        _flow(me, Endpoint(ip=f"192.168.1.{30 + n}"), at + n / 100, 6, 23, 74, 54) for n in range(25)
    ]
    return [
        *flows,
        finding(name, "scan.ports", "Doorbell scans the site for telnet", "tried tcp/23 on 25 addresses in 2 s", 4, at, count=25, attack=("T1046",), simulated=True),
        finding(name, "login.bruteforce", "Doorbell tries default passwords on Storage", "12 different pairs in 3 s, all on the list that Mirai tries", 5, at, count=12, attack=("T1110.001",), target=uid_of("nas"), simulated=True),
    ]  # fmt: skip


@cache
def _password() -> str:
    return hash_password(PASSWORD, b"sixteen bytes ..")


def people() -> list[Record]:
    """The admin, Ann who approves, Olaf who operates, Vera who looks."""
    roles = {"admin": Role.ADMIN, "ann": Role.APPROVER, "olaf": Role.OPERATOR, "vera": Role.VIEWER}
    return [
        Principal(
            uid=user_uid(DEFAULT_TENANT, name),
            tenant=DEFAULT_TENANT,
            time=NOW - 40 * DAY,
            source="core",
            name=name,
            role=role,
            password=_password(),
            email=f"{name}@home.example",
        )
        for name, role in roles.items()
    ]


@cache
def _everything() -> tuple[tuple[Record, ...], tuple[Event, ...]]:
    site = Site(
        uid=Uid("home"),
        tenant=DEFAULT_TENANT,
        time=NOW - 41 * DAY,
        source="core",
        name="home",
        networks=("192.168.1.0/24",),
        description="Three rooms and a garage",
    )
    parts = (devices(), rules(), profiles(), findings(), cases(), actions(), people())
    return (site, *(record for part in parts for record in part)), tuple(events())


def empty_site(now: float = NOW) -> TinyCore:
    """A platform that has seen nothing yet; its users exist."""
    core = TinyCore(now, attack)
    core.control.commit(DEFAULT_TENANT, [Put(record) for record in people()])
    return core


def sample_site(now: float = NOW) -> TinyCore:
    """The sample home."""
    core = TinyCore(now, attack)
    control, happened = _everything()
    core.control.commit(DEFAULT_TENANT, [Put(record) for record in control])
    core.events.append(DEFAULT_TENANT, happened)
    core.response.adopt(control)
    core.take([])
    return core


def session_secret(core: TinyCore, user: str = "admin") -> str:
    """A session cookie's value, made without hashing a password."""
    owner = core.control.get(DEFAULT_TENANT, Principal, user_uid(DEFAULT_TENANT, user))
    assert owner is not None
    session, secret = make_session(owner, 43_200.0, link=False, random=secrets.token_bytes(32), now=core.time)
    core.control.commit(DEFAULT_TENANT, [Put(session)])
    return secret


def token_secret(core: TinyCore, user: str = "admin", scopes: tuple[str, ...] = ("*",)) -> str:
    """A token's secret."""
    owner = core.control.get(DEFAULT_TENANT, Principal, user_uid(DEFAULT_TENANT, user))
    assert owner is not None
    token, secret = make_token(
        owner, "test", scopes, 86_400.0, known=ALL_SCOPES, random=secrets.token_bytes(32), now=core.time
    )
    core.control.commit(DEFAULT_TENANT, [Put(token)])
    return secret


def link_secret(core: TinyCore, user: str = "admin") -> str:
    """The secret of a one-time login link."""
    return _ask(core, CreateLoginLink(user=user), principal=user_uid(DEFAULT_TENANT, "admin")).secret


def _ask(core: TinyCore, body: object, principal: str = "") -> object:
    uid = hashed_uid("sample", repr(body), str(len(core.audit())))
    role = Role.ADMIN if principal else Role.VIEWER
    answer = core.decide(
        Intent(uid=uid, tenant=DEFAULT_TENANT, principal=principal, role=role, time=core.time, body=body)
    )
    assert answer.ok, answer
    return answer
