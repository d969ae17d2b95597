"""What core forgets, and after what time. The ledger, the audit log, approvals and open cases are never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec

from thingward.model.action import Action, ActionState, Approval, Outcome
from thingward.model.certificate import Claim
from thingward.model.finding import Case, Finding
from thingward.model.principal import Session
from thingward.model.profile import MudProfile
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore

R = TypeVar("R", bound=Record)
#: Records forgotten in one go; the rest goes an hour later.
MOST_AT_ONCE: Final = 20_000
DAY_S: Final = 86_400.0
#: Claims are forgotten this long after their end.
CLAIM_DAYS: Final = 30.0
_PAGE: Final = 500
_OVER: Final = frozenset({ActionState.UNDONE, ActionState.EXPIRED, ActionState.REFUSED, ActionState.FAILED})


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """After how many days what is forgotten; the settings `store.<name>`.

    Attributes:
        retention_days: events, and versions of profiles that are neither the newest nor in force.
        finding_days: findings that belong to no case. case_days: closed cases with their findings and ended actions.
    """

    retention_days: float = 30.0
    finding_days: float = 365.0
    case_days: float = 730.0


def outdated(control: ControlStore, tenant: str, now: float, ages: Ages) -> list[tuple[type[Record], str]]:
    """Give kind and uid of the records to forget now, bounded; a case goes before what belongs to it."""
    parts = (
        _sessions(control, tenant, now),
        _claims(control, tenant, now - CLAIM_DAYS * DAY_S),
        _cases(control, tenant, now - ages.case_days * DAY_S),
        _findings(control, tenant, now - ages.finding_days * DAY_S),
        _actions(control, tenant, now - ages.case_days * DAY_S),
        _outcomes(control, tenant, now - ages.case_days * DAY_S),
        _profiles(control, tenant, now - ages.retention_days * DAY_S),
    )
    gone = ((type(record), str(record.uid)) for part in parts for record in part)
    return list(islice(gone, MOST_AT_ONCE))


def _sessions(control: ControlStore, tenant: str, now: float) -> Iterator[Record]:
    return (row for row in _older(control, tenant, Session, now) if row.expires < now - DAY_S)


def _claims(control: ControlStore, tenant: str, before: float) -> Iterator[Record]:
    return (row for row in _older(control, tenant, Claim, before) if row.expires < before)


def _cases(control: ControlStore, tenant: str, before: float) -> Iterator[Record]:
    rows = _older(control, tenant, Case, before, state="closed")
    return (row for row in rows if max(row.closed, row.updated) < before)


def _findings(control: ControlStore, tenant: str, before: float) -> Iterator[Record]:
    cases: dict[str, bool] = {"": False}
    for row in _older(control, tenant, Finding, before):
        if row.case not in cases:
            cases[row.case] = control.get(tenant, Case, row.case) is not None
        if not cases[row.case] and max(row.last, row.time) < before:
            yield row


def _actions(control: ControlStore, tenant: str, before: float) -> Iterator[Record]:
    for row in _older(control, tenant, Action, before):
        has_case = bool(row.case) and control.get(tenant, Case, row.case) is not None
        if row.state in _OVER and row.expires < before and not has_case:
            yield row


def _outcomes(control: ControlStore, tenant: str, before: float) -> Iterator[Record]:
    rows = _older(control, tenant, Outcome, before)
    return (row for row in rows if control.get(tenant, Action, row.action) is None)


def _profiles(control: ControlStore, tenant: str, before: float) -> Iterator[Record]:
    kept: dict[str, set[str]] = {}
    for row in _older(control, tenant, MudProfile, before):
        if row.device not in kept:
            newest = control.page(tenant, MudProfile, where={"device": row.device}, limit=1).items
            approved = control.page(tenant, Approval, where={"device": row.device, "state": "in_force"}).items
            kept[row.device] = {*(item.uid for item in newest), *(item.profile for item in approved)}
        if row.uid not in kept[row.device]:
            yield row


def _older(control: ControlStore, tenant: str, kind: type[R], before: float, **where: str) -> Iterator[R]:
    """Iterate records from before a time, oldest first."""
    cursor = ""
    while True:
        page = control.page(tenant, kind, where=where, cursor=cursor, limit=_PAGE, newest_first=False)
        for record in page.items:
            if record.time >= before:
                return
            yield record
        cursor = page.cursor
        if not cursor:
            return
