"""Findings and cases."""

from __future__ import annotations

from typing import Annotated

from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from thingward.apps.server.api.devices import Cursor, Limit, Search, Site
from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import CaseChange, Note, PageOf, Result, page_of
from thingward.apps.server.deps import Ask, Deps
from thingward.model.finding import Case, CaseState, Finding
from thingward.model.intent import UpdateCase

DeviceUid = Annotated[str, QueryParameter(description="Only about this device (uid).", max_length=120)]


@get("/findings", operation_id="listFindings", access="findings:read", tags=["findings"], sync_to_thread=True)
def list_findings(
    deps: NamedDependency[Deps],
    search: Search = "",
    site: Site = "",
    device: DeviceUid = "",
    rule: Annotated[
        str, QueryParameter(description="Only of this rule, for example `scan.ports`.", max_length=100)
    ] = "",
    case: Annotated[str, QueryParameter(description="Only of this case (uid).", max_length=120)] = "",
    severity: Annotated[int | None, QueryParameter(description="Only of this severity.", ge=1, le=5)] = None,
    is_alert: Annotated[bool | None, QueryParameter(description="`true`: only those worth a person's look.")] = None,
    suppressed: Annotated[
        bool | None, QueryParameter(description="`true`: only those that a person called expected.")
    ] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Finding]:
    """List findings; all given conditions hold."""
    where = {"site": site, "device": device, "rule": rule, "case": case, "severity": str(severity or "")}
    given = {name: value for name, value in where.items() if value}
    if is_alert is not None:
        given["is_alert"] = "true" if is_alert else "false"
    if suppressed is not None:
        given["suppressed"] = "true" if suppressed else "false"
    page = deps.backend.control.page(deps.tenant, Finding, where=given, search=search, cursor=cursor, limit=limit)
    return page_of(page)


@get("/findings/{uid:str}", operation_id="getFinding", access="findings:read", tags=["findings"], sync_to_thread=True)
def get_finding(deps: NamedDependency[Deps], uid: FromPath[str]) -> Finding:
    """Give one finding with why it was raised."""
    return deps.get(Finding, uid)


@get("/cases", operation_id="listCases", access="cases:read", tags=["cases"], sync_to_thread=True)
def list_cases(
    deps: NamedDependency[Deps],
    search: Search = "",
    site: Site = "",
    in_state: Annotated[CaseState | None, QueryParameter(name="state", description="Only in this state.")] = None,
    device: DeviceUid = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Case]:
    """List cases; all given conditions hold."""
    where = {"site": site, "device": device, "state": str(in_state or "")}
    given = {name: value for name, value in where.items() if value}
    page = deps.backend.control.page(deps.tenant, Case, where=given, search=search, cursor=cursor, limit=limit)
    return page_of(page)


@get("/cases/{uid:str}", operation_id="getCase", access="cases:read", tags=["cases"], sync_to_thread=True)
def get_case(deps: NamedDependency[Deps], uid: FromPath[str]) -> Case:
    """Give one case with its timeline."""
    return deps.get(Case, uid)


@post("/cases/{uid:str}/notes", operation_id="addCaseNote", access=UpdateCase, tags=["cases"], status_code=200)
async def add_note(
    deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str], data: JSONBody[Note]
) -> Result:
    """Add a line to a case's timeline."""
    deps.get(Case, uid)
    return await result_of(ask, UpdateCase(case=uid, note=data.note))


@patch("/cases/{uid:str}", operation_id="updateCase", access=UpdateCase, tags=["cases"])
async def update_case(
    deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str], data: JSONBody[CaseChange]
) -> Result:
    """Close, reopen or assign a case."""
    deps.get(Case, uid)
    return await result_of(
        ask, UpdateCase(case=uid, state=data.state, assignee=data.assignee, resolution=data.resolution)
    )


HANDLERS = (list_findings, get_finding, list_cases, get_case, add_note, update_case)
