"""Exported MUD files are ones that a strict reader of RFC 8520 and RFC 8519 takes, and mean the same when read back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.standards.mud_structure import NotConforming, verify_mud_structure
from tests.unit.policy.builders import acl, profile
from thingward.model.profile import Acl, MudProfile, PeerKind
from thingward.model.terms import ICMP, ICMP6, TCP, UDP
from thingward.policy.mud import parse_mud, render_mud
from thingward.runtime.guard import GuardOptions, run_guard

LONG = ".".join(["a" * 60, "b" * 60, "vendor", "example"])

#: One of each sort that a profile may hold.
ENTRIES = (
    acl(peer=PeerKind.NAME, value="api.vendor.example", proto=TCP, port=443),
    acl(peer=PeerKind.NAME, value="*.cdn.vendor.example", proto=TCP, port=8000, port_to=8010),
    acl(peer=PeerKind.NAME, value=f"*.{LONG}", proto=UDP, port=443),
    acl(peer=PeerKind.ADDRESS, value="198.51.100.7", proto=UDP, port=123),
    acl(peer=PeerKind.ADDRESS, value="2001:db8::/48", proto=TCP, port=443),
    acl(direction="in", peer=PeerKind.LOCAL, value="", proto=TCP, port=80),
    acl(peer=PeerKind.LOCAL, value="", proto=ICMP),
    acl(peer=PeerKind.LOCAL, value="", proto=ICMP6),
    acl(peer=PeerKind.ROLE, value="dns", proto=UDP, port=53),
    acl(peer=PeerKind.ROLE, value="ntp", proto=UDP, port=123),
    acl(peer=PeerKind.ROLE, value="dhcp", proto=UDP, port=67),
    acl(peer=PeerKind.ROLE, value="mdns", proto=UDP, port=5353),
    acl(peer=PeerKind.ROLE, value="ssdp", proto=UDP, port=1900),
    acl(peer=PeerKind.ROLE, value="gateway", proto=TCP, port=80),
    acl(peer=PeerKind.SAME_MAKER, value="", proto=UDP, port=6666),
    acl(peer=PeerKind.SAME_MAKER, value="vendor.example", proto=UDP, port=6667),
    acl(peer=PeerKind.CONTROLLER, value="my-controller", proto=TCP, port=8883),
    acl(peer=PeerKind.CONTROLLER, value="https://vendor.example/hub", proto=TCP, port=8883),
    acl(peer=PeerKind.DEVICE, value="d-0123456789abcdef", proto=TCP, port=554),
    acl(peer=PeerKind.GROUP, value="01:80:c2:00:00:21", proto=-1, ethertype=0x893A),
)  # fmt: skip


def meant(found: MudProfile) -> set[tuple[Any, ...]]:
    """Give what a profile allows, without what every reader adds or leaves out."""
    return {(a.direction, a.peer.value, a.value, a.proto, a.port, a.port_to or a.port, a.ethertype) for a in found.acls}


def verify_export(found: MudProfile) -> None:
    """Check one profile's file, and that it means the same when it is read back: what is written again is the same."""
    text = render_mud(found)
    document = json.loads(text)
    verify_mud_structure(document)
    back = parse_mud(text, device=found.device)
    assert [note for note in back.notes if "refused" in note] == []
    again = json.loads(render_mud(back.profile))
    for name in ("ietf-mud:mud", "ietf-access-control-list:acls"):
        assert name in again
    assert meant(back.profile) == meant(parse_mud(render_mud(back.profile), device=found.device).profile)
    told = {entry for entry in meant(found) if entry[1] in ("name", "address", "device", "controller")}
    assert told <= meant(back.profile), told - meant(back.profile)
    kinds = {"role", "group", "local", "same-manufacturer", "name", "address", "device", "controller"}
    assert {entry[1] for entry in meant(back.profile)} <= kinds


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda a: f"{a.direction}-{a.peer.value}-{a.value[:20]}")
def test_each_sort_of_entry(entry: Acl) -> None:
    verify_export(profile(entry))


def test_all_sorts_in_one_file() -> None:
    verify_export(profile(*ENTRIES))


@pytest.mark.data
def test_profiles_learnt_from_captures(data_dir: Path) -> None:
    pairs = sorted((data_dir / "mud-pairs").glob("*/*.pcap*"))
    sentinel = [sorted(folder.glob("*.pcap"))[0] for folder in _folders(data_dir / "iot-sentinel")[::2]]
    assert len(pairs) >= 2 and len(sentinel) >= 5
    exported = 0
    for path in (*pairs, *sentinel):
        result = run_guard([str(path)], GuardOptions(site="home"))
        for view in result.views:
            if view.profile is not None and view.profile.acls:
                verify_export(view.profile)
                exported += 1
    assert exported > len(pairs) + len(sentinel)


def _folders(root: Path) -> list[Path]:
    return [folder for folder in sorted(root.rglob("*")) if folder.is_dir() and any(folder.glob("*.pcap"))]


def sample() -> dict[str, Any]:
    return json.loads(render_mud(profile(ENTRIES[0], ENTRIES[5])))


def first_ace(document: dict[str, Any]) -> dict[str, Any]:
    return document["ietf-access-control-list:acls"]["acl"][0]["aces"]["ace"][0]


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no time": lambda d: d["ietf-mud:mud"].pop("last-update"),
    "no https": lambda d: d["ietf-mud:mud"].update({"mud-url": "http://vendor.example/m.json"}),
    "cache too long": lambda d: d["ietf-mud:mud"].update({"cache-validity": 169}),
    "a list that is not there": lambda d: d["ietf-access-control-list:acls"]["acl"].clear(),
    "port as text": lambda d: first_ace(d)["matches"]["tcp"]["destination-port"].update({"port": "443"}),
    "name without module": lambda d: first_ace(d)["matches"]["ipv4"].update({"dst-dnsname": "a.example"}),
    "wildcard as a name": lambda d: first_ace(d)["matches"]["ipv4"].update({"ietf-acldns:dst-dnsname": "*.a.example"}),
    "direction at udp": lambda d: first_ace(d)["matches"].update(
        {"udp": {"ietf-mud:direction-initiated": "from-device"}}
    ),
    "reject": lambda d: first_ace(d)["actions"].update({"forwarding": "reject"}),
    "long name": lambda d: first_ace(d).update({"name": "x" * 65}),
    "ethertype as text": lambda d: first_ace(d)["matches"].update({"eth": {"ethertype": "0x888e"}}),
    "empty leaf": lambda d: first_ace(d)["matches"].update({"ietf-mud:mud": {"local-networks": True}}),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_the_check_itself_refuses(change: Callable[[dict[str, Any]], Any]) -> None:
    document = copy.deepcopy(sample())
    change(document)
    with pytest.raises(NotConforming):
        verify_mud_structure(document)
