import msgspec
import pytest

from tests.unit.response.builders import (
    NOW,
    actions,
    applied,
    asked,
    cases,
    device,
    finding,
    fleet,
    limits,
    notified,
    of,
    outcome,
    released,
    rule,
)  # fmt: skip
from thingward.model.action import Action, ActionKind, ActionState, Approval, Outcome
from thingward.model.device import Device, Mode
from thingward.model.errors import Conflict, InvalidInput
from thingward.model.finding import CaseState, Finding
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.response.stage import ASK_AGAIN_S, ResponseStage


@pytest.fixture
def stage():
    stage = ResponseStage()
    stage.feed(fleet(), NOW)
    return stage


def quarantined(stage, dev="d-5", *, now=NOW):
    """Have a person shut a device out; gives the action in force."""
    plan = asked(stage, dev, now=now)
    stage.feed(plan.records, now)
    return actions(stage.feed([outcome(plan.records[0], time=now + 0.2, state_before="a" * 64)], now))[0]


def test_findings_of_one_matter_become_one_case(stage):
    first = stage.feed([finding(1), finding(2, rule="login.mirai_list", severity=5)], NOW)
    second = stage.feed([finding(3, rule="flood.syn", time=NOW + 9)], NOW + 9)
    assert len(cases(first)) == len(cases(second)) == 1
    case = cases(second)[0]
    assert case.uid == cases(first)[0].uid
    assert case.findings == ("f-1", "f-2", "f-3")
    assert case.severity == 5
    assert [note.kind for note in case.timeline] == ["finding"] * 3
    assert [f.case for f in of(Finding, first)] == [case.uid] * 2
    assert case.time == NOW + 9


def test_other_devices_and_other_matters_are_other_cases(stage):
    out = stage.feed(
        [finding(1), finding(2, dev="d-6"), finding(3, rule="login.default_credentials", class_uid=2002)], NOW
    )
    assert len(cases(out)) == 3


def test_what_is_no_alert_opens_no_case_but_joins_one(stage):
    assert cases(stage.feed([finding(1, is_alert=False)], NOW)) == []
    out = stage.feed([finding(2), finding(3, is_alert=False)], NOW)
    assert cases(out)[0].finding_count == 2
    assert len(cases(out)[0].timeline) == 1


def test_a_repeated_finding_counts_once(stage):
    stage.feed([finding(1)], NOW)
    out = stage.feed([finding(1)], NOW)
    assert cases(out) == []
    assert of(Finding, out)[0].case


def test_by_default_nothing_is_shut_out(stage):
    out = stage.feed([finding(n, dev=f"d-{n}", severity=5) for n in range(1, 20)], NOW)
    assert applied(out) == []
    assert actions(out) == []


def test_a_rule_that_a_person_enabled_acts_at_once(stage):
    stage.feed([rule()], NOW)
    out = stage.feed([finding(1)], NOW + 0.1)
    action = applied(out)[0]
    assert (action.kind, action.device, action.requested_by) == (ActionKind.QUARANTINE, "d-5", "rule:r-1")
    assert action.macs == ("02:00:00:00:00:05",)
    assert action.ttl_s == 600.0
    assert action.trigger_at == NOW - 0.5
    assert action.parents == ("f-1", "r-1")
    assert actions(out) == [action]
    assert cases(out)[0].actions == (action.uid,)


@pytest.mark.parametrize(
    "fields",
    [
        {"enabled": False},
        {"deleted": True},
        {"min_severity": 5},
        {"min_confidence": 0.99},
        {"rules": ("login.*",)},
        {"kinds": ("plug",)},
        {"site": "elsewhere"},
        {"action": ActionKind.NOTIFY},
    ],
)
def test_a_rule_that_does_not_fit_does_nothing(stage, fields):
    stage.feed([rule(**fields)], NOW)
    assert applied(stage.feed([finding(1)], NOW)) == []


def test_a_bare_star_means_what_suggests_it(stage):
    stage.feed([rule()], NOW)
    weak = finding(1, rule="login.default_credentials", suggested=())
    assert applied(stage.feed([weak], NOW)) == []
    stage.feed([rule(uid="r-2", rules=("login.default_credentials",))], NOW)
    assert len(applied(stage.feed([finding(2, rule="login.default_credentials", suggested=())], NOW))) == 1


def test_damping_spares_people_not_the_attacker(stage):
    stage.feed([rule()], NOW)
    assert len(applied(stage.feed([finding(1, is_alert=False)], NOW))) == 1
    assert applied(stage.feed([finding(2, dev="d-6", is_alert=False, suppressed=True)], NOW)) == []


def test_a_device_is_shut_out_once(stage):
    stage.feed([rule()], NOW)
    out = stage.feed([finding(1), finding(2, rule="flood.syn")], NOW)
    assert len(applied(out)) == 1
    assert applied(stage.feed([finding(3, rule="login.bruteforce")], NOW + 1)) == []


def test_refusals_of_rules_are_evidence_once_an_hour(stage):
    stage.feed([rule(), limits(never_block=("192.168.1.5",))], NOW)
    out = stage.feed([finding(1)], NOW)
    assert applied(out) == []
    assert [(a.state, "never-block" in a.refused) for a in actions(out)] == [(ActionState.REFUSED, True)]
    assert any("was not quarantined" in n.title for n in notified(out))
    assert actions(stage.feed([finding(2, rule="flood.syn")], NOW + 60)) == []
    assert len(actions(stage.feed([finding(3, rule="flood.udp")], NOW + 4000))) == 1


def test_the_outcome_closes_the_loop(stage):
    stage.feed([rule(), finding(1)], NOW)
    action = stage.situation("default").quarantines["d-5"]
    out = stage.feed([outcome(action, time=NOW + 0.3, state_before="b" * 64, state_after="c" * 64)], NOW + 0.3)
    held = actions(out)[0]
    assert (held.state, held.applied_at, held.expires) == (ActionState.IN_FORCE, NOW + 0.3, NOW + 600.3)
    assert cases(out)[0].state is CaseState.CONTAINED
    assert "0.800 s after the first packet" in cases(out)[0].timeline[-1].text
    assert [d.mode for d in of(Device, out)] == [Mode.QUARANTINE]
    assert [n.urgency for n in notified(out)] == [4]


def test_device_records_carry_the_mode_that_holds(stage):
    quarantined(stage)
    assert of(Device, stage.feed([device(5)], NOW))[0].mode is Mode.QUARANTINE
    assert of(Device, stage.feed([device(6)], NOW))[0].mode is Mode.OBSERVE
    approval = Approval(
        uid=Uid("p-1"), tenant=DEFAULT_TENANT, time=NOW, source="core", scope="device", target="d-6", device="d-6",
        profile="m-1",
    )  # fmt: skip
    out = stage.feed([approval], NOW)
    assert [(d.uid, d.mode) for d in of(Device, out)] == [("d-6", Mode.ENFORCE)]
    out = stage.feed([msgspec.structs.replace(approval, state="withdrawn")], NOW)
    assert [d.mode for d in of(Device, out)] == [Mode.OBSERVE]


def test_a_person_quarantines_and_releases(stage):
    held = quarantined(stage)
    plan = released(stage, "d-5", now=NOW + 60)
    out = stage.feed(plan.records, NOW + 60)
    assert [a.kind for a in applied(out)] == [ActionKind.RELEASE]
    done = stage.feed([outcome(plan.records[0], "undone", time=NOW + 60.1, state_after="a" * 64)], NOW + 60.1)
    assert {(a.kind, a.state) for a in actions(done)} == {
        (ActionKind.RELEASE, ActionState.UNDONE),
        (ActionKind.QUARANTINE, ActionState.UNDONE),
    }
    assert [d.mode for d in of(Device, done)] == [Mode.OBSERVE]
    assert stage.situation("default").quarantines == {}
    assert held.uid in {a.uid for a in actions(done)}
    with pytest.raises(Conflict):
        released(stage, "d-5")


@pytest.mark.parametrize(("after", "text"), [("a" * 64, "exactly what it was"), ("d" * 64, "is not what it was")])
def test_undo_says_whether_the_rules_are_what_they_were(stage, after, text):
    stage.feed([finding(1)], NOW)
    quarantined(stage)
    plan = released(stage, "d-5")
    stage.feed(plan.records, NOW + 1)
    out = stage.feed([outcome(plan.records[0], "undone", state_after=after)], NOW + 2)
    assert any(text in note.text for note in cases(out)[0].timeline)
    assert cases(out)[0].state is CaseState.OPEN


def test_a_quarantine_ends_by_itself(stage):
    stage.feed([finding(1)], NOW)
    quarantined(stage)
    assert actions(stage.tick(NOW + 599)) == []
    out = stage.tick(NOW + 601)
    assert [a.state for a in actions(out)] == [ActionState.EXPIRED]
    assert cases(out)[0].state is CaseState.OPEN
    assert [d.mode for d in of(Device, out)] == [Mode.OBSERVE]
    assert actions(stage.tick(NOW + 700)) == []


@pytest.mark.parametrize("status", ["failed", "refused"])
def test_what_the_enforcer_would_not_do_needs_a_person(stage, status):
    stage.feed([rule(), finding(1)], NOW)
    action = stage.situation("default").quarantines["d-5"]
    out = stage.feed([outcome(action, status, detail="no nftables here")], NOW)
    assert actions(out)[0].refused == "no nftables here"
    assert notified(out)[0].urgency == 5
    assert stage.situation("default").quarantines == {}


def test_silence_is_asked_again_then_failed_and_a_late_answer_counts(stage):
    plan = asked(stage, "d-5")
    stage.feed(plan.records, NOW)
    now, asks = NOW, 0
    for _ in range(200):
        now += 1
        out = stage.tick(now)
        asks += len(applied(out))
        if of(Outcome, out):
            break
    assert asks == len(ASK_AGAIN_S) - 1
    assert [a.state for a in actions(out)] == [ActionState.FAILED]
    late = stage.feed([outcome(plan.records[0], time=now + 5)], now + 5)
    assert [a.state for a in actions(late)] == [ActionState.IN_FORCE]
    assert "d-5" in stage.situation("default").quarantines


def test_an_intent_that_comes_twice_is_done_once(stage):
    plan = asked(stage, "d-5")
    assert len(applied(stage.feed(plan.records, NOW))) == 1
    assert applied(stage.feed(plan.records, NOW)) == []
    dry = msgspec.structs.replace(plan.records[0], uid=Uid("x-dry"), dry_run=True, device="d-6")
    assert applied(stage.feed([dry], NOW)) == []


def test_a_closed_case_stays_closed_and_the_next_alert_opens_another(stage):
    case = cases(stage.feed([finding(1)], NOW))[0]
    closed = msgspec.structs.replace(case, state=CaseState.CLOSED, closed=NOW + 1)
    out = stage.feed([closed], NOW + 1)
    assert cases(out) == [closed]
    again = cases(stage.feed([finding(2, time=NOW + 9)], NOW + 9))[0]
    assert again.uid != case.uid


def test_notifications_are_for_news_only(stage):
    first = notified(stage.feed([finding(1)], NOW))
    same = notified(stage.feed([finding(2, time=NOW + 1)], NOW + 1))
    other = notified(stage.feed([finding(3, rule="flood.syn")], NOW + 2))
    assert (len(first), len(same), len(other)) == (1, 0, 1)
    assert first[0].key == other[0].key
    assert first[0].urgency == 4


def test_findings_about_strangers_make_cases_of_the_target(stage):
    out = stage.feed([finding(1, dev="", target="d-7")], NOW)
    assert cases(out)[0].device == "d-7"
    assert applied(out) == []


def test_snapshot_goes_on_where_it_was(stage):
    stage.feed([rule(), limits(max_ttl_s=100.0), finding(1)], NOW)
    other = ResponseStage()
    other.restore(stage.snapshot())
    assert other.snapshot() == stage.snapshot()
    action = other.situation("default").quarantines["d-5"]
    assert action.ttl_s == 100.0
    assert [a.state for a in actions(other.feed([outcome(action)], NOW))] == [ActionState.IN_FORCE]
    with pytest.raises(InvalidInput):
        other.restore(b"nonsense")


def test_without_a_snapshot_it_takes_over_what_is_stored(stage):
    held = quarantined(stage)
    case = cases(stage.feed([finding(1)], NOW))[0]
    other = ResponseStage()
    other.adopt([*fleet(), held, case, rule()])
    assert other.situation("default").quarantines["d-5"].uid == held.uid
    again = cases(other.feed([finding(2, time=NOW + 5)], NOW + 5))[0]
    assert again.uid == case.uid
    assert [a.state for a in actions(other.tick(held.expires + 1))] == [ActionState.EXPIRED]


def test_a_merged_device_takes_its_quarantine_along(stage):
    held = quarantined(stage)
    stage.feed([device(5, merged_into="d-6", macs=(), addresses=()), device(6)], NOW)
    assert stage.situation("default").quarantines["d-6"].uid == held.uid
    stage.tick(held.expires + 1)
    assert stage.situation("default").quarantines == {}


def test_tenants_do_not_meet(stage):
    other = msgspec.structs.replace(rule(), tenant="other")
    stage.feed([other], NOW)
    assert applied(stage.feed([finding(1)], NOW)) == []


def test_the_timeline_is_bounded_and_keeps_the_beginning(stage):
    for n in range(400):
        out = stage.feed([finding(n, time=NOW + n)], NOW + n)
    case = cases(out)[0]
    assert len(case.timeline) == 200
    assert case.timeline[0].record == "f-0"
    assert case.timeline[-1].record == "f-399"
    assert case.finding_count == 400
    assert isinstance(case.actions, tuple)
    assert not [record for record in out.records if isinstance(record, Action)]


def test_a_case_is_called_after_its_gravest_alert(stage):
    out = stage.feed([finding(1, rule="policy.violation", severity=3)], NOW)
    assert cases(out)[0].title == "thing5: policy.violation by d-5"
    out = stage.feed([finding(2, severity=4), finding(3, rule="flood.syn", severity=4)], NOW)
    assert (cases(out)[0].title, cases(out)[0].severity) == ("thing5: scan.hosts by d-5", 4)
    out = stage.feed([finding(4, rule="login.mirai_list", severity=5, is_alert=False)], NOW)
    assert cases(out)[0].title == "thing5: scan.hosts by d-5"
