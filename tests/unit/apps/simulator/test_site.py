"""The sample site repeats itself and stays inside what is kept for documentation."""

import ipaddress

from thingward.apps.simulator.resolver import read_bindings
from thingward.apps.simulator.site import CLOUD_NETWORK, NETWORK, sample_site
from thingward.model.action import EnforcementEntry, EnforcementState
from thingward.model.profile import Acl, PeerKind
from thingward.wire.nft import build_ruleset, render_dnsmasq


def test_the_same_seed_is_the_same_site_and_another_is_another() -> None:
    assert sample_site(3) == sample_site(3)
    assert sample_site(3).names != sample_site(4).names
    assert [device.mac for device in sample_site(3).devices] == [device.mac for device in sample_site(4).devices]


def test_nobody_can_take_it_for_real() -> None:
    site = sample_site(1)
    assert all(name.endswith(".example") for name in site.names)
    cloud, home = ipaddress.ip_network(CLOUD_NETWORK), ipaddress.ip_network(NETWORK)
    assert all(ipaddress.ip_address(address) in cloud for given in site.names.values() for address in given)
    assert all(ipaddress.ip_address(device.address) in home for device in site.devices)


def test_devices_are_distinct_and_call_only_who_exists() -> None:
    site = sample_site(1)
    for field in ("key", "mac", "address", "hostname"):
        assert len({getattr(device, field) for device in site.devices}) == len(site.devices)
    for device in site.devices:
        for talk in device.talks:
            assert talk.peer in site.names or site.device(talk.peer.removeprefix("device:"))


def test_the_stand_in_reads_what_the_warden_writes(tmp_path) -> None:
    acl = Acl(direction="out", peer=PeerKind.NAME, value="api.cloud.example", proto=6, port=443)
    entry = EnforcementEntry(device="d", macs=("02:00:00:00:00:01",), acls=(acl,))
    ruleset = build_ruleset({"t": EnforcementState(version=1, entries=(entry,))})
    snippet = tmp_path / "snippet"
    snippet.write_text(render_dnsmasq(ruleset.names))
    bound = ruleset.names[0]
    assert read_bindings(snippet) == {
        "api.cloud.example": (f"inet thingward {bound.set4}", f"bridge thingward {bound.set4}")
    }
    assert read_bindings(tmp_path / "missing") == {}
