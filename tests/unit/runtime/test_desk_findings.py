"""People call findings expected: bounded, with a reason, audited, removable; never everything at once."""

from __future__ import annotations

import pytest

from tests.unit.runtime.test_desk import House, of
from thingward.model import intent as intents
from thingward.model.finding import Finding, Suppression
from thingward.model.principal import AuditEntry, Role
from thingward.runtime import desk_findings
from thingward.runtime.adopt import adopt_control
from thingward.runtime.stages import RoadPlan, build_stages


@pytest.fixture
def house() -> House:
    return House()


def expected(**fields: object) -> intents.SuppressFindings:
    return intents.SuppressFindings(**{"rule": "scan.*", "device": "d-1", "reason": "ours", **fields})  # type: ignore[arg-type]


def test_it_says_who_why_and_until_when(house: House) -> None:
    answer, records = house.ask(expected(ttl_s=86_400.0), role=Role.OPERATOR)
    assert answer.plan == ("findings of scan.* at device d-1 are kept and no alert, for 1.0 days",)
    (said,) = of(records, Suppression)
    assert (said.rule, said.device, said.reason, said.by, said.until) == ("scan.*", "d-1", "ours", "u-me", 87_400.0)
    (audit,) = of(records, AuditEntry)
    assert (audit.action, audit.target) == ("suppress_findings", "d-1")


def test_the_same_again_replaces_it_and_removal_stays_on_record(house: House) -> None:
    house.ask(expected(ttl_s=60.0))
    _, (said, _) = house.ask(expected(reason="still ours"))
    assert house.store.count("default", Suppression) == 1
    assert isinstance(said, Suppression)
    answer, (gone, audit) = house.ask(intents.RemoveSuppression(suppression=said.uid), principal="u-you")
    assert answer.ok
    assert isinstance(gone, Suppression)
    assert (gone.removed, gone.removed_by, gone.reason) == (True, "u-you", "still ours")
    assert isinstance(audit, AuditEntry)
    assert house.ask(intents.RemoveSuppression(suppression=said.uid))[0].status == 409
    assert house.ask(intents.RemoveSuppression(suppression="u-none"))[0].code == "record.not_found"


def test_every_device_needs_an_approver(house: House) -> None:
    assert house.ask(expected(device=""), role=Role.OPERATOR)[0].code == "access.forbidden"
    assert house.ask(expected(device=""), role=Role.APPROVER)[0].ok
    assert house.ask(expected(), role=Role.VIEWER)[0].code == "access.forbidden"


@pytest.mark.parametrize(
    "bad",
    [{"reason": " "}, {"rule": "Scan everything!"}, {"rule": "*", "device": ""}, {"ttl_s": -1.0}, {"ttl_s": 1e12},
     {"reason": "x" * 501}, {"rule": "*scan"}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(house: House, bad: dict[str, object]) -> None:
    assert house.ask(expected(**bad))[0].code == "input.invalid"


def test_unknown_devices_and_too_many_are_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert house.ask(expected(device="d-nobody"))[0].code == "record.not_found"
    monkeypatch.setattr(desk_findings, "MAX_SUPPRESSIONS", 1)
    assert house.ask(expected())[0].ok
    assert house.ask(expected(reason="again"))[0].ok
    assert not house.ask(expected(key="another"))[0].ok


def test_a_triage_that_lost_its_state_takes_suppressions_from_the_store(house: House) -> None:
    house.ask(expected())
    _, records = house.ask(expected(rule="login.*", ttl_s=60.0))
    (login, _) = records
    house.ask(intents.RemoveSuppression(suppression=login.uid))
    stages = build_stages(RoadPlan(maker_of=lambda mac: ""))
    adopt_control(stages, house.store, [stages.triage.name])
    found = [
        Finding(uid=f"f-{rule}", tenant="default", time=1.0, source="t", rule=rule, title="t", device="d-1")
        for rule in ("scan.ports", "login.bruteforce")
    ]
    assert [record.suppressed for record in of(tuple(stages.triage.feed(found, 1.0).records), Finding)] == [True, False]
