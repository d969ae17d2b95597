"""Captures, evidence bundles, audit log, the demo's attack."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from thingward.apps.server.bundles import list_bundles
from thingward.apps.server.console.form_step import Step, form_post
from thingward.apps.server.console.screen import Screen
from thingward.apps.server.deps import Deps
from thingward.model.device import Device
from thingward.model.errors import Forbidden, InvalidInput, ThingwardError
from thingward.model.finding import Case
from thingward.model.intent import ExportEvidence, ImportRecords, StartAttack
from thingward.model.principal import AuditEntry
from thingward.runtime.guard_result import result_batches

AUDIT_PAGE = 60


@get("/captures", access="captures:read")
async def captures_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[str]:
    """Show dropped captures, and take another."""
    return screen.page(
        request,
        "captures.html",
        captures=deps.captures.list(),
        captures_on=deps.captures.available,
        limit_bytes=deps.options.upload_limit_bytes,
        people=screen.people(),
    )


@get("/captures/{uid:str}", access="captures:read", sync_to_thread=True)
def capture_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps], uid: FromPath[str]
) -> Response[str]:
    """Show how far a capture is, then what it showed."""
    capture = deps.captures.get(uid)
    result, fault = None, ""
    if capture.state == "done":
        try:
            result = deps.captures.result(uid)
        except (ThingwardError, ValueError) as error:
            fault = str(error)
    names = {view.device.uid: view.device for view in result.views} if result else {}
    return screen.page(request, "capture.html", capture=capture, result=result, fault=fault, by_uid=names)


@form_post("/captures/{uid:str}/import", access=ImportRecords, operation="importCapture")
async def import_capture(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Hand what a capture taught to the platform."""
    capture = step.deps.captures.get(uid)
    try:
        for part, batch in enumerate(result_batches(step.deps.captures.result(uid))):
            await step.ask(ImportRecords(source=f"capture:{capture.name}", batch=batch), part)
    except ThingwardError as error:
        return step.tell(str(error), to=f"/captures/{uid}", is_error=True)
    step.deps.captures.mark_imported(uid)
    return step.tell("Imported: devices, profiles and findings are here now.", to="/devices")


@form_post("/captures/{uid:str}/delete", access=ImportRecords, operation="deleteCapture")
async def delete_capture(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Forget a capture."""
    step.deps.captures.delete(uid)
    return step.tell("Forgotten. What was imported stays.", to="/captures")


@get("/evidence", access="evidence:read", sync_to_thread=True)
def evidence_page(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    of: Annotated[str, QueryParameter(name="scope")] = "tenant",
    target: FromQuery[str] = "",
) -> Response[str]:
    """Show signed bundles, and make another."""
    devices = [row for row in deps.newest(Device, 1000) if not row.group and not row.merged_into]
    return screen.page(
        request,
        "evidence.html",
        bundles=list_bundles(deps),
        scope=of,
        target=target,
        cases=deps.newest(Case, 200),
        devices=devices,
    )


@form_post("/evidence", access=ExportEvidence, operation="createBundle")
async def create_bundle(step: NamedDependency[Step]) -> Response[Any]:
    """Make a signed bundle."""
    scope, _, target = step.form.text("what", 200).partition(":")
    if scope not in ("case", "device", "tenant"):
        raise InvalidInput("choose what to prove.")
    body = ExportEvidence(scope=cast("Literal['case', 'device', 'tenant']", scope), target=target)
    return await step.perform(body, to="/evidence", said="The bundle is made and signed.")


@get("/audit", access="audit:read", sync_to_thread=True)
def audit_page(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    q: FromQuery[str] = "",
    action: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Response[str]:
    """Show what people did, page by page."""
    where = {"action": action} if action else {}
    page = deps.backend.control.page(deps.tenant, AuditEntry, where=where, search=q, cursor=cursor, limit=AUDIT_PAGE)
    names = screen.names({row.target for row in page.items if row.target.startswith("d-")})
    return screen.page(
        request,
        "audit.html",
        entries=page.items,
        next_cursor=page.cursor,
        people=screen.people(),
        names=names,
        q=q,
        action=action,
        is_first=not cursor,
    )


@form_post("/demo/attack", access=StartAttack, operation="startAttack")
async def start_attack(step: NamedDependency[Step]) -> Response[Any]:
    """Demo only: turn one simulated device Mirai-like."""
    if not step.deps.options.demo:
        raise Forbidden("this is no demo.")
    said = "One device turns Mirai-like now. Watch it being shut out."
    return await step.perform(StartAttack(device=step.form.text("device", 120)), to="/live", said=said)


HANDLERS = (
    captures_page,
    capture_page,
    import_capture,
    delete_capture,
    evidence_page,
    create_bundle,
    audit_page,
    start_attack,
)
