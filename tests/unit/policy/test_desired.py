from __future__ import annotations

import msgspec

from tests.unit.policy.builders import NOW, acl, approval, device
from thingward.model.profile import PeerKind
from thingward.policy.desired import approvals_in_force, desired_state
from thingward.policy.diff import diff_acls

BULB = device("d-bulb", macs=("b0:00:00:00:00:02",), addresses=("192.168.1.11",), maker="Acme")
ROUTER = device("d-router", macs=("b0:00:00:00:00:fe",), addresses=("192.168.1.1",), role="gateway")
ROLES = {"dns": ("192.168.1.1",), "ntp": ("192.168.1.1", "pool.ntp.org")}


def test_the_newest_approval_in_force_counts() -> None:
    old, new = approval(uid="a-1"), approval(uid="a-2", time=NOW + 1)
    assert approvals_in_force([new, old])["d-cam"].uid == "a-2"
    withdrawn = msgspec.structs.replace(new, state="withdrawn")
    assert approvals_in_force([old, withdrawn]) == {}
    assert approvals_in_force([msgspec.structs.replace(old, state="withdrawn"), new])["d-cam"].uid == "a-2"


def test_approvals_are_bound_to_present_addresses() -> None:
    state = desired_state([approval(acl())], [device(), BULB], ROLES, version=3, networks=("10.9.0.0/16",))
    (entry,) = state.entries
    assert (entry.device, entry.macs, entry.addresses) == ("d-cam", ("b0:00:00:00:00:01",), ("192.168.1.10",))
    assert state.version == 3 and state.networks == ("10.9.0.0/16",)


def test_gateways_groups_and_unknown_devices_are_never_shut_in() -> None:
    everybody = device("d-all", macs=("ff:ff:ff:ff:ff:ff",), group=True)
    approvals = [approval(acl(), uid=uid, device=uid) for uid in ("d-router", "d-all", "d-gone")]
    assert desired_state(approvals, [ROUTER, everybody], ROLES).entries == ()


def test_time_services_become_names_and_roles_hold_addresses_only() -> None:
    state = desired_state([approval(acl(PeerKind.ROLE, "ntp", 17, 123))], [device()], ROLES)
    assert {(item.peer, item.value) for item in state.entries[0].acls} == {
        (PeerKind.ROLE, "ntp"),
        (PeerKind.NAME, "*.pool.ntp.org"),
    }
    assert state.roles["ntp"] == ("192.168.1.1",)


def test_entries_that_name_devices_bring_their_addresses() -> None:
    acls = (acl(PeerKind.DEVICE, "d-bulb"), acl(PeerKind.SAME_MAKER, "acme", 6, 80), acl(PeerKind.DEVICE, "d-gone"))
    state = desired_state([approval(*acls)], [device(), BULB], ROLES)
    assert state.devices == {"d-bulb": ("b0:00:00:00:00:02", "192.168.1.11")}
    assert [item.value for item in state.entries[0].acls] == ["d-bulb", "d-bulb", "d-gone"]


def test_an_absorbed_devices_approval_counts_for_the_one_that_stands() -> None:
    absorbed = device("d-old", macs=(), addresses=(), merged_into="d-cam")
    state = desired_state([approval(acl(), device="d-old")], [device(), absorbed], ROLES)
    assert [entry.device for entry in state.entries] == ["d-cam"]


def test_a_diff_ignores_figures_of_use() -> None:
    used = acl(flows=9, first=1.0, last=2.0, days=3, addresses=("203.0.113.5",))
    assert diff_acls([used], [acl()]).is_empty
    changed = diff_acls([acl(), acl(port=80)], [acl(), acl(port=22)])
    assert [item.port for item in changed.added] == [80] and [item.port for item in changed.removed] == [22]
    assert [item.port for item in changed.kept] == [443] and not changed.is_empty
    assert not diff_acls([acl(resolved=False)], [acl()]).is_empty


def test_names_of_a_device_with_a_resolver_of_its_own_do_not_rest_on_ours() -> None:
    cloud = acl(PeerKind.NAME, "cloud.example", port=443)
    own = acl(PeerKind.ADDRESS, "8.8.8.8", proto=17, port=53)
    here = [device()]
    (with_ours,) = desired_state([approval(cloud)], here, {}).entries
    (with_its_own,) = desired_state([approval(cloud, own)], here, {}).entries
    assert [entry.resolved for entry in with_ours.acls if entry.peer is PeerKind.NAME] == [True]
    assert [entry.resolved for entry in with_its_own.acls if entry.peer is PeerKind.NAME] == [False]
