"""The desk: roles, idempotency, audit, dry run, and each handler against the in-memory control store."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from thingward.adapters.control_store.memory import MemoryControlStore
from thingward.model import intent as intents
from thingward.model.action import Action, ActionState, Approval, Limits, ResponseRule
from thingward.model.codec import decode_batch
from thingward.model.device import Correction, Device
from thingward.model.finding import Case, CaseState
from thingward.model.intent import Answer, Intent
from thingward.model.principal import AuditEntry, Principal, Role, Session, SettingValue, Token
from thingward.model.profile import Acl, MudProfile, PeerKind, Settledness
from thingward.model.record import Record
from thingward.ports.control_store import Put
from thingward.response.bounds import Situation
from thingward.runtime.desk import Desk
from thingward.runtime.desk_identity import LOCK_S, MAX_FAILURES, current_limits, identity_handlers, user_uid
from thingward.runtime.desk_response import response_handlers

CAMERA = Device(
    uid="d-1",
    tenant="default",
    time=1.0,
    source="t",
    macs=("02:00:00:00:00:01",),
    addresses=("10.0.0.5",),
    kind="camera",
)
OTHERS = tuple(
    Device(uid=f"d-{index}", tenant="default", time=1.0, source="t", macs=(f"02:00:00:00:00:{index:02x}",))
    for index in range(2, 12)
)
PROFILE = MudProfile(
    uid="m-1",
    tenant="default",
    time=1.0,
    source="t",
    device="d-1",
    acls=(Acl(direction="out", peer=PeerKind.NAME, value="cloud.example", proto=6, port=443, flows=10),),
    settled=Settledness(is_settled=True, flows=100),
)
CASE = Case(uid="c-1", tenant="default", time=1.0, source="t", title="Scan", device="d-1", opened=1.0)


class House:
    """A desk with its store; records of an answer are put into the store like core does."""

    def __init__(self) -> None:
        self.store = MemoryControlStore()
        self.situation = Situation(devices={device.uid: device for device in (CAMERA, *OTHERS)})
        self.desk = Desk({**identity_handlers(), **response_handlers(lambda tenant: self.situation)})
        self.now = 1000.0
        self.count = itertools.count(1)
        self.put(CAMERA, *OTHERS, PROFILE, CASE)

    def put(self, *records: Record) -> None:
        self.store.commit("default", [Put(record) for record in records])

    def ask(
        self, body: Any, *, role: Role = Role.ADMIN, principal: str = "u-me", uid: str = ""
    ) -> tuple[Answer, tuple[Record, ...]]:
        intent = Intent(
            uid=uid or f"i{next(self.count)}",
            tenant="default",
            principal=principal,
            role=role,
            time=self.now,
            body=body,
        )
        answer, records = self.desk.handle(
            intent, self.store, random=lambda size: bytes([next(self.count) % 256]) * size, now=self.now
        )
        if records:
            self.put(*records)
        return answer, records


@pytest.fixture
def house() -> House:
    return House()


def of(records: tuple[Record, ...], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def test_refused_by_role_is_audited_and_changes_nothing(house: House) -> None:
    answer, records = house.ask(intents.QuarantineDevice(device="d-1", reason="r"), role=Role.VIEWER)
    assert not answer.ok and answer.code == "access.forbidden" and answer.status == 403
    (audit,) = records
    assert isinstance(audit, AuditEntry) and audit.result == "access.forbidden" and audit.target == "d-1"


def test_same_uid_is_done_once(house: House) -> None:
    body = intents.QuarantineDevice(device="d-1", reason="scans")
    first, records = house.ask(body, uid="same")
    second, nothing = house.ask(body, uid="same")
    assert first == second and records and not nothing


def test_dry_run_plans_and_leaves_no_record(house: House) -> None:
    answer, records = house.ask(intents.QuarantineDevice(device="d-1", reason="scans", dry_run=True))
    assert answer.ok and answer.plan and not records
    assert of(tuple(decode_batch(answer.records)), Action)


def test_quarantine_names_who_why_and_until_when(house: House) -> None:
    answer, records = house.ask(intents.QuarantineDevice(device="d-1", reason="scans", ttl_s=60.0))
    (action,) = of(records, Action)
    assert answer.ok and action.state is ActionState.REQUESTED
    assert (action.requested_by, action.reason, action.expires) == ("u-me", "scans", 1060.0)
    assert of(records, AuditEntry)[0].result == "ok"


def test_never_block_beats_force_and_says_so(house: House) -> None:
    limits = Limits(never_block=("02:00:00:00:00:01",))
    house.situation = msgspec.structs.replace(house.situation, limits=limits)
    answer, records = house.ask(intents.QuarantineDevice(device="d-1", reason="r", force=True))
    assert answer.code == "limit.exceeded" and "never" in answer.message and not of(records, Action)


def test_approve_then_withdraw(house: House) -> None:
    answer, records = house.ask(
        intents.ApproveProfiles(scope="device", target="d-1", profile="m-1"), role=Role.APPROVER
    )
    (approval,) = of(records, Approval)
    assert answer.ok and approval.by == "u-me" and approval.acls == PROFILE.acls
    answer, records = house.ask(intents.WithdrawApproval(approval=approval.uid, comment="moved"))
    (withdrawn,) = of(records, Approval)
    assert withdrawn.state == "withdrawn" and withdrawn.withdrawn_by == "u-me"
    answer, _ = house.ask(intents.WithdrawApproval(approval=approval.uid))
    assert answer.code == "record.conflict"


def test_approving_what_changed_since_is_a_conflict(house: House) -> None:
    answer, _ = house.ask(intents.ApproveProfiles(scope="device", target="d-1", profile="m-0"))
    assert answer.code == "record.conflict"


def test_correction_is_recorded(house: House) -> None:
    answer, records = house.ask(intents.EditDevice(device="d-1", label="Hall camera"))
    (correction,) = of(records, Correction)
    assert answer.ok and (correction.label, correction.kind, correction.by) == ("Hall camera", None, "u-me")
    assert house.ask(intents.EditDevice(device="d-1", merge_into="d-1"))[0].code == "input.invalid"
    assert house.ask(intents.EditDevice(device="none", label="x"))[0].code == "record.not_found"


def test_case_needs_a_resolution_and_can_be_reopened(house: House) -> None:
    assert house.ask(intents.UpdateCase(case="c-1", state="closed"))[0].code == "input.invalid"
    _, records = house.ask(intents.UpdateCase(case="c-1", state="closed", resolution="our scanner", note="checked"))
    (case,) = of(records, Case)
    assert case.state is CaseState.CLOSED and [note.by for note in case.timeline] == ["u-me", "u-me"]
    _, records = house.ask(intents.UpdateCase(case="c-1", state="open"))
    assert of(records, Case)[0].state is CaseState.OPEN


def test_rules_are_written_and_deleted_by_people(house: House) -> None:
    rule = ResponseRule(uid="", tenant="x", time=0.0, source="", name="Mirai", rules=("scan.*",), enabled=True)
    _, records = house.ask(intents.PutRule(rule=rule), role=Role.APPROVER)
    (stored,) = of(records, ResponseRule)
    assert stored.by == "u-me" and stored.tenant == "default" and stored.uid
    _, records = house.ask(intents.DeleteRule(rule=stored.uid))
    assert of(records, ResponseRule)[0].deleted and not of(records, ResponseRule)[0].enabled


def test_login_link_makes_the_first_admin_and_works_once(house: House) -> None:
    made, records = house.ask(intents.CreateLoginLink())
    assert of(records, Principal)[0].role is Role.ADMIN and made.secret.startswith("twl_")
    opened, records = house.ask(intents.CreateSession(link=made.secret), principal="", role=Role.VIEWER)
    assert opened.ok and opened.secret.startswith("tws_") and len(of(records, Session)) == 2
    again, _ = house.ask(intents.CreateSession(link=made.secret), principal="", role=Role.VIEWER)
    assert again.code == "access.unauthenticated"
    stored = b"".join(msgspec.json.encode(record) for record in house.store.page("default", Session).items)
    assert opened.secret.encode() not in stored and made.secret.encode() not in stored


def test_password_login_and_lock(house: House) -> None:
    house.ask(intents.PutUser(name="ana", role=Role.OPERATOR, password="correct horse battery"))
    good = intents.CreateSession(user="ana", password="correct horse battery")
    bad = intents.CreateSession(user="ana", password="wrong")

    def as_nobody(body: Any) -> Answer:
        return house.ask(body, principal="", role=Role.VIEWER)[0]

    assert as_nobody(good).ok
    for _ in range(MAX_FAILURES):
        assert as_nobody(bad).code == "access.unauthenticated"
    assert as_nobody(good).code == "limit.exceeded"
    house.now += LOCK_S + 1
    assert as_nobody(good).ok


def test_the_last_admin_stays(house: House) -> None:
    house.ask(intents.PutUser(name="root", role=Role.ADMIN))
    assert house.ask(intents.PutUser(name="root", role=Role.VIEWER))[0].code == "access.forbidden"
    house.ask(intents.PutUser(name="second", role=Role.ADMIN))
    assert house.ask(intents.PutUser(name="root", role=Role.VIEWER))[0].ok


def test_tokens_belong_to_their_owner(house: House) -> None:
    house.ask(intents.PutUser(name="ana", role=Role.VIEWER))
    ana = user_uid("default", "ana")
    body = intents.CreateToken(principal=ana, name="ci", scopes=("devices:read",))
    assert house.ask(body, principal="u-other", role=Role.OPERATOR)[0].code == "access.forbidden"
    made, records = house.ask(body, principal=ana, role=Role.VIEWER)
    (token,) = of(records, Token)
    assert made.secret.startswith("twt_") and made.secret not in str(token)
    assert house.ask(intents.RevokeToken(token=token.uid), principal="u-other", role=Role.OPERATOR)[0].status == 403
    assert of(house.ask(intents.RevokeToken(token=token.uid), principal=ana, role=Role.VIEWER)[1], Token)[0].revoked


def test_limits_and_settings(house: House) -> None:
    limits = Limits(fleet_share_per_hour=0.2, never_block=("10.0.0.1",))
    house.ask(intents.PutLimits(limits=limits))
    assert current_limits(house.store, "default", Limits()) == limits
    assert house.ask(intents.PutLimits(limits=Limits(fleet_share_per_hour=2.0)))[0].code == "input.invalid"
    _, records = house.ask(intents.PutSetting(name="notify.daily_budget", value="5"))
    assert of(records, SettingValue)[0].value == "5"
    for name, value in (("server.port", "1"), ("notify.daily_budget", "x"), ("notify.digest_hour", "24")):
        assert house.ask(intents.PutSetting(name=name, value=value))[0].code == "input.invalid"
