from __future__ import annotations

import pytest

from thingward.model.matching import AclIndex, name_patterns
from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import BROADCAST, FlowTerms, address_kind

CLOUD = "203.0.113.5"


def acl(
    peer: PeerKind = PeerKind.NAME, value: str = "api.vendor.example", proto: int = 6, port: int = 443, **more
) -> Acl:
    return Acl(direction=more.pop("direction", "out"), peer=peer, value=value, proto=proto, port=port, **more)


def terms(direction="out", proto=6, port=443, **more) -> FlowTerms:
    return FlowTerms(direction, proto, port, **more)


def allows(entry: Acl, flow: FlowTerms) -> bool:
    index: AclIndex[int] = AclIndex()
    index.add(entry, 1)
    return index.find(flow) == 1


NAMED = terms(names=("x.other.example", "api.vendor.example"), address=CLOUD)


@pytest.mark.parametrize(
    ("entry", "flow"),
    [
        (acl(), NAMED),
        (acl(value="API.Vendor.Example"), NAMED),
        (acl(value="*.vendor.example"), NAMED),
        (acl(port=0), NAMED),
        (acl(port=400, port_to=500), NAMED),
        (acl(proto=-1, port=0), NAMED),
        (acl(PeerKind.ADDRESS, CLOUD), NAMED),
        (acl(PeerKind.ADDRESS, "203.0.113.0/24"), NAMED),
        (acl(PeerKind.ADDRESS, "0.0.0.0/0"), NAMED),
        (acl(resolved=False), terms(claimed="api.vendor.example", address=CLOUD)),
        (acl(resolved=False, addresses=(CLOUD,)), terms(address=CLOUD)),
        (acl(PeerKind.DEVICE, "d-1"), terms(device="d-1")),
        (acl(PeerKind.LOCAL, ""), terms(device="d-1", address="203.0.113.9")),
        (acl(PeerKind.LOCAL, ""), terms(address="192.168.7.7")),
        (acl(PeerKind.ROLE, "gateway"), terms(roles=("dns", "gateway"), device="d-2")),
        (acl(PeerKind.GROUP, BROADCAST), terms(group=True, address=BROADCAST)),
        (acl(direction="in", port=5000), terms(names=("api.vendor.example",), port=40_000, flip_port=5000)),
    ],
)
def test_an_entry_allows(entry: Acl, flow: FlowTerms) -> None:
    assert allows(entry, flow)


@pytest.mark.parametrize(
    ("entry", "flow"),
    [
        (acl(direction="in"), NAMED),
        (acl(port=80), NAMED),
        (acl(proto=17), NAMED),
        (acl(port=444, port_to=500), NAMED),
        (acl(value="*.api.vendor.example.org"), NAMED),
        (acl(value="vendor.example"), NAMED),
        (acl(), terms(claimed="api.vendor.example", address=CLOUD)),
        (acl(addresses=(CLOUD,)), terms(address=CLOUD)),
        (acl(PeerKind.ADDRESS, "203.0.112.0/24"), NAMED),
        (acl(PeerKind.DEVICE, "d-2"), terms(device="d-1")),
        (acl(PeerKind.LOCAL, ""), NAMED),
        (acl(PeerKind.ROLE, "dns"), terms(roles=("gateway",))),
        (acl(PeerKind.ADDRESS, "0.0.0.0/0"), terms(proto=-1, port=0, ethertype=0x88CC, address=CLOUD)),
        (acl(proto=-1, port=0), terms(proto=-1, port=0, names=("api.vendor.example",), ethertype=0x88B5)),
        (acl(direction="in", port=5000), terms(names=("api.vendor.example",), port=40_000)),
    ],
)
def test_an_entry_does_not_allow(entry: Acl, flow: FlowTerms) -> None:
    assert not allows(entry, flow)


def test_discarding_takes_out_one_value_only() -> None:
    index: AclIndex[str] = AclIndex()
    index.add(acl(resolved=False, addresses=(CLOUD,)), (one := "one"))
    index.add(acl(port=80), "two")
    index.discard(acl(resolved=False, addresses=(CLOUD,)), one)
    assert index.find(NAMED) is None
    assert index.find(terms(claimed="api.vendor.example")) is None
    assert index.find(terms(names=("api.vendor.example",), port=80)) == "two"


def test_patterns_stop_before_a_single_label() -> None:
    assert list(name_patterns("a.b.example")) == ["a.b.example", "*.a.b.example", "*.b.example"]


@pytest.mark.parametrize(
    ("ip", "kind"),
    [
        ("192.168.1.1", "private"), ("100.64.0.1", "private"), ("fe80::1", "private"), ("fd00::1", "private"),
        ("203.0.113.5", "public"), ("2001:db8::1", "public"), ("100.128.0.1", "public"), ("172.32.0.1", "public"),
        ("224.0.0.251", "group"), ("255.255.255.255", "group"), ("ff02::1", "group"),
        ("0.0.0.0", "none"), ("::", "none"), ("", "none"), ("nonsense", "none"),
    ],
)  # fmt: skip
def test_address_kinds(ip: str, kind: str) -> None:
    assert address_kind(ip) == kind
