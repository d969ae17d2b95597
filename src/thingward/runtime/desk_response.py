"""Handlers for devices, approvals, quarantine, cases and rules: each only plans; the road and the warden do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from thingward.model.action import Approval, Limits, ResponseRule
from thingward.model.device import Correction, Device
from thingward.model.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from thingward.model.finding import Case, CaseState
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import (
    ApproveProfiles,
    DeleteRule,
    EditDevice,
    Intent,
    NoteExport,
    PutRule,
    QuarantineDevice,
    ReleaseDevice,
    UpdateCase,
    WithdrawApproval,
)
from thingward.model.profile import MudProfile
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore
from thingward.response.bounds import Situation
from thingward.response.cases import add_note
from thingward.response.plan import (
    Plan,
    Request,
    plan_approval,
    plan_quarantine,
    plan_release,
    plan_withdrawal,
)
from thingward.response.rules import verify_rule
from thingward.runtime.desk import Decision, DeskContext, Handler, body_of
from thingward.runtime.desk_findings import finding_handlers
from thingward.runtime.desk_identity import current_limits

R = TypeVar("R", bound=Record)
MAX_RULES = 200
_PAGE = 500

#: Gives what is in force for a tenant, as the response stage knows it.
SituationOf = Callable[[str], Situation]


def response_handlers(situation_of: SituationOf) -> dict[type, Handler]:
    """Handlers for everything that changes what is known, approved or shut out."""
    return {
        ApproveProfiles: lambda intent, context: approve(intent, context, situation_of),
        WithdrawApproval: withdraw,
        QuarantineDevice: lambda intent, context: quarantine(intent, context, situation_of),
        ReleaseDevice: lambda intent, context: release(intent, context, situation_of),
        EditDevice: edit_device,
        UpdateCase: update_case,
        PutRule: put_rule,
        DeleteRule: delete_rule,
        NoteExport: note_export,
        **finding_handlers(),
    }


def approve(intent: Intent, context: DeskContext, situation_of: SituationOf) -> Decision:
    """Put profiles in force for a device, a kind or a site."""
    body = body_of(intent, ApproveProfiles)
    situation = situation_of(intent.tenant)
    fields = {"device": "uid", "kind": "kind", "site": "site"}
    chosen = [d.uid for d in situation.devices.values() if getattr(d, fields[body.scope]) == body.target]
    profiles: dict[str, MudProfile] = {
        uid: found for uid in chosen if (found := newest_profile(context.control, intent.tenant, uid))
    }
    approvals: dict[str, Approval] = {
        uid: held for uid in chosen if (held := approval_in_force(context.control, intent.tenant, uid))
    }
    return _decided(plan_approval(body, situation, profiles, approvals, _request(intent, context, body.comment)))


def withdraw(intent: Intent, context: DeskContext) -> Decision:
    """Take an approval back."""
    body = body_of(intent, WithdrawApproval)
    approval = _get(context.control, intent.tenant, Approval, body.approval, "approval")
    device = context.control.get(intent.tenant, Device, approval.device)
    return _decided(plan_withdrawal(approval, device, _request(intent, context, body.comment)))


def quarantine(intent: Intent, context: DeskContext, situation_of: SituationOf) -> Decision:
    """Shut a device out for a time; a refusal by limits is an error, and never-block cannot be forced."""
    body = body_of(intent, QuarantineDevice)
    situation = situation_of(intent.tenant)
    device = _device(situation, body.device)
    request = _request(intent, context, body.reason, case=body.case)
    return _decided(plan_quarantine(situation, device, request, ttl_s=body.ttl_s, force=body.force))


def release(intent: Intent, context: DeskContext, situation_of: SituationOf) -> Decision:
    """Undo a quarantine."""
    body = body_of(intent, ReleaseDevice)
    situation = situation_of(intent.tenant)
    return _decided(plan_release(situation, _device(situation, body.device), _request(intent, context, body.reason)))


def edit_device(intent: Intent, context: DeskContext) -> Decision:
    """Record a person's correction; inventory applies it and it stays."""
    body = body_of(intent, EditDevice)
    device = _get(context.control, intent.tenant, Device, body.device, "device")
    if body.merge_into:
        _get(context.control, intent.tenant, Device, body.merge_into, "device to merge into")
        if body.merge_into == device.uid:
            raise InvalidInput("a device cannot be merged into itself.")
    correction = Correction(
        uid=Uid("k-" + hashed_uid("correction", intent.tenant, intent.uid)[:24]),
        tenant=Tenant(intent.tenant),
        time=context.now,
        source="core",
        parents=(device.uid,),
        device=device.uid,
        label=body.label,
        kind=body.kind,
        maker=body.maker,
        model=body.model,
        merge_into=body.merge_into,
        by=intent.principal,
    )
    said = {
        "label": body.label,
        "kind": body.kind,
        "maker": body.maker,
        "model": body.model,
        "merge_into": body.merge_into,
    }
    lines = tuple(f"{name} = {value}" for name, value in said.items() if value is not None)
    return Decision(records=(correction,), plan=lines, target=device.uid)


def update_case(intent: Intent, context: DeskContext) -> Decision:
    """Add a note, assign, close or reopen a case."""
    body = body_of(intent, UpdateCase)
    case = _get(context.control, intent.tenant, Case, body.case, "case")
    who, lines = intent.principal, []
    if body.note:
        case = add_note(case, context.now, body.note, by=who)
        lines.append("note added")
    if body.assignee is not None and body.assignee != case.assignee:
        case = add_note(
            msgspec.structs.replace(case, assignee=body.assignee), context.now, f"assigned to {body.assignee}", by=who
        )
        lines.append(f"assigned to {body.assignee or 'nobody'}")
    if body.state is not None:
        case, line = _turn(case, body, context.now, who)
        lines.append(line)
    if not lines:
        raise InvalidInput("nothing to change in the case.", hint="Give a note, an assignee or a state.")
    return Decision(records=(msgspec.structs.replace(case, time=context.now),), plan=tuple(lines), target=case.uid)


def put_rule(intent: Intent, context: DeskContext) -> Decision:
    """Create or replace a response rule; who wrote it is kept."""
    rule = body_of(intent, PutRule).rule
    verify_rule(rule, current_limits(context.control, intent.tenant, Limits()))
    known = context.control.get(intent.tenant, ResponseRule, rule.uid) if rule.uid else None
    if known is None and context.control.count(intent.tenant, ResponseRule) >= MAX_RULES:
        raise LimitExceeded(f"there are {MAX_RULES} rules already.", hint="Delete one first.")
    uid = rule.uid or Uid("r-" + hashed_uid("rule", intent.tenant, intent.uid)[:20])
    stored = msgspec.structs.replace(
        rule, uid=uid, tenant=Tenant(intent.tenant), time=context.now, source="core", by=intent.principal, deleted=False
    )
    acts = "acts by itself" if stored.enabled else "switched off"
    return Decision(
        records=(stored,),
        plan=(f"rule {stored.name}: {stored.action} for {', '.join(stored.rules)}, {acts}",),
        target=uid,
    )


def delete_rule(intent: Intent, context: DeskContext) -> Decision:
    """Delete a rule: it is kept as a record, switched off and marked."""
    rule = _get(context.control, intent.tenant, ResponseRule, body_of(intent, DeleteRule).rule, "rule")
    if rule.deleted:
        raise Conflict("the rule is deleted already.")
    gone = msgspec.structs.replace(rule, deleted=True, enabled=False, time=context.now, by=intent.principal)
    return Decision(records=(gone,), plan=(f"rule {rule.name} deleted",), target=rule.uid)


def note_export(intent: Intent, context: DeskContext) -> Decision:
    """Leave the audit entry that every decision leaves."""
    body = body_of(intent, NoteExport)
    return Decision(target=body.target, detail=f"{body.what} as {body.form}")


def newest_profile(control: ControlStore, tenant: str, device: str) -> MudProfile | None:
    """Give the newest profile of a device."""
    page = control.page(tenant, MudProfile, where={"device": device}, limit=1)
    return page.items[0] if page.items else None


def approval_in_force(control: ControlStore, tenant: str, device: str) -> Approval | None:
    """Give the approval that holds for a device."""
    page = control.page(tenant, Approval, where={"device": device, "state": "in_force"}, limit=1)
    return page.items[0] if page.items else None


def every(control: ControlStore, tenant: str, kind: type[R]) -> Iterator[R]:
    """Iterate all records of a kind, page by page."""
    cursor = ""
    while True:
        page = control.page(tenant, kind, cursor=cursor, limit=_PAGE)
        yield from page.items
        cursor = page.cursor
        if not cursor:
            return


def _turn(case: Case, body: UpdateCase, now: float, who: str) -> tuple[Case, str]:
    closing = body.state == "closed"
    if closing == (case.state is CaseState.CLOSED):
        raise Conflict(f"the case is {case.state} already.")
    if closing and not body.resolution.strip():
        raise InvalidInput("say what it was: a case is closed with a resolution.")
    state = CaseState.CLOSED if closing else CaseState.OPEN
    text = f"closed: {body.resolution}" if closing else "reopened"
    turned = add_note(case, now, text, by=who, kind="state", state=state)
    return msgspec.structs.replace(turned, resolution=body.resolution if closing else ""), text


def _decided(plan: Plan) -> Decision:
    if plan.refusal is not None:
        hint = "An approver may force it." if plan.refusal.can_force else ""
        raise LimitExceeded(f"refused: {plan.refusal.reason}.", hint=hint)
    target = next((str(device) for record in plan.records if (device := getattr(record, "device", ""))), "")
    return Decision(records=plan.records, plan=plan.lines, target=target)


def _request(intent: Intent, context: DeskContext, reason: str, *, case: str = "") -> Request:
    return Request(
        tenant=intent.tenant,
        by=intent.principal,
        now=context.now,
        seed=intent.uid,
        reason=reason,
        case=case,
        dry_run=intent.body.dry_run,
        parents=(intent.uid,),
    )


def _device(situation: Situation, uid: str) -> Device:
    device = situation.devices.get(uid)
    if device is None:
        raise NotFound("no such device.")
    return device


def _get(control: ControlStore, tenant: str, kind: type[R], uid: str, what: str) -> R:
    found = control.get(tenant, kind, uid)
    if found is None:
        raise NotFound(f"no such {what}.")
    return found
