"""Events and devices for tests of rules, and a stage to feed them to."""

from thingward.detection.rules import Content
from thingward.detection.stage import DetectionStage
from thingward.detection.thresholds import Thresholds
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import DEFAULT_TENANT, Tenant, Uid, hashed_uid
from thingward.model.observation import CredentialData, Endpoint, FlowData, IdentityData, LeaseData, Observation
from thingward.sensing.normalise import normalise

NOW = 1_700_000_000.0
SYN, SYN_ACK, RST_ACK, ALL = 0x02, 0x12, 0x14, 0x1B
BOT = Endpoint(mac="02:00:00:00:00:09", ip="192.168.1.9", port=40000, device="d-bot")
THRESHOLDS = Thresholds()


def host(last, port=23, *, net="192.168.1", device=""):
    return Endpoint(ip=f"{net}.{last}", port=port, device=device)


def event(data, *, src=BOT, dst=None, time=NOW, name="", tenant=DEFAULT_TENANT, site="home"):
    observation = Observation(
        uid=hashed_uid("test", name or repr((data, src, dst, time))),
        tenant=Tenant(tenant),
        time=time,
        source="test",
        site=site,
        src=src,
        dst=dst,
        data=data,
    )
    return normalise(observation)


def flow(dst, *, src=BOT, time=NOW, state="new", proto=6, out=1, back=0, flags_out=SYN, flags_in=0, last=None, **more):
    data = FlowData(
        flow=Uid(f"{src.ip}:{src.port}>{dst.ip}:{dst.port}@{time}"),
        state=state,
        first=time,
        last=time if last is None else last,
        proto=proto,
        packets_out=out,
        bytes_out=more.pop("bytes_out", 60 * out),
        packets_in=back,
        bytes_in=60 * back,
        flags_out=flags_out if proto == 6 else 0,
        flags_in=flags_in if proto == 6 else 0,
        **more,
    )
    return event(data, src=src, dst=dst, time=data.last, name=f"{data.flow}{state}")


def login(dst, *, time=NOW, protocol="telnet", outcome="failure", src=BOT, **fields):
    return event(CredentialData(protocol=protocol, user="root", outcome=outcome, **fields), src=src, dst=dst, time=time)


def arp(mac, ip, *, time=NOW, asks="", device=""):
    dst = Endpoint(mac="ff:ff:ff:ff:ff:ff", ip=asks) if asks else None
    data = IdentityData(protocol="arp", attributes=(("arp.ip", ip),))
    return event(data, src=Endpoint(mac=mac, ip=ip, device=device), dst=dst, time=time)


def lease(client, server, *, time=NOW, message="offer"):
    return event(LeaseData(message=message), src=Endpoint(mac=client), dst=Endpoint(ip=server, port=67), time=time)


def device(uid="d-bot", **fields):
    defaults = {"macs": ("02:00:00:00:00:09",), "addresses": ("192.168.1.9",), "first_seen": NOW, "last_seen": NOW}
    return Device(uid=Uid(uid), tenant=DEFAULT_TENANT, time=NOW, source="inventory", **{**defaults, **fields})


def findings(records, *, content=None, stage=None):
    stage = stage or DetectionStage(content or Content())
    return [r for r in stage.feed(records, 0.0).records if isinstance(r, Finding)]


def rules(records, **more):
    return {finding.rule for finding in findings(records, **more)}


def is_event(record):
    return isinstance(record, Event)
