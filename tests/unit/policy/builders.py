"""Profiles, approvals and flows in a profile's terms."""

from __future__ import annotations

from thingward.model.action import Approval
from thingward.model.device import Device
from thingward.model.ids import Tenant, Uid
from thingward.model.profile import Acl, MudProfile, PeerKind
from thingward.model.terms import FlowGroup, FlowTerms

NOW = 1_700_000_000.0
TENANT = Tenant("default")


def acl(
    peer: PeerKind = PeerKind.NAME, value: str = "api.vendor.example", proto: int = 6, port: int = 443, **more
) -> Acl:
    return Acl(direction=more.pop("direction", "out"), peer=peer, value=value, proto=proto, port=port, **more)


def profile(*acls: Acl, device: str = "d-cam", **more) -> MudProfile:
    return MudProfile(uid=Uid("p-1"), tenant=TENANT, time=NOW, source="learning", device=device, acls=acls, **more)


def device(uid: str = "d-cam", **more) -> Device:
    given = {"macs": ("b0:00:00:00:00:01",), "addresses": ("192.168.1.10",)} | more
    return Device(uid=Uid(uid), tenant=TENANT, time=NOW, source="inventory", **given)


def approval(
    *acls: Acl, uid: str = "a-1", device: str = "d-cam", time: float = NOW, state: str = "in_force"
) -> Approval:
    return Approval(
        uid=Uid(uid), tenant=TENANT, time=time, source="core", scope="device", target=device, device=device,
        profile="p-1", acls=acls, state=state,  # type: ignore[arg-type]
    )  # fmt: skip


def group(terms: FlowTerms, time: float = NOW, flows: int = 1, answered: int = 1) -> FlowGroup:
    return FlowGroup(
        terms=terms, cell=time, flows=flows, answered=answered, opened=flows, bytes=100, first=time, last=time
    )


def to_cloud(name: str = "api.vendor.example", port: int = 443, proto: int = 6) -> FlowTerms:
    return FlowTerms("out", proto, port, address="203.0.113.5", names=(name,) if name else ())
