"""Steps that change the network: quarantine, release, approve, withdraw; each shows its plan first."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from thingward.apps.server.console.form_step import Step, form_post
from thingward.apps.server.console.screen import Form, Screen, local_path
from thingward.apps.server.console.words import device_name, duration
from thingward.apps.server.deps import Deps
from thingward.apps.server.profiles import approval_queue, newest_profile
from thingward.apps.server.settings import limits_now
from thingward.apps.server.standing import in_force
from thingward.model.action import Action, Approval
from thingward.model.device import Device
from thingward.model.errors import InvalidInput
from thingward.model.finding import Case, CaseState
from thingward.model.intent import ApproveProfiles, QuarantineDevice, ReleaseDevice, WithdrawApproval

TTLS = (900.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 7 * 86400.0)


@get("/devices/{uid:str}/quarantine", access=QuarantineDevice, sync_to_thread=True)
def quarantine_form(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    uid: FromPath[str],
    back: FromQuery[str] = "",
) -> Response[str]:
    """Show the form for a quarantine."""
    limits = limits_now(deps)
    cases = [row for row in deps.newest(Case, 20, device=uid) if row.state is not CaseState.CLOSED]
    return screen.page(
        request,
        "dialog_quarantine.html",
        device=deps.get(Device, uid),
        ttls=[ttl for ttl in TTLS if ttl <= limits.max_ttl_s] or [limits.max_ttl_s],
        limits=limits,
        case=cases[0] if cases else None,
        back=local_path(back, f"/devices/{uid}"),
    )


def _quarantine(uid: str, form: Form) -> QuarantineDevice:
    return QuarantineDevice(
        device=uid,
        reason=form.text("reason", 500) or "by hand, from the console",
        ttl_s=form.number("ttl_s", 3600.0),
        case=form.text("case", 120),
        force=form.flag("force"),
    )


@form_post("/devices/{uid:str}/quarantine/plan", access=QuarantineDevice, operation="quarantineDevice", status_code=200)
async def quarantine_plan(step: NamedDependency[Step], uid: FromPath[str]) -> Response[str]:
    """Tell what a quarantine would do."""
    return await step.plan(_quarantine(uid, step.form))


@form_post("/devices/{uid:str}/quarantine", access=QuarantineDevice, operation="quarantineDevice")
async def quarantine(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Shut a device out."""
    body = _quarantine(uid, step.form)
    said = f"{device_name(step.deps.get(Device, uid))} is shut out for {duration(body.ttl_s)}."
    to = step.back(f"/devices/{uid}")
    return await step.perform(body, to=to, said=said, undo=f"/devices/{uid}/release")


@form_post("/devices/{uid:str}/release", access=ReleaseDevice, operation="releaseDevice")
async def release(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Undo a quarantine."""
    name = device_name(step.deps.get(Device, uid))
    to = step.back(f"/devices/{uid}")
    body = ReleaseDevice(device=uid, reason=step.form.text("reason", 500) or "undone in the console")
    return await step.perform(body, to=to, said=f"{name} is back, exactly as before.")


@get("/approvals", access="approvals:read", sync_to_thread=True)
def queue_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[str]:
    """Show which profiles wait for a decision, by kind."""
    items = approval_queue(deps)
    past = deps.newest(Approval, 20)
    sites = sorted({item.device.site for item in items})
    names = screen.names({row.device for row in past})
    return screen.page(
        request, "approvals.html", items=items, sites=sites, past=past, names=names, people=screen.people()
    )


@get("/approve", access=ApproveProfiles, sync_to_thread=True)
def approve_form(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    of: Annotated[str, QueryParameter(name="scope")] = "device",
    target: FromQuery[str] = "",
    back: FromQuery[str] = "",
) -> Response[str]:
    """Show the form for an approval."""
    scope = verify_scope(of)
    device = deps.get(Device, target) if scope == "device" else None
    profile = newest_profile(deps, target) if scope == "device" else None
    what = device_name(device) if device else target
    unsettled = profile is not None and not profile.settled.is_settled
    return screen.page(
        request,
        "dialog_approve.html",
        scope=scope,
        target=target,
        what=what,
        device=device,
        profile=profile,
        unsettled=unsettled,
        back=local_path(back, "/approvals"),
    )


def verify_scope(scope: str) -> Literal["device", "kind", "site"]:
    """Give the scope back; raises InvalidInput for another word."""
    if scope not in ("device", "kind", "site"):
        raise InvalidInput("a scope is device, kind or site.")
    return cast("Literal['device', 'kind', 'site']", scope)


def _approval(form: Form) -> ApproveProfiles:
    return ApproveProfiles(
        scope=verify_scope(form.text("scope")),
        target=form.text("target", 120),
        profile=form.text("profile", 120),
        comment=form.text("comment"),
        include_unsettled=form.flag("include_unsettled"),
    )


@form_post("/approve/plan", access=ApproveProfiles, operation="approveProfiles", status_code=200)
async def approve_plan(step: NamedDependency[Step]) -> Response[str]:
    """Tell what an approval would do."""
    return await step.plan(_approval(step.form))


@form_post("/approve", access=ApproveProfiles, operation="approveProfiles")
async def approve(step: NamedDependency[Step]) -> Response[Any]:
    """Put profiles in force."""
    to = step.back("/approvals")
    return await step.perform(
        _approval(step.form), to=to, said="Approved. What no entry allows is refused from now on."
    )


@form_post("/approvals/{uid:str}/withdraw", access=WithdrawApproval, operation="withdrawApproval")
async def withdraw(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Take an approval back."""
    body = WithdrawApproval(approval=uid, comment=step.form.text("comment") or "withdrawn in the console")
    to = step.back("/in-force")
    return await step.perform(body, to=to, said="Withdrawn. The device is observed again.")


@get("/in-force", access="actions:read")
async def in_force_page(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
) -> Response[str]:
    """Show what holds now, and until when."""
    rows = in_force(deps)
    health = await deps.backend.health()
    past = [row for row in deps.newest(Action, 40) if row.state not in ("in_force", "planned", "requested")]
    names = screen.names({row.device for row in rows} | {row.device for row in past})
    return screen.page(
        request,
        "in_force.html",
        quarantines=[row for row in rows if row.kind == "quarantine"],
        profiles=[row for row in rows if row.kind == "profile"],
        sites=sorted({row.site for row in deps.newest(Approval, 1000, state="in_force") if row.site}),
        past=past[:20],
        names=names,
        people=screen.people(),
        limits=limits_now(deps),
        enforcer=health.enforcer,
    )


HANDLERS = (
    quarantine_form,
    quarantine_plan,
    quarantine,
    release,
    queue_page,
    approve_form,
    approve_plan,
    approve,
    withdraw,
    in_force_page,
)
