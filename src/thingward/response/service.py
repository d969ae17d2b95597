"""What persons ask of the response room: each method takes an intent and gives a plan, and changes nothing itself.

The caller checks the person's role, journals the plan's records and feeds them to the road; there the response stage
asks the enforcer. A dry run is the same plan, thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from thingward.model.action import ActionKind, Approval, ResponseRule
from thingward.model.device import Device
from thingward.model.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from thingward.model.finding import Case, CaseState
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import (
    ApproveProfiles,
    DeleteRule,
    Intent,
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
    duration,
    plan_approval,
    plan_quarantine,
    plan_release,
    plan_withdrawal,
)

R = TypeVar("R", bound=Record)
PAGE = 1000
MAX_PAGES = 100
MIN_RULE_TTL_S = 10.0


class ResponseService:
    """Plans for intents.

    Args:
        situation: what holds now for a tenant; `ResponseStage.situation` of the running road.
    """

    def __init__(self, situation: Callable[[str], Situation]) -> None:
        self._situation = situation

    def plan(self, intent: Intent, control: ControlStore, now: float) -> Plan:
        """Plan an intent of this room.

        Args:
            control: read only: profiles, approvals, cases and rules.

        Raises:
            NotFound, Conflict, InvalidInput, LimitExceeded: it cannot be; the message says why and what to do.
        """
        body = intent.body
        match body:
            case QuarantineDevice():
                return self._quarantine(intent, body, control, now)
            case ReleaseDevice():
                return self._release(intent, body, control, now)
            case ApproveProfiles():
                return self._approve(intent, body, control, now)
            case WithdrawApproval():
                return self._withdraw(intent, body, control, now)
            case UpdateCase():
                return self._update_case(intent, body, control, now)
            case PutRule():
                return self._put_rule(intent, body, control, now)
            case DeleteRule():
                return self._delete_rule(intent, body, control, now)
            case _:
                raise InvalidInput(f"{type(body).__name__} is not of the response room.")

    def _quarantine(self, intent: Intent, body: QuarantineDevice, control: ControlStore, now: float) -> Plan:
        device = self._device(intent, body.device, control)
        if not body.reason.strip():
            raise InvalidInput("a quarantine needs a reason.", hint="It is kept as evidence.")
        request = _request(intent, now, body.reason, case=body.case)
        plan = plan_quarantine(self._situation(intent.tenant), device, request, ttl_s=body.ttl_s, force=body.force)
        if plan.refusal is None:
            return plan
        if plan.refusal.can_force:
            raise LimitExceeded(f"{plan.refusal.reason}.", hint="Force it if it must be.")
        raise Conflict(f"{device.label or device.uid} cannot be quarantined: {plan.refusal.reason}.")

    def _release(self, intent: Intent, body: ReleaseDevice, control: ControlStore, now: float) -> Plan:
        device = self._device(intent, body.device, control)
        return plan_release(self._situation(intent.tenant), device, _request(intent, now, body.reason))

    def _approve(self, intent: Intent, body: ApproveProfiles, control: ControlStore, now: float) -> Plan:
        situation = self._situation(intent.tenant)
        wanted = {"device": {"device": body.target}, "site": {"site": body.target}, "kind": {}}[body.scope]
        profiles: dict[str, MudProfile] = {}
        for profile in _all(control, intent.tenant, MudProfile, wanted):
            held = profiles.get(profile.device)
            if held is None or (profile.version, profile.time) > (held.version, held.time):
                profiles[profile.device] = profile
        approvals: dict[str, Approval] = {}
        for approval in _all(control, intent.tenant, Approval, {"state": "in_force"}):
            approvals.setdefault(approval.device, approval)
        return plan_approval(body, situation, profiles, approvals, _request(intent, now, body.comment))

    def _withdraw(self, intent: Intent, body: WithdrawApproval, control: ControlStore, now: float) -> Plan:
        approval = control.get(intent.tenant, Approval, body.approval)
        if approval is None:
            raise NotFound(f"there is no approval {body.approval!r}.")
        device = control.get(intent.tenant, Device, approval.device)
        return plan_withdrawal(approval, device, _request(intent, now, body.comment))

    def _update_case(self, intent: Intent, body: UpdateCase, control: ControlStore, now: float) -> Plan:
        case = control.get(intent.tenant, Case, body.case)
        if case is None:
            raise NotFound(f"there is no case {body.case!r}.")
        lines: list[str] = []
        by = intent.principal
        if body.assignee is not None and body.assignee != case.assignee:
            case = msgspec.structs.replace(case, assignee=body.assignee)
            lines.append(f"assigned to {body.assignee}" if body.assignee else "assigned to nobody")
            case = add_note(case, now, lines[-1], by=by, kind="state")
        if body.note.strip():
            case = add_note(case, now, body.note.strip(), by=by)
            lines.append("note added")
        if body.state is not None:
            case = self._move_case(intent, body, case, now)
            lines.append(f"state: {case.state}")
        if not lines:
            raise InvalidInput("nothing to change.", hint="Give a note, an assignee or a state.")
        return Plan(records=(case,), lines=tuple(lines))

    def _move_case(self, intent: Intent, body: UpdateCase, case: Case, now: float) -> Case:
        if body.state == "closed":
            if case.state is CaseState.CLOSED:
                raise Conflict("the case is closed already.")
            text = f"closed: {body.resolution}" if body.resolution else "closed"
            case = msgspec.structs.replace(case, resolution=body.resolution[:1000])
            return add_note(case, now, text, by=intent.principal, kind="state", state=CaseState.CLOSED)
        if case.state is not CaseState.CLOSED:
            raise Conflict("the case is open already.")
        contained = case.device in self._situation(intent.tenant).quarantines
        state = CaseState.CONTAINED if contained else CaseState.OPEN
        return add_note(case, now, "reopened", by=intent.principal, kind="state", state=state)

    def _put_rule(self, intent: Intent, body: PutRule, control: ControlStore, now: float) -> Plan:
        rule = body.rule
        most_s = self._situation(intent.tenant).limits.max_ttl_s
        _verify_rule(rule, most_s)
        old = control.get(intent.tenant, ResponseRule, rule.uid) if rule.uid else None
        uid = rule.uid if old else Uid("r-" + hashed_uid("rule", intent.tenant, intent.uid)[:30])
        stored = msgspec.structs.replace(
            rule, uid=uid, tenant=Tenant(intent.tenant), time=now, source="response", by=intent.principal, deleted=False
        )
        verb = "acts from now on" if rule.enabled else "is kept and does nothing until it is enabled"
        line = (
            f"rule {rule.name} {verb}: {', '.join(rule.rules)} of severity {rule.min_severity} and above, "
            f"confidence {rule.min_confidence:.2f} and above, quarantine for {duration(rule.ttl_s)}"
        )
        return Plan(records=(stored,), lines=(line,))

    def _delete_rule(self, intent: Intent, body: DeleteRule, control: ControlStore, now: float) -> Plan:
        rule = control.get(intent.tenant, ResponseRule, body.rule)
        if rule is None or rule.deleted:
            raise NotFound(f"there is no rule {body.rule!r}.")
        gone = msgspec.structs.replace(rule, deleted=True, enabled=False, time=now, by=intent.principal)
        return Plan(records=(gone,), lines=(f"rule {rule.name} is deleted; what it did stays until its end",))

    def _device(self, intent: Intent, uid: str, control: ControlStore) -> Device:
        device = self._situation(intent.tenant).devices.get(uid) or control.get(intent.tenant, Device, uid)
        if device is None:
            raise NotFound(f"there is no device {uid!r}.")
        return device


def _verify_rule(rule: ResponseRule, most_s: float) -> None:
    if not rule.name.strip() or len(rule.name) > 100:
        raise InvalidInput("a rule has a name of 1 to 100 characters.")
    if rule.action is not ActionKind.QUARANTINE:
        raise InvalidInput(f"a rule cannot {rule.action}.", hint="It can quarantine.")
    if not MIN_RULE_TTL_S <= rule.ttl_s <= most_s:
        raise InvalidInput(f"ttl_s is {MIN_RULE_TTL_S:.0f} to {most_s:.0f} seconds.")
    if not 1 <= rule.min_severity <= 5 or not 0 <= rule.min_confidence <= 1:
        raise InvalidInput("min_severity is 1 to 5, min_confidence 0 to 1.")
    if not rule.rules or len(rule.rules) > 64 or not all(pattern.strip() for pattern in rule.rules):
        raise InvalidInput("rules names 1 to 64 finding rules or prefixes ending in `*`.")


def _request(intent: Intent, now: float, reason: str, *, case: str = "") -> Request:
    return Request(
        tenant=intent.tenant,
        by=intent.principal,
        now=now,
        seed=f"{intent.principal}\n{intent.uid}",
        reason=reason,
        case=case,
        dry_run=intent.body.dry_run,
        parents=(intent.uid,),
    )


def _all(control: ControlStore, tenant: str, kind: type[R], where: dict[str, str]) -> list[R]:
    """Read every record of a kind, newest first, up to a bound."""
    found: list[R] = []
    cursor = ""
    for _ in range(MAX_PAGES):
        page = control.page(tenant, kind, where=where, cursor=cursor, limit=PAGE)
        found += page.items
        cursor = page.cursor
        if not cursor:
            break
    return found
