from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.policy.builders import acl, profile
from thingward.inventory.defaults import SAFE_DEFAULTS
from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import BROADCAST
from thingward.policy.mud import MudError, parse_mud, render_mud


def document(matches: dict[str, Any], *, to_device: bool = False, action: str = "accept", **mud: Any) -> dict[str, Any]:
    policy = {"access-lists": {"access-list": [{"name": "one"}]}}
    ace = {"name": "a", "matches": matches, "actions": {"forwarding": action}}
    return {
        "ietf-mud:mud": {"mud-version": 1, ("to" if to_device else "from") + "-device-policy": policy} | mud,
        "ietf-access-control-list:acls": {
            "acl": [{"name": "one", "type": "ipv4-acl-type", "aces": {"ace": [ace]}}],
        },
    }


def read(found: Any) -> tuple[Acl, ...]:
    return parse_mud(found if isinstance(found, str | bytes) else json.dumps(found), device="d-1").profile.acls


def tcp(**ports: Any) -> dict[str, Any]:
    return {"ipv4": {"protocol": 6, "ietf-acldns:dst-dnsname": "api.vendor.example"}, "tcp": ports}


EQ = {"operator": "eq", "port": 443}


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        (tcp(**{"destination-port": EQ}), ("out", "name", "api.vendor.example", 6, 443, 0)),
        (tcp(**{"destination-port": EQ, "ietf-mud:direction-initiated": "from-device"}),
         ("out", "name", "api.vendor.example", 6, 443, 0)),
        (tcp(**{"source-port": EQ}), ("in", "name", "api.vendor.example", 6, 443, 0)),
        (tcp(**{"destination-port": {"lower-port": 10, "upper-port": 20}}),
         ("out", "name", "api.vendor.example", 6, 10, 20)),
        (tcp(**{"destination-port": {"operator": "gte", "port": 8000}}),
         ("out", "name", "api.vendor.example", 6, 8000, 65535)),
        (tcp(), ("out", "name", "api.vendor.example", 6, 0, 0)),
        ({"ipv4": {"protocol": "17", "destination-ipv4-network": "239.255.255.250/32"},
          "udp": {"destination-port": {"port": "1900"}}}, ("out", "role", "ssdp", 17, 1900, 0)),
        ({"ipv4": {"protocol": 17, "destination-ipv4-network": "255.255.255.255/32"},
          "udp": {"destination-port": {"port": 67}}}, ("out", "role", "dhcp", 17, 67, 0)),
        ({"ietf-mud:mud": {"controller": "urn:ietf:params:mud:dns"}, "ipv4": {"protocol": 17},
          "udp": {"destination-port": {"port": 53}}}, ("out", "role", "dns", 17, 53, 0)),
        ({"ietf-mud:mud": {"local-networks": [None]}}, ("out", "local", "", -1, 0, 0)),
        ({"ietf-mud:mud": {"same-manufacturer": [None]}}, ("out", "same-manufacturer", "", -1, 0, 0)),
        ({"ietf-mud:mud": {"my-controller": [None]}}, ("out", "controller", "my-controller", -1, 0, 0)),
        ({"ietf-mud:mud": {"controller": "https://x.example/c"}}, ("out", "controller", "https://x.example/c", -1, 0, 0)),
        ({"ipv4": {"protocol": 1}, "icmp": {"type": 8, "code": 0}}, ("out", "address", "0.0.0.0/0", 1, 0, 0)),
        ({"eth": {"ethertype": "0x888e"}}, ("out", "role", "link", -1, 0, 0)),
        ({"eth": {"ethertype": "0x0800", "destination-mac-address": "FF:FF:FF:FF:FF:FF"}},
         ("out", "group", BROADCAST, -1, 0, 0)),
    ],
)  # fmt: skip
def test_matches_are_read(matches: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (found,) = read(document(matches))
    assert (found.direction, found.peer.value, found.value, found.proto, found.port, found.port_to) == expected
    assert found.origin == "declared"


def test_answers_in_the_other_list_open_nothing_new() -> None:
    there = document(tcp(**{"destination-port": EQ}))
    back = {"ipv4": {"protocol": 6, "ietf-acldns:src-dnsname": "api.vendor.example"}, "tcp": {"source-port": EQ}}
    there["ietf-access-control-list:acls"]["acl"].append(
        {
            "name": "two",
            "type": "ipv4-acl-type",
            "aces": {"ace": [{"matches": back, "actions": {"forwarding": "accept"}}]},
        }
    )
    there["ietf-mud:mud"]["to-device-policy"] = {"access-lists": {"access-list": [{"name": "two"}]}}
    assert len(read(there)) == 1


def test_common_sloppiness_is_taken() -> None:
    sloppy = document(tcp(**{"destination-port": EQ}))
    sloppy["ietf-access-control-list:access-lists"] = sloppy.pop("ietf-access-control-list:acls")
    lists = sloppy["ietf-access-control-list:access-lists"]
    lists["acl"] = lists["acl"][0]
    lists["acl"]["aces"]["ace"] = lists["acl"]["aces"]["ace"][0]
    lists["acl"]["aces"]["ace"]["matches"]["ipv4"]["ietf-acldns:dst-dnsname"] = "API.Vendor.EXAMPLE."
    text = json.dumps(sloppy)
    assert [a.value for a in read(b"\xef\xbb\xbf" + text.encode())] == ["api.vendor.example"]
    assert read(json.dumps(text)) == read(text)


def without(found: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != key}


GOOD = document(tcp(**{"destination-port": EQ}))


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "the file is list"),
        (without(GOOD, "ietf-mud:mud"), "no `ietf-mud:mud`"),
        (without(GOOD, "ietf-access-control-list:acls"), "no `ietf-access-control-list:acls`"),
        (GOOD | {"ietf-mud:mud": {}}, "neither"),
        (GOOD | {"ietf-access-control-list:acls": {"acl": []}}, "'one', which is not in the file"),
        (GOOD | {"ietf-mud:mud": 7}, "ietf-mud:mud is int"),
        (document(tcp(**{"destination-port": {"port": "http"}})), "one/ace[0]/port: 'http' is no number"),
        (document(tcp(**{"destination-port": {"port": 70000}})), "no port range"),
        (document(tcp(**{"destination-port": {"operator": "neq", "port": 1}})), "must not match"),
        (document({"ipv4": {"protocol": 999}}), "no IP protocol 999"),
        (document({"ipv4": {"destination-ipv4-network": "300.1.1.1/8"}}), "no address"),
        (document({"ipv4": {"ietf-acldns:dst-dnsname": "a b"}}), "no DNS name"),
        (document({"vlan": {}}), "vlan, which is not known"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_with_the_place(broken: Any, place: str) -> None:
    with pytest.raises(MudError) as raised:
        read(broken)
    assert place in str(raised.value) and raised.value.code == "mud.invalid"


def test_a_drop_before_an_accept_is_refused_and_a_last_one_is_what_happens_anyway() -> None:
    found = document(tcp(**{"destination-port": EQ}))
    aces = found["ietf-access-control-list:acls"]["acl"][0]["aces"]["ace"]
    drop = {"name": "d", "matches": {}, "actions": {"forwarding": "drop"}}
    aces.append(drop)
    assert len(read(found)) == 1
    aces.insert(0, drop)
    with pytest.raises(MudError, match="drops before"):
        read(found)


def test_what_is_not_supported_is_noted() -> None:
    imported = parse_mud(json.dumps(document({"ietf-mud:mud": {"model": "https://x.example/m"}})), device="d-1")
    assert imported.profile.acls == () and "model" in imported.notes[0]


def test_a_learnt_profile_survives_the_round_trip() -> None:
    wanted = (
        acl(),
        acl(value="*.vendor.example"),
        acl(PeerKind.DEVICE, "d-7", 17, 5000, direction="in"),
        acl(PeerKind.GROUP, BROADCAST, 17, 6667),
        acl(PeerKind.ADDRESS, "203.0.113.0/24", 6, 1024, port_to=65535),
        acl(PeerKind.ROLE, "mdns", 17, 5353),
        acl(PeerKind.ROLE, "gateway", 6, 80),
        acl(PeerKind.LOCAL, "", 1, 0, direction="in"),
        acl(PeerKind.ADDRESS, "2001:db8::1", 58, 0),
    )
    text = render_mud(profile(*wanted, *SAFE_DEFAULTS, mud_url="https://vendor.example/cam"))
    again = parse_mud(text, device="d-cam", defaults=SAFE_DEFAULTS).profile

    def plain(acls: tuple[Acl, ...]) -> set[tuple[Any, ...]]:
        return {(a.direction, a.peer, a.value, a.proto, a.port, a.port_to, a.ethertype) for a in acls}

    assert plain(again.acls) == plain((*wanted, *SAFE_DEFAULTS))
    assert again.mud_url == "https://vendor.example/cam" and again.origin == "declared"
    assert "*" not in json.dumps([a["matches"] for acl in json.loads(text)["ietf-access-control-list:acls"]["acl"]
                                  for a in acl["aces"]["ace"]])  # fmt: skip


def test_a_wildcard_is_believed_for_its_own_domain_only() -> None:
    text = render_mud(profile(acl(value="*.vendor.example"))).replace('"vendor.example"', '"bank.example"')
    assert {a.value for a in parse_mud(text, device="d-1").profile.acls} == {"bank.example"}
