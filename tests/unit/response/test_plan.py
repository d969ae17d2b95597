import pytest

from tests.unit.response.builders import NOW, device, fleet, request
from thingward.model.action import Action, ActionState, Approval, Limits
from thingward.model.errors import Conflict, InvalidInput, NotFound
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.intent import ApproveProfiles
from thingward.model.profile import Acl, MudProfile, PeerKind, Settledness
from thingward.response.bounds import Situation, never_block_rule
from thingward.response.plan import duration, plan_approval, plan_quarantine, plan_release, plan_withdrawal
from thingward.response.rules import verify_rule

from tests.unit.response.builders import rule as response_rule  # isort: skip


def situation(devices=None, **fields):
    devices = fleet() if devices is None else devices
    return Situation(devices={d.uid: d for d in devices}, **fields)


def acl(value="example.org", **fields):
    return Acl(direction="out", peer=PeerKind.NAME, value=value, proto=6, port=443, **fields)


ACLS = (acl(),)


def profile(n, *, settled=True, version=1, acls=ACLS, **fields):
    return MudProfile(
        uid=Uid(f"m-{n}-{version}"), tenant=DEFAULT_TENANT, time=NOW, source="learning", device=f"d-{n}", version=version,
        acls=acls, settled=Settledness(is_settled=settled, missing=() if settled else ("seen for 2 h of 24 h",)), **fields,
    )  # fmt: skip


def test_the_plan_says_what_it_does_and_how_it_ends():
    plan = plan_quarantine(situation(), device(5), request(), ttl_s=3600.0)
    text = "\n".join(plan.lines)
    for part in ("02:00:00:00:00:05", "192.168.1.5", "for 1 h", "5% of home", "undo"):
        assert part in text
    again = plan_quarantine(situation(), device(5), request(), ttl_s=3600.0)
    assert again == plan


def test_the_time_is_bounded():
    plan = plan_quarantine(situation(limits=Limits(max_ttl_s=600.0)), device(5), request(), ttl_s=9e9)
    assert plan.records[0].ttl_s == 600.0
    assert any("the limit is 10 min" in line for line in plan.lines)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput):
            plan_quarantine(situation(), device(5), request(), ttl_s=bad)


@pytest.mark.parametrize(
    ("never", "hit"),
    [
        (("192.168.1.5",), True),
        (("192.168.1.0/29",), True),
        (("02:00:00:00:00:05",), True),
        (("02:00:00:00:00:05".upper(),), True),
        (("fe80::5",), True),
        (("192.168.1.6", "10.0.0.0/8"), False),
        (("nonsense", ""), False),
    ],
)
def test_never_block_cannot_be_forced(never, hit):
    target = device(5, addresses=("192.168.1.5", "fe80::5"))
    held = situation([target, *fleet(4)], limits=Limits(never_block=never))
    plan = plan_quarantine(held, target, request(), ttl_s=60.0, force=True)
    assert (plan.refusal is not None) == hit
    if hit:
        assert not plan.refusal.can_force
        assert [r.state for r in plan.records] == [ActionState.REFUSED]


@pytest.mark.parametrize("role", ["gateway", "resolver"])
def test_vital_roles_are_never_shut_out(role):
    plan = plan_quarantine(situation(), device(5, role=role), request(), ttl_s=60.0, force=True)
    assert role in plan.refusal.reason
    shared = [device(1, role=role, macs=("02:00:00:00:00:05",)), device(5)]
    assert plan_quarantine(situation(shared), shared[1], request(), ttl_s=60.0, force=True).refusal
    assert plan_quarantine(situation(), device(5, role="server"), request(), ttl_s=60.0).refusal is None


def test_a_shared_hardware_address_protects_too():
    devices = [device(1, macs=("02:00:00:00:00:05",)), device(5)]
    held = situation(devices, limits=Limits(never_block=("192.168.1.1",)))
    assert "shares" in plan_quarantine(held, devices[1], request(), ttl_s=60.0, force=True).refusal.reason


def test_groups_merged_and_nameless_records_are_no_targets():
    for odd in (device(5, group=True), device(5, merged_into="d-6"), device(5, macs=(), addresses=())):
        assert plan_quarantine(situation(), odd, request(), ttl_s=60.0, force=True).refusal is not None


def test_an_address_that_somebody_else_has_now_is_left_out():
    moved = device(5, addresses=("192.168.1.5", "192.168.1.7"))
    plan = plan_quarantine(situation([moved, *fleet(8)]), moved, request(), ttl_s=60.0)
    assert plan.records[0].addresses == ("192.168.1.5",)


def test_the_share_per_hour_can_be_forced_by_a_person():
    starts = {"home": ((NOW - 10, "d-1"), (NOW - 20, "d-2"), (NOW - 4000, "d-3"))}
    held = situation(starts=starts)
    plan = plan_quarantine(held, device(5), request(), ttl_s=60.0)
    assert plan.refusal.can_force
    assert "2 of 20 devices" in plan.refusal.reason
    assert plan_quarantine(held, device(5), request(), ttl_s=60.0, force=True).refusal is None
    assert plan_quarantine(held, device(1), request(), ttl_s=60.0).refusal is None
    small = situation(fleet(3), starts={"home": ()})
    assert plan_quarantine(small, device(1), request(), ttl_s=60.0).refusal is None


def test_twice_is_a_conflict_and_release_needs_a_quarantine():
    action = plan_quarantine(situation(), device(5), request(), ttl_s=60.0).records[0]
    held = situation(quarantines={"d-5": action})
    assert "already" in plan_quarantine(held, device(5), request(), ttl_s=60.0, force=True).refusal.reason
    undo = plan_release(held, device(5), request("i-2")).records[0]
    assert (undo.macs, undo.addresses, undo.parents[0]) == (action.macs, action.addresses, action.uid)
    with pytest.raises(Conflict):
        plan_release(situation(), device(5), request())


def test_blast_radius_names_who_else_is_hit():
    twins = [device(5), device(6, macs=("02:00:00:00:00:05",), role="server")]
    action = plan_quarantine(situation(twins), twins[0], request(), ttl_s=60.0).records[0]
    assert isinstance(action, Action)
    assert action.blast.devices == 2
    assert action.blast.services == ("server",)
    assert "thing6" in action.blast.warnings[0]
    bare = device(7, macs=())
    assert plan_quarantine(situation([bare]), bare, request(), ttl_s=60.0).records[0].blast.warnings


def test_only_settled_profiles_unless_asked():
    profiles = {"d-1": profile(1), "d-2": profile(2, settled=False)}
    body = ApproveProfiles(scope="kind", target="camera")
    plan = plan_approval(body, situation(fleet(3)), profiles, {}, request())
    assert [r.device for r in plan.records] == ["d-1"]
    assert any("not settled: seen for 2 h of 24 h" in line for line in plan.lines)
    assert any("thing3: left out: no profile yet" in line for line in plan.lines)
    wide = ApproveProfiles(scope="site", target="home", include_unsettled=True)
    assert [r.device for r in plan_approval(wide, situation(fleet(3)), profiles, {}, request()).records] == [
        "d-1",
        "d-2",
    ]


def test_the_approval_says_who_what_and_the_difference():
    old = profile(1, acls=(acl("a.example"), acl("b.example", flows=3)))
    body = ApproveProfiles(scope="device", target="d-1", profile=old.uid, comment="looks right")
    first = plan_approval(body, situation(), {"d-1": old}, {}, request()).records[0]
    assert (first.by, first.comment, first.added, first.removed, first.acls) == ("kim", "looks right", 2, 0, old.acls)
    new = profile(1, version=2, acls=(acl("b.example", flows=9), acl("c.example")))
    body = ApproveProfiles(scope="device", target="d-1", profile=new.uid)
    records = plan_approval(body, situation(), {"d-1": new}, {"d-1": first}, request("i-2")).records
    assert [r.state for r in records] == ["superseded", "in_force"]
    assert (records[1].added, records[1].removed) == (1, 1)
    assert records[0].uid == first.uid


def test_what_cannot_be_approved_says_why():
    body = ApproveProfiles(scope="device", target="d-1", profile="m-old")
    with pytest.raises(Conflict, match="changed since"):
        plan_approval(body, situation(), {"d-1": profile(1)}, {}, request())
    with pytest.raises(NotFound):
        plan_approval(ApproveProfiles(scope="device", target="d-99"), situation(), {}, {}, request())
    with pytest.raises(NotFound):
        plan_approval(ApproveProfiles(scope="device", target="d-1"), situation(), {}, {}, request())
    body = ApproveProfiles(scope="device", target="d-1")
    for devices, held in (
        ([device(1, role="gateway")], {}),
        ([device(1, macs=())], {}),
        ([device(1)], {"limits": Limits(never_block=("192.168.1.1",))}),
    ):
        with pytest.raises(Conflict, match="nothing can be approved"):
            plan_approval(body, situation(devices, **held), {"d-1": profile(1)}, {}, request())
    with pytest.raises(Conflict, match="no entries"):
        plan_approval(body, situation(), {"d-1": profile(1, acls=())}, {}, request())


def test_the_same_again_is_no_news():
    body = ApproveProfiles(scope="device", target="d-1")
    first = plan_approval(body, situation(), {"d-1": profile(1)}, {}, request()).records[0]
    with pytest.raises(Conflict, match="already in force"):
        plan_approval(body, situation(), {"d-1": profile(1, version=2)}, {"d-1": first}, request())
    # The device asks another resolver now: the rules would be others, so it is news.
    other = profile(1, version=2, acls=(acl(resolved=False),))
    changed = plan_approval(body, situation(), {"d-1": other}, {"d-1": first}, request("i-2")).records[1]
    assert (changed.added, changed.removed) == (1, 1)


def test_withdrawing():
    approval = Approval(
        uid=Uid("p-1"), tenant=DEFAULT_TENANT, time=NOW, source="core", scope="device", target="d-1", device="d-1",
        profile="m-1",
    )  # fmt: skip
    gone = plan_withdrawal(approval, device(1), request(reason="breaks it")).records[0]
    assert (gone.state, gone.withdrawn_by, gone.withdrawn_at, gone.uid) == ("withdrawn", "kim", NOW, "p-1")
    with pytest.raises(Conflict):
        plan_withdrawal(gone, None, request())


@pytest.mark.parametrize(
    "fields",
    [{"name": " "}, {"ttl_s": 1.0}, {"ttl_s": 9e9}, {"rules": ()}, {"rules": ("",)}, {"min_severity": 9},
     {"min_confidence": 2.0}, {"action": "enforce"}],
)  # fmt: skip
def test_rules_that_cannot_act_are_refused(fields):
    verify_rule(response_rule(), Limits())
    with pytest.raises(InvalidInput):
        verify_rule(response_rule(**fields), Limits())


def test_durations_are_for_people():
    assert [duration(s) for s in (45.0, 600.0, 3600.0, 86_400.0, 5400.0)] == ["45 s", "10 min", "1 h", "1 d", "90 min"]


def test_never_block_finds_networks_and_exact_values():
    assert never_block_rule(("10.0.0.0/8", "fe80::/10"), ["192.168.1.1", "fe80::1"]) == "fe80::/10"
    assert never_block_rule(("10.0.0.0/8",), ["192.168.1.1", "02:00:00:00:00:01"]) == ""
