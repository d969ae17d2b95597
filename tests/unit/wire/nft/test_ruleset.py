"""What approved profiles become in words of nftables."""

import pytest

from thingward.model.action import EnforcementEntry, EnforcementState
from thingward.model.errors import InvalidInput
from thingward.model.profile import Acl, PeerKind
from thingward.wire.nft import Ruleset, build_ruleset, render_dnsmasq, render_file, render_openwrt

CAMERA = "02:00:00:00:00:01"


def acl(peer: PeerKind, value: str, **fields: object) -> Acl:
    return Acl(**{"direction": "out", "proto": 6, "port": 443, "peer": peer, "value": value, **fields})  # type: ignore[arg-type]


def state(*acls: Acl, **fields: object) -> EnforcementState:
    entry = EnforcementEntry(device="d-camera", macs=(CAMERA,), addresses=("192.168.7.5",), acls=acls)
    known = {
        "roles": {"dns": ("192.168.7.1",), "gateway": ("192.168.7.1",)},
        "devices": {"d-hub": ("02:00:00:00:00:02", "192.168.7.6"), "d-mute": ("02:00:00:00:00:03",)},
        "networks": ("192.168.7.0/24",),
        "entries": (entry,),
    }
    return EnforcementState(version=1, **{**known, **fields})  # type: ignore[arg-type]


def rules(*acls: Acl, family: str = "inet", side: str = "out", tracked: bool = True) -> list[str]:
    """The rules of the camera's chain, without those that every device gets, and the final refusal."""
    families = ("inet", "bridge")
    marked = frozenset(families if tracked else ())
    bare = chain(build_ruleset({"t": state()}, tracked=marked), family, side)
    return [
        rule for rule in chain(build_ruleset({"t": state(*acls)}, tracked=marked), family, side) if rule not in bare
    ]


def chain(ruleset: Ruleset, family: str, side: str) -> tuple[str, ...]:
    table = next(table for table in ruleset.tables if table.family == family)
    return next(chain.rules for chain in table.chains if chain.name.startswith(f"{side}_"))


def test_a_device_is_known_by_its_hardware_address_and_what_no_entry_allows_is_refused() -> None:
    ruleset = build_ruleset({"t": state()})
    inet, bridge = ruleset.tables
    out = next(item for item in inet.maps if item.name == "devices_out")
    assert [key for key, _ in out.elements] == [CAMERA]
    for table in (inet, bridge):
        for item in table.chains:
            if item.name.startswith(("out_", "in_")):
                assert item.rules[-1].endswith("drop")
                assert "counter" in item.rules[-1]
    assert next(item for item in bridge.maps if item.name == "devices_in").elements[0][0] == CAMERA
    assert next(item for item in inet.maps if item.name == "devices_in4").elements[0][0] == "192.168.7.5"


def test_an_entry_says_who_begins_where_the_kernel_can_tell() -> None:
    entry = acl(PeerKind.DEVICE, "d-hub", port=1883)
    assert rules(entry) == ["ct direction original ip daddr 192.168.7.6 tcp dport 1883 return"]
    assert rules(entry, side="in") == ["ct direction reply ip saddr 192.168.7.6 tcp sport 1883 return"]
    asked = acl(PeerKind.DEVICE, "d-hub", port=80, direction="in")
    assert rules(asked, side="in") == ["ct direction original ip saddr 192.168.7.6 tcp dport 80 return"]
    assert rules(asked) == ["ct direction reply ip daddr 192.168.7.6 tcp sport 80 return"]


def test_neighbours_are_discovered_only_by_devices_that_speak_ipv6() -> None:
    def discovers(*acls: Acl) -> bool:
        ruleset = build_ruleset({"t": state(*acls)})
        return any("nd-neighbor" in rule for family in ("inet", "bridge") for rule in chain(ruleset, family, "out"))

    assert not discovers(acl(PeerKind.NAME, "api.cloud.example"), acl(PeerKind.ADDRESS, "192.0.2.0/24"))
    assert discovers(acl(PeerKind.ROLE, "nd", proto=58, port=0))
    assert discovers(acl(PeerKind.ADDRESS, "2001:db8::1"))
    assert discovers(acl(PeerKind.GROUP, "ff02::fb", proto=17, port=5353))


def test_addresses_are_asked_of_everybody_and_of_known_servers_and_whoever_answers_is_heard() -> None:
    entry = acl(PeerKind.ROLE, "dhcp", proto=17, port=67)
    assert rules(entry) == ["udp sport 68 udp dport 67 return"]
    roles = {"dhcp": ("192.168.7.1", "fe80::1")}
    known = chain(build_ruleset({"t": state(entry, roles=roles)}), "inet", "out")
    assert "ip daddr { 255.255.255.255, 192.168.7.1 } udp sport 68 udp dport 67 return" in known
    assert rules(entry, side="in") == ["udp sport 67 udp dport 68 return"]
    assert rules(acl(PeerKind.ROLE, "dhcp", proto=17, port=547)) == ["udp sport 546 udp dport 547 return"]


def test_without_connection_tracking_an_answer_may_not_open_a_connection() -> None:
    entry = acl(PeerKind.DEVICE, "d-hub", port=1883)
    assert rules(entry, family="bridge", tracked=False) == ["ip daddr 192.168.7.6 tcp dport 1883 return"]
    (answer,) = rules(entry, family="bridge", side="in", tracked=False)
    assert answer == "tcp flags & (syn | ack) != syn ip saddr 192.168.7.6 tcp sport 1883 return"


def test_a_name_is_a_set_that_the_resolver_fills_and_use_keeps_alive() -> None:
    ruleset = build_ruleset({"t": state(acl(PeerKind.NAME, "API.Cloud.Example.", addresses=("203.0.113.5",)))})
    (binding,) = ruleset.names
    assert binding.name == "api.cloud.example"
    first, second = rules(acl(PeerKind.NAME, "api.cloud.example"))
    assert first.startswith(f"ct direction original ip daddr @{binding.set4} ip daddr != @l4_")
    assert first.endswith(f"tcp dport 443 update @{binding.set4} {{ ip daddr }} return")
    assert second.startswith(f"ct direction original ip6 daddr @{binding.set6}")
    held = {item.name: item for item in ruleset.tables[0].sets}
    assert held[binding.set4].elements == ("203.0.113.5",)
    assert held[binding.set6].elements == ()
    assert held[binding.set4].timeout_s > 0


@pytest.mark.parametrize(
    ("value", "addresses", "guarded"),
    [
        ("cloud.example", (), True),
        ("nas.lan", (), False),
        ("nas", (), False),
        ("cloud.example", ("192.168.7.9",), False),
    ],
)
def test_a_cloud_name_does_not_open_the_site_itself(value: str, addresses: tuple[str, ...], guarded: bool) -> None:
    found = rules(acl(PeerKind.NAME, value, addresses=addresses))
    assert all(("!= @l" in rule) is guarded for rule in found)
    assert len(found) == 2


def test_a_name_that_the_resolver_never_hears_is_its_service_anywhere_outside_the_site() -> None:
    entry = acl(PeerKind.NAME, "doh.example", resolved=False)
    for rule in rules(entry):
        assert "daddr != @l" in rule
        assert "tcp dport 443 return" in rule
    assert build_ruleset({"t": state(entry)}).names == ()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (acl(PeerKind.ROLE, "dns", proto=17, port=53), ["ct direction original ip daddr 192.168.7.1 udp dport 53 return"]),
        (acl(PeerKind.ROLE, "dns", proto=17, port=0), ["ct direction original ip daddr 192.168.7.1 udp dport 53 return"]),
        (acl(PeerKind.ADDRESS, "198.51.100.0/24", port=0), ["ct direction original ip daddr 198.51.100.0/24 meta l4proto 6 return"]),
        (acl(PeerKind.ADDRESS, "198.51.100.7", port=5, port_to=9), ["ct direction original ip daddr 198.51.100.7 tcp dport 5-9 return"]),
        (acl(PeerKind.ADDRESS, "198.51.100.7", proto=-1, port=0), ["ct direction original ip daddr 198.51.100.7 return"]),
        (acl(PeerKind.GROUP, "224.0.0.9", proto=17, port=9), ["ip daddr 224.0.0.9 udp dport 9 return"]),
        (acl(PeerKind.GROUP, "255.255.255.255", proto=17, port=9), ["meta pkttype broadcast udp dport 9 return"]),
        (acl(PeerKind.ROLE, "arp", proto=-1, port=0), []),
        (acl(PeerKind.ROLE, "igmp", proto=2, port=0), ["ip protocol igmp return"]),
        (acl(PeerKind.GROUP, "ff:ff:ff:ff:ff:ff", proto=-1, port=0, ethertype=0x88E1), []),
    ],
)  # fmt: skip
def test_peers_and_services(entry: Acl, expected: list[str]) -> None:
    assert rules(entry) == expected


def test_frames_that_are_not_ip_are_the_bridges_matter() -> None:
    entry = acl(PeerKind.GROUP, "ff:ff:ff:ff:ff:ff", proto=-1, port=0, ethertype=0x88E1)
    assert rules(entry, family="bridge") == ["ether daddr ff:ff:ff:ff:ff:ff ether type 0x88e1 return"]
    (link,) = rules(acl(PeerKind.ROLE, "link", proto=-1, port=0), family="bridge")
    assert link.startswith("ether type {")


def test_a_router_is_never_matched_by_its_hardware_address() -> None:
    known = {"devices": {"d-router": ("02:00:00:00:00:01", "192.168.7.1")}}
    ruleset = build_ruleset({"t": state(acl(PeerKind.DEVICE, "d-router"), **known)})
    assert not any("ether daddr" in rule for rule in chain(ruleset, "bridge", "out"))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (acl(PeerKind.DEVICE, "d-gone"), "nobody at this site"),
        (acl(PeerKind.DEVICE, "d-mute"), "no IP address"),
        (acl(PeerKind.NAME, 'x"; flush ruleset; #'), "no DNS name"),
        (acl(PeerKind.ADDRESS, "1.2.3.4; flush ruleset"), "no address"),
        (acl(PeerKind.ADDRESS, "198.51.100.7", port=9, port_to=5), "ports"),
        (acl(PeerKind.ADDRESS, "198.51.100.7", port=70000), "ports"),
        (acl(PeerKind.ADDRESS, "198.51.100.7", proto=300, port=0), "protocol"),
        (acl(PeerKind.ADDRESS, "198.51.100.7", proto=47, port=7), "no ports"),
        (acl(PeerKind.ROLE, "nonsense"), "nobody at this site"),
    ],
)
def test_what_cannot_be_said_is_refused_and_told(entry: Acl, reason: str) -> None:
    assert rules(entry) == []
    skipped = build_ruleset({"t": state(entry)}).skipped
    assert any(reason in line and "d-camera" in line for line in skipped)


def test_an_address_that_two_devices_claim_stays_with_the_first() -> None:
    entries = tuple(EnforcementEntry(device=uid, macs=(CAMERA,), acls=()) for uid in ("d-1", "d-2"))
    ruleset = build_ruleset({"t": state(entries=entries)})
    assert len(next(item for item in ruleset.tables[0].maps if item.name == "devices_out").elements) == 1
    assert any("d-2" in line and "another device" in line for line in ruleset.skipped)


def test_a_device_without_an_address_of_its_own_is_not_enforced_and_told() -> None:
    entries = (EnforcementEntry(device="d-1", macs=("ff:ff:ff:ff:ff:ff",), addresses=("224.0.0.1",), acls=()),)
    ruleset = build_ruleset({"t": state(entries=entries)})
    assert not ruleset.counters
    assert any("no hardware or IP address" in line for line in ruleset.skipped)


def test_bounds_hold() -> None:
    many = tuple(acl(PeerKind.ADDRESS, "198.51.100.7", port=n + 1) for n in range(513))
    with pytest.raises(InvalidInput, match="512"):
        build_ruleset({"t": state(*many)})
    entries = tuple(EnforcementEntry(device=str(n), macs=(), acls=()) for n in range(4097))
    with pytest.raises(InvalidInput, match="4096"):
        build_ruleset({"t": state(entries=entries)})


def test_two_tenants_with_the_same_device_do_not_meet() -> None:
    other = EnforcementEntry(device="d-camera", macs=("02:00:00:00:00:09",), acls=())
    ruleset = build_ruleset({"a": state(), "b": state(entries=(other,))})
    chains = {chain.name for chain in ruleset.tables[0].chains if chain.name.startswith("out_")}
    assert len(chains) == 2


def test_the_dnsmasq_lines_fill_a_names_sets_and_those_of_the_wildcards_above() -> None:
    names = ("api.cloud.example", "*.cloud.example", "other.example")
    ruleset = build_ruleset({"t": state(*(acl(PeerKind.NAME, name) for name in names))})
    by_name = {item.name: item for item in ruleset.names}
    lines = {
        line.split("/")[1]: line for line in render_dnsmasq(ruleset.names).splitlines() if line.startswith("nftset")
    }
    assert set(lines) == {"api.cloud.example", "cloud.example", "other.example"}
    assert f"4#inet#thingward#{by_name['api.cloud.example'].set4}" in lines["api.cloud.example"]
    assert f"4#bridge#thingward#{by_name['*.cloud.example'].set4}" in lines["api.cloud.example"]
    assert by_name["api.cloud.example"].set4 not in lines["cloud.example"]
    assert all(len(line) < 1024 for line in lines.values())


def test_files_for_others_name_what_they_hold_and_how_to_remove_it() -> None:
    ruleset = build_ruleset({"t": state(acl(PeerKind.DEVICE, "d-gone"))})
    text = render_file(ruleset)
    assert "delete table inet thingward" in text
    assert "# Not enforced: d-camera: out device d-gone" in text
    assert "ruleset-post" in render_openwrt(ruleset)
    assert render_file(Ruleset(tables=())) == ""
