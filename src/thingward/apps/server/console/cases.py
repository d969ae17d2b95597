"""Findings and cases: what looks wrong, why, and what is done about it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from thingward.apps.server.console.form_step import Step, form_post
from thingward.apps.server.console.screen import Screen
from thingward.apps.server.deps import Deps
from thingward.apps.server.standing import quarantine_of, recent_findings
from thingward.model.action import Action
from thingward.model.device import Device
from thingward.model.finding import Case, CaseState, Finding
from thingward.model.intent import UpdateCase

SHOWN = 500


class FindingGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Findings about the same matter: the newest speaks for them."""

    newest: Finding
    count: int
    first: float
    last: float


def group_findings(findings: tuple[Finding, ...]) -> list[FindingGroup]:
    """Fold findings with the same key into one row; the gravest first, then the newest."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.key or f"{finding.rule} {finding.device}", []).append(finding)
    rows = [
        FindingGroup(
            newest=rows[0],
            count=sum(row.count for row in rows),
            first=min(row.first or row.time for row in rows),
            last=max(row.last or row.time for row in rows),
        )
        for rows in groups.values()
    ]
    return sorted(rows, key=lambda row: (-row.newest.severity, -row.last))


@get("/findings", access="findings:read", sync_to_thread=True)
def finding_list(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    q: FromQuery[str] = "",
    severity: FromQuery[str] = "",
    rule: FromQuery[str] = "",
    device: FromQuery[str] = "",
    show: FromQuery[str] = "",
) -> Response[str]:
    """Show findings in groups, each with why."""
    where = {"device": device, "rule": rule, "is_alert": "" if show == "all" else "true"}
    found = recent_findings(deps, SHOWN, **where)
    least = int(severity) if severity in ("1", "2", "3", "4", "5") else 0
    words = q.lower().split()
    rows = tuple(row for row in found if row.severity >= least and _contains(row, words))
    groups = group_findings(rows)
    return screen.page(
        request,
        "findings.html",
        groups=groups,
        rules=sorted({row.rule for row in recent_findings(deps, SHOWN)}),
        names=screen.names({row.device for row in rows} | {row.target for row in rows}),
        q=q,
        severity=severity,
        rule=rule,
        device=device,
        show=show,
        total=deps.backend.control.count(deps.tenant, Finding),
    )


def _contains(row: Finding, words: list[str]) -> bool:
    text = f"{row.title} {row.reason} {row.rule} {' '.join(row.attack)}".lower()
    return all(word in text for word in words)


@get("/findings/{uid:str}", access="findings:read", sync_to_thread=True)
def finding_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps], uid: FromPath[str]
) -> Response[str]:
    """Show one finding with everything behind it."""
    finding = deps.get(Finding, uid)
    device = deps.backend.control.get(deps.tenant, Device, finding.device) if finding.device else None
    names = screen.names({finding.device, finding.target})
    return screen.page(
        request,
        "finding.html",
        finding=finding,
        device=device,
        names=names,
        quarantine=quarantine_of(deps, finding.device) if finding.device else None,
    )


@get("/cases", access="cases:read", sync_to_thread=True)
def case_list(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    in_state: Annotated[str, QueryParameter(name="state")] = "",
    q: FromQuery[str] = "",
) -> Response[str]:
    """List cases; those that are not closed unless asked otherwise."""
    rows = deps.newest(Case, 1000)
    counts = {name: sum(row.state == name for row in rows) for name in CaseState}
    words = q.lower().split()
    shown = [
        row
        for row in rows
        if (row.state == in_state if in_state in counts else in_state == "all" or row.state is not CaseState.CLOSED)
        and all(word in f"{row.title} {row.assignee} {' '.join(row.rules)}".lower() for word in words)
    ]
    shown.sort(key=lambda row: (row.state is CaseState.CLOSED, -row.severity, -row.updated))
    names = screen.names({row.device for row in shown})
    return screen.page(
        request, "cases.html", cases=shown, names=names, state=in_state, q=q, counts=counts, total=len(rows)
    )


@get("/cases/{uid:str}", access="cases:read", sync_to_thread=True)
def case_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps], uid: FromPath[str]
) -> Response[str]:
    """Show one case with its timeline."""
    case = deps.get(Case, uid)
    device = deps.backend.control.get(deps.tenant, Device, case.device) if case.device else None
    return screen.page(
        request,
        "case.html",
        case=case,
        device=device,
        findings=group_findings(deps.newest(Finding, 200, case=uid)),
        actions=deps.newest(Action, 50, case=uid),
        quarantine=quarantine_of(deps, case.device) if case.device else None,
        people=screen.people(),
    )


@form_post("/cases/{uid:str}/notes", access=UpdateCase, operation="addCaseNote")
async def add_note(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Add a line to the timeline."""
    body = UpdateCase(case=uid, note=step.form.text("note"))
    return await step.perform(body, to=f"/cases/{uid}#timeline", said="Noted.")


@form_post("/cases/{uid:str}/close", access=UpdateCase, operation="updateCase")
async def close_case(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Close a case with a resolution."""
    body = UpdateCase(case=uid, state="closed", resolution=step.form.text("resolution"))
    said = "Closed. What is in force stays in force."
    return await step.perform(body, to=f"/cases/{uid}", said=said, undo=f"/cases/{uid}/reopen", undo_word="Reopen")


@form_post("/cases/{uid:str}/reopen", access=UpdateCase, operation="updateCase")
async def reopen_case(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Open a case again."""
    body = UpdateCase(case=uid, state="open", note=step.form.text("note"))
    return await step.perform(body, to=f"/cases/{uid}", said="Open again.")


@form_post("/cases/{uid:str}/assign", access=UpdateCase, operation="updateCase")
async def assign_case(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Say who works on a case."""
    body = UpdateCase(case=uid, assignee=step.form.text("assignee", 100))
    return await step.perform(body, to=f"/cases/{uid}", said="Assigned." if body.assignee else "Unassigned.")


HANDLERS = (finding_list, finding_page, case_list, case_page, add_note, close_case, reopen_case, assign_case)
