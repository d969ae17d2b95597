"""Actions, approvals, and what is in force."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from thingward.apps.server.api.devices import Cursor, Limit, Site
from thingward.apps.server.api.findings import DeviceUid
from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import Approve, Comment, PageOf, Quarantine, Release, Result, page_of
from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.profiles import QueueItem, approval_queue
from thingward.apps.server.standing import InForce, in_force
from thingward.model.action import Action, ActionKind, ActionState, Approval
from thingward.model.device import Device
from thingward.model.intent import ApproveProfiles, QuarantineDevice, ReleaseDevice, WithdrawApproval


@get("/actions", operation_id="listActions", access="actions:read", tags=["actions"], sync_to_thread=True)
def list_actions(
    deps: NamedDependency[Deps],
    site: Site = "",
    device: DeviceUid = "",
    kind: FromQuery[ActionKind | None] = None,
    in_state: Annotated[ActionState | None, QueryParameter(name="state", description="Only in this state.")] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Action]:
    """List actions: what was asked, by whom, why, until when, and what came of it."""
    where = {"site": site, "device": device, "kind": str(kind or ""), "state": str(in_state or "")}
    given = {name: value for name, value in where.items() if value}
    return page_of(deps.backend.control.page(deps.tenant, Action, where=given, cursor=cursor, limit=limit))


@get("/actions/{uid:str}", operation_id="getAction", access="actions:read", tags=["actions"], sync_to_thread=True)
def get_action(deps: NamedDependency[Deps], uid: FromPath[str]) -> Action:
    """Give one action."""
    return deps.get(Action, uid)


@post(
    "/actions/quarantine", operation_id="quarantineDevice", access=QuarantineDevice, tags=["actions"], status_code=200
)
async def quarantine(deps: NamedDependency[Deps], ask: NamedDependency[Ask], data: JSONBody[Quarantine]) -> Result:
    """Shut a device out for a time. The kernel ends it by itself; limits and the never-block list hold."""
    deps.get(Device, data.device)
    return await result_of(
        ask,
        QuarantineDevice(device=data.device, reason=data.reason, ttl_s=data.ttl_s, case=data.case, force=data.force),
    )


@post("/actions/release", operation_id="releaseDevice", access=ReleaseDevice, tags=["actions"], status_code=200)
async def release(deps: NamedDependency[Deps], ask: NamedDependency[Ask], data: JSONBody[Release]) -> Result:
    """Undo a device's quarantine and restore the exact state before it."""
    deps.get(Device, data.device)
    return await result_of(ask, ReleaseDevice(device=data.device, reason=data.reason))


@get("/approvals", operation_id="listApprovals", access="approvals:read", tags=["approvals"], sync_to_thread=True)
def list_approvals(
    deps: NamedDependency[Deps],
    site: Site = "",
    device: DeviceUid = "",
    in_state: Annotated[
        Literal["in_force", "superseded", "withdrawn"] | None,
        QueryParameter(name="state", description="Only in this state."),
    ] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Approval]:
    """List approvals, those of the past too."""
    where = {"site": site, "device": device, "state": in_state or ""}
    given = {name: value for name, value in where.items() if value}
    return page_of(deps.backend.control.page(deps.tenant, Approval, where=given, cursor=cursor, limit=limit))


@get(
    "/approvals/queue",
    operation_id="listApprovalQueue",
    access="approvals:read",
    tags=["approvals"],
    sync_to_thread=True,
)
def list_queue(
    deps: NamedDependency[Deps],
    site: Site = "",
    kind: Annotated[str, QueryParameter(description="Only this kind; `unknown` for none.", max_length=40)] = "",
) -> PageOf[QueueItem]:
    """List devices whose newest profile is not in force, settled ones first, each with its preview."""
    return PageOf(items=approval_queue(deps, site=site, kind=kind))


@post("/approvals", operation_id="approveProfiles", access=ApproveProfiles, tags=["approvals"], status_code=200)
async def approve(ask: NamedDependency[Ask], data: JSONBody[Approve]) -> Result:
    """Put learnt profiles in force for a device, all devices of a kind, or a site. What no entry allows is refused."""
    return await result_of(
        ask,
        ApproveProfiles(
            scope=data.scope,
            target=data.target,
            profile=data.profile,
            comment=data.comment,
            include_unsettled=data.include_unsettled,
        ),
    )


@post(
    "/approvals/{uid:str}/withdraw",
    operation_id="withdrawApproval",
    access=WithdrawApproval,
    tags=["approvals"],
    status_code=200,
)
async def withdraw(
    deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str], data: JSONBody[Comment]
) -> Result:
    """Take an approval back: the device is observed again."""
    deps.get(Approval, uid)
    return await result_of(ask, WithdrawApproval(approval=uid, comment=data.comment))


@get("/in-force", operation_id="listInForce", access="actions:read", tags=["actions"], sync_to_thread=True)
def list_in_force(deps: NamedDependency[Deps]) -> PageOf[InForce]:
    """List what holds now and until when: quarantines first, the one that ends first at the top."""
    return PageOf(items=in_force(deps))


HANDLERS = (
    list_actions,
    get_action,
    quarantine,
    release,
    list_approvals,
    list_queue,
    approve,
    withdraw,
    list_in_force,
)
