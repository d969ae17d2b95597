import msgspec
import pytest

from thingward.detection import triage
from thingward.detection.triage import TriageSettings, TriageStage, matches
from thingward.model.errors import InvalidInput
from thingward.model.finding import Finding, Suppression
from thingward.model.flow import Notify
from thingward.model.ids import DEFAULT_TENANT, Uid

DAY = 86_400.0
NOW = 20_000 * DAY


def finding(n=0, *, time=NOW, key="k", severity=4, **fields):
    return Finding(
        uid=Uid(f"f{n}-{time}-{key}"), tenant=DEFAULT_TENANT, time=time, source="t", rule=fields.pop("rule", "scan.hosts"),
        title=f"finding {n}", key=key, severity=severity, **fields,
    )  # fmt: skip


def suppression(uid="s1", **fields):
    return Suppression(uid=Uid(uid), tenant=fields.pop("tenant", DEFAULT_TENANT), time=NOW, source="core", **fields)


def alerts(stage, records):
    return [r for r in stage.feed(records, 0.0).records if r.is_alert]


def test_severity_and_confidence_decide():
    stage = TriageStage()
    records = [finding(0, key="a"), finding(1, key="b", severity=2), finding(2, key="c", confidence=0.2)]
    assert [f.key for f in alerts(stage, records)] == ["a"]


def test_repeats_are_quiet_unless_they_got_worse():
    stage = TriageStage()
    assert len(alerts(stage, [finding(0), finding(1, time=NOW + 60)])) == 1
    assert len(alerts(stage, [finding(2, time=NOW + 120, severity=5)])) == 1
    assert len(alerts(stage, [finding(3, time=NOW + 180, severity=5)])) == 0
    assert len(alerts(stage, [finding(4, time=NOW + 3900, severity=5)])) == 1


def test_flapping_is_said_once_and_ends_when_quiet():
    settings = TriageSettings(quiet_s=60.0, flap_count=3, flap_span_s=3600.0)
    stage = TriageStage(settings)
    found = alerts(stage, [finding(n, time=NOW + 61 * n) for n in range(20)])
    assert len(found) == 3
    assert "flapping" in found[2].reason
    assert "flapping" not in found[1].reason
    assert len(alerts(stage, [finding(98, time=NOW + 61 * 20 + 100, severity=5)])) == 1
    assert len(alerts(stage, [finding(99, time=NOW + 61 * 20 + 3700)])) == 1


def test_suppressed_findings_are_kept_and_marked():
    stage = TriageStage()
    said = suppression(rule="scan.*", device="d-scanner", reason="our own scanner", until=NOW + 10)
    assert stage.feed([said, suppression("s2", key="known")], NOW).records[0] == said, "it goes on to the ledger"
    records = stage.feed(
        [
            finding(0, device="d-scanner", key="a"),
            finding(1, device="d-other", key="b"),
            finding(2, device="d-scanner", key="c", time=NOW + 20),
            finding(3, key="known"),
        ],
        0.0,
    ).records
    assert [(r.is_alert, r.suppressed) for r in records] == [(False, True), (True, False), (True, False), (False, True)]


def test_suppressions_survive_a_snapshot_and_end_when_removed():
    stage = TriageStage()
    said = suppression(rule="scan.hosts")
    stage.feed([said], NOW)
    stage.restore(stage.snapshot())
    assert stage.feed([finding(0)], NOW).records[0].suppressed
    stage.feed([msgspec.structs.replace(said, removed=True)], NOW)
    assert not stage.feed([finding(1)], NOW).records[0].suppressed


def test_a_suppression_holds_for_its_own_tenant_only():
    stage = TriageStage()
    stage.feed([suppression(tenant="other")], NOW)
    assert not stage.feed([finding(0)], NOW).records[0].suppressed


def test_suppressions_that_are_over_are_forgotten_and_their_number_is_bounded(monkeypatch):
    monkeypatch.setattr(triage, "MAX_SUPPRESSIONS", 3)
    stage = TriageStage()
    stage.feed([suppression("old", until=NOW - 2 * DAY, rule="x")], NOW)
    assert b"old" not in stage.snapshot()
    stage.feed([suppression(f"s{n}", key=f"k{n}") for n in range(5)], NOW)
    assert [finding.suppressed for finding in stage.feed([finding(n, key=f"k{n}") for n in range(5)], NOW).records] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_the_budget_spares_people_but_not_for_severe_ones():
    stage = TriageStage(TriageSettings(daily_budget=3))
    mild = [finding(n, key=f"k{n}", severity=3) for n in range(10)]
    severe = [finding(n, key=f"s{n}", severity=4) for n in range(5)]
    assert len(alerts(stage, mild)) == 3
    assert len(alerts(stage, severe)) == 5
    commands = stage.tick(NOW + DAY).commands
    assert [type(c) for c in commands] == [Notify]
    assert commands[0].title == "7 findings beyond the daily alert budget"
    assert "finding 3" in commands[0].text
    assert stage.tick(NOW + DAY + 60).commands == []
    assert len(alerts(stage, [finding(11, key="next", severity=3, time=NOW + DAY)])) == 1


def test_the_next_day_also_comes_by_events():
    stage = TriageStage(TriageSettings(daily_budget=0))
    stage.feed([finding(0, severity=3)], 0.0)
    assert len(stage.feed([finding(1, key="x", severity=3, time=NOW + DAY)], 0.0).commands) == 1


def test_tenants_have_their_own_budget():
    stage = TriageStage(TriageSettings(daily_budget=1))
    other = msgspec.structs.replace(finding(1, severity=3), tenant="other")
    assert len(alerts(stage, [finding(0, severity=3), other])) == 2


def test_snapshot_goes_on_where_it_was():
    stage, other = TriageStage(), TriageStage()
    stage.feed([finding(0)], 0.0)
    other.restore(stage.snapshot())
    assert alerts(other, [finding(1, time=NOW + 5)]) == []
    with pytest.raises(InvalidInput):
        other.restore(b"nonsense")


def test_patterns():
    assert matches("scan.*", "scan.hosts")
    assert matches("*", "anything")
    assert matches("scan.hosts", "scan.hosts")
    assert not matches("scan.hosts", "scan.hosts2")
