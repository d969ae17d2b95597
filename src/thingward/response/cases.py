"""Cases: which findings are one matter, and a timeline that stays within bounds."""

from __future__ import annotations

from typing import Literal

import msgspec

from thingward.model.finding import Case, CaseNote, CaseState, Finding
from thingward.model.ids import Uid, hashed_uid

MAX_NOTES = 200
MAX_FINDINGS = 200
MAX_ACTIONS = 100

NoteKind = Literal["finding", "action", "outcome", "note", "state", "notification"]
_WEAKNESS = ("login.default_credentials", "login.cleartext", "exposure.")
_INVENTORY = ("device.",)


def matter_of(rule: str) -> str:
    """Sort a rule into a matter: `weakness`, `inventory`, or `behaviour` for everything that a device does."""
    if rule.startswith(_WEAKNESS):
        return "weakness"
    return "inventory" if rule.startswith(_INVENTORY) else "behaviour"


def case_key(finding: Finding) -> str:
    """Name the matter of a finding: one per site, device and matter.

    A finding without a device of ours is about the target; without either, about the address that it came from.
    """
    who = finding.device or finding.target
    if not who and finding.src is not None:
        who = finding.src.ip or finding.src.mac
    return f"{finding.site}\n{who}\n{matter_of(finding.rule)}"


def open_case(finding: Finding, name: str) -> Case:
    """Open a case for an alert; `name` is what people call the device."""
    return Case(
        uid=Uid("c-" + hashed_uid("case", finding.tenant, case_key(finding), finding.uid)[:30]),
        tenant=finding.tenant,
        time=finding.time,
        source="response",
        parents=(finding.uid,),
        title=_title(finding, name),
        site=finding.site,
        device=finding.device or finding.target,
        severity=finding.severity,
        opened=finding.time,
        updated=finding.time,
        simulated=finding.simulated,
    )


def _title(finding: Finding, name: str) -> str:
    return f"{name}: {finding.title}" if name and name not in finding.title else finding.title


def add_finding(case: Case, finding: Finding, name: str = "") -> Case:
    """Put a finding into its case; only alerts get a line, the others are counted.

    The title follows the gravest alert; `name` is what people call the device.
    """
    is_gravest = finding.is_alert and finding.severity > case.severity
    case = msgspec.structs.replace(
        case,
        time=max(case.updated, finding.time),
        title=_title(finding, name) if is_gravest else case.title,
        severity=finding.severity if is_gravest else case.severity,
        updated=max(case.updated, finding.time),
        findings=(*case.findings, finding.uid)[:MAX_FINDINGS],
        finding_count=case.finding_count + 1,
        rules=case.rules if finding.rule in case.rules else (*case.rules, finding.rule)[:32],
        simulated=case.simulated or finding.simulated,
    )
    if not finding.is_alert:
        return case
    return add_note(case, finding.time, f"{finding.title}: {finding.reason}", record=finding.uid, kind="finding")


def add_note(
    case: Case,
    time: float,
    text: str,
    *,
    by: str = "system",
    record: str = "",
    kind: NoteKind = "note",
    state: CaseState | None = None,
) -> Case:
    """Add a line to the timeline. The first lines stay: when it is full, the middle is thinned out."""
    timeline = (*case.timeline, CaseNote(time=time, by=by, text=text[:500], record=record, kind=kind))
    if len(timeline) > MAX_NOTES:
        keep = MAX_NOTES // 4
        timeline = (*timeline[:keep], *timeline[keep + 1 :])
    return msgspec.structs.replace(
        case,
        time=max(case.updated, time),
        timeline=timeline,
        updated=max(case.updated, time),
        state=case.state if state is None else state,
        closed=time if state is CaseState.CLOSED else (0.0 if state is not None else case.closed),
    )


def add_action(case: Case, action: str) -> Case:
    """Name an action in its case."""
    if action in case.actions:
        return case
    return msgspec.structs.replace(case, actions=(*case.actions, action)[-MAX_ACTIONS:])
