"""What is forgotten after its time, and what never is."""

from __future__ import annotations

from typing import Any

import pytest

from thingward.adapters.control_store.memory import MemoryControlStore
from thingward.apps.core import retention
from thingward.apps.core.retention import DAY_S, Ages, outdated
from thingward.assurance.ledger import LedgerStage, verify_chain
from thingward.assurance.service import read_ledger
from thingward.model.action import Action, ActionKind, ActionState, Approval, Outcome
from thingward.model.finding import Case, CaseState, Finding, Suppression
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.principal import AuditEntry, LedgerEntry, Session
from thingward.model.profile import MudProfile
from thingward.model.record import Record
from thingward.ports.control_store import Delete, Put

NOW = 1_800_000_000.0
AGES = Ages(retention_days=30.0, finding_days=100.0, case_days=200.0)


def made(uid: str, days: float) -> dict[str, Any]:
    return {"uid": Uid(uid), "tenant": DEFAULT_TENANT, "time": NOW - days * DAY_S, "source": "t"}


def case(uid: str, days: float, state: CaseState = CaseState.CLOSED) -> Case:
    at = NOW - days * DAY_S
    return Case(**made(uid, days), title="c", state=state, opened=at, updated=at, closed=at)


def finding(uid: str, days: float, case: str = "") -> Finding:
    return Finding(**made(uid, days), rule="scan.ports", title="f", case=case)


def action(uid: str, days: float, state: ActionState, case: str = "") -> Action:
    fields = {"kind": ActionKind.QUARANTINE, "device": "d", "state": state, "case": case}
    return Action(**made(uid, days), **fields)


def profile(uid: str, days: float, device: str = "d-1") -> MudProfile:
    return MudProfile(**made(uid, days), device=device)


def store_of(*records: Record) -> MemoryControlStore:
    store = MemoryControlStore()
    store.commit(DEFAULT_TENANT, [Put(record) for record in records])
    return store


def gone(store: MemoryControlStore, ages: Ages = AGES) -> set[str]:
    found = outdated(store, DEFAULT_TENANT, NOW, ages)
    store.commit(DEFAULT_TENANT, [Delete(kind, uid) for kind, uid in found])
    return {uid for _, uid in found}


def test_closed_cases_go_after_their_time_and_take_their_findings_along() -> None:
    store = store_of(
        case("old", 300), case("young", 150), case("open", 900, CaseState.OPEN), case("held", 900, CaseState.CONTAINED),
        finding("of-old", 300, "old"), finding("of-open", 900, "open"), finding("alone", 150), finding("new", 50),
        finding("of-nothing", 150, "no-case"),
    )  # fmt: skip
    assert gone(store) == {"old", "alone", "of-nothing"}
    assert gone(store) == {"of-old"}, "an hour later"
    assert gone(store) == set()


def test_actions_go_when_they_are_over_and_nothing_in_force_ever_does() -> None:
    store = store_of(
        action("undone", 300, ActionState.UNDONE), action("in-force", 900, ActionState.IN_FORCE),
        action("in-case", 300, ActionState.EXPIRED, "open"), case("open", 900, CaseState.OPEN),
        Outcome(**made("o-1", 300), action="undone", status="applied"),
        Outcome(**made("o-2", 300), action="in-force", status="applied"),
    )  # fmt: skip
    assert gone(store) == {"undone"}
    assert gone(store) == {"o-1"}


def test_old_versions_of_profiles_go_but_not_the_newest_nor_what_is_approved() -> None:
    approval = Approval(**made("a-1", 90), device="d-1", profile="p-2", scope="device", target="d-1", by="u", acls=())
    store = store_of(
        profile("p-1", 100), profile("p-2", 90), profile("p-3", 60), profile("p-4", 40), profile("other", 400, "d-2"),
        approval,
    )  # fmt: skip
    assert gone(store) == {"p-1", "p-3"}


def test_proof_is_never_forgotten_and_the_chain_still_holds() -> None:
    stage = LedgerStage()
    old = [finding(f"f-{n}", 500 - n) for n in range(5)]
    audit = AuditEntry(**made("audit", 5000), principal="u", action="put_rule")
    links = [r for r in stage.feed([*old, audit], NOW).records if isinstance(r, LedgerEntry)]
    said = Suppression(**made("s", 5000), rule="x", removed=True)
    ended = Session(**made("session", 5000), principal="u", digest="x", expires=NOW - 3 * DAY_S)
    store = store_of(*old, audit, *links, said, ended)
    assert gone(store) == {*(record.uid for record in old), "session"}
    assert store.count(DEFAULT_TENANT, AuditEntry) == 1
    kept = read_ledger(DEFAULT_TENANT, store)
    assert len(kept) == len(links) == 6
    assert verify_chain(kept)[0] == 6


def test_one_go_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_AT_ONCE", 7)
    monkeypatch.setattr(retention, "_PAGE", 3)
    store = store_of(*(finding(f"f-{n:02}", 500 - n) for n in range(20)))
    assert [len(gone(store)) for _ in range(4)] == [7, 7, 6, 0]
