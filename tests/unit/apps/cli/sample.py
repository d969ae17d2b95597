"""A run of guard whose every text is hostile."""

from thingward.model.device import Device
from thingward.model.finding import Finding
from thingward.model.observation import CaptureData
from thingward.model.profile import Acl, MudProfile, PeerKind, Preview, Settledness
from thingward.ports.event_store import PeerRow, TrafficPoint
from thingward.runtime.guard_result import DeviceView, GuardResult, SourceReport

HOSTILE = '<script>alert(1)</script><img src=http://evil.example/x onerror="a\'b">[red]x[/red]'
OURS = {"tenant": "default", "time": 1_700_000_000.0, "source": "guard"}


def hostile_result() -> GuardResult:
    device = Device(
        uid="d1",
        **OURS,
        macs=("02:00:00:00:00:01", "02:00:00:00:00:02"),
        addresses=("192.168.1.20",),
        names=(HOSTILE,),
        maker=HOSTILE,
        model=HOSTILE,
        kind_reason=HOSTILE,
        conflicts=(HOSTILE,),
        identified=True,
    )
    acl = Acl(direction="out", peer=PeerKind.NAME, value=HOSTILE, proto=6, port=443, flows=3)
    settled = Settledness(flows=10, curve=((1, 1), (10, 2)), missing=(HOSTILE,))
    profile = MudProfile(uid="p1", **OURS, device="d1", acls=(acl,), settled=settled)
    preview = Preview(
        uid="v1",
        **OURS,
        device="d1",
        profile="p1",
        flows_learnt=5,
        flows_judged=5,
        warnings=(HOSTILE,),
        not_by_name=(HOSTILE,),
    )
    finding = Finding(uid="f1", **OURS, rule="scan.ports", title=HOSTILE, reason=HOSTILE, device="d1", severity=4)
    peer = PeerRow(
        peer=HOSTILE,
        is_device=False,
        proto=6,
        port=443,
        app=HOSTILE,
        outgoing=True,
        flows=1,
        bytes_out=10,
        bytes_in=20,
        first=1.0,
        last=2.0,
    )
    view = DeviceView(
        device=device,
        profile=profile,
        preview=preview,
        findings=(finding,),
        peers=(peer,),
        traffic=(TrafficPoint(1.0, 10, 20, 1, 1), TrafficPoint(2.0, 0, 5, 0, 1)),
    )
    data = CaptureData(
        file=HOSTILE, format="pcap", packets=10, malformed={HOSTILE: 2}, unknown_links={147: 1}, error=HOSTILE
    )
    return GuardResult(
        site=HOSTILE,
        tenant="default",
        version="0",
        sources=(SourceReport(source=HOSTILE, data=data),),
        views=(view,),
        findings=(finding,),
        dropped={HOSTILE: 1},
    )
