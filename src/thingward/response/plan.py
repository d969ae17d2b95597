"""Plans: what would be done, as records and plain lines. The same functions serve the dry run and the real step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from thingward.model.action import Action, ActionKind, ActionState, Approval
from thingward.model.device import Device, device_name
from thingward.model.errors import Conflict, InvalidInput, NotFound
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import ApproveProfiles
from thingward.model.profile import MudProfile, acl_identity
from thingward.model.record import Record
from thingward.response.bounds import (
    Refusal,
    Situation,
    Targets,
    blast_of,
    protected_by,
    refuse,
    targets_of,
)

MAX_LINES = 200


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a step comes to.

    Attributes:
        records: to be fed to the road; empty on refusal, except for a refused action that is kept as evidence.
        lines: for people, one plain sentence each.
        refusal: why it may not be; None if it may.
    """

    records: tuple[Record, ...] = ()
    lines: tuple[str, ...] = ()
    refusal: Refusal | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for a step, when and why.

    Attributes:
        by: principal, or `rule:<uid>`. seed: makes the records' uids; the same seed gives the same records.
        trigger_at: time of the first packet behind it, seconds since 1970, 0 if none.
    """

    tenant: str
    by: str
    now: float
    seed: str
    reason: str = ""
    case: str = ""
    finding: str = ""
    trigger_at: float = 0.0
    dry_run: bool = False
    parents: tuple[str, ...] = ()


def plan_quarantine(
    situation: Situation, device: Device, request: Request, *, ttl_s: float, force: bool = False
) -> Plan:
    """Plan to shut a device out for a time.

    `force` overrides the share of the fleet; never the never-block list, and never the gateway or the resolver.

    Raises:
        InvalidInput: the time is not positive.
    """
    if not ttl_s > 0:
        raise InvalidInput("a quarantine lasts more than 0 seconds.", hint="Give a time; every quarantine has an end.")
    targets = targets_of(device, situation.devices.values())
    refusal = refuse(situation, device, targets, request.now)
    if refusal is not None and refusal.can_force and force:
        refusal = None
    held = situation.quarantines.get(device.uid)
    if refusal is None and held is not None:
        refusal = Refusal(f"it is quarantined already ({held.uid})")
    bounded_s = min(ttl_s, situation.limits.max_ttl_s)
    action = _quarantine(situation, device, targets, request, bounded_s, force)
    if refusal is not None:
        refused = msgspec.structs.replace(action, state=ActionState.REFUSED, refused=refusal.reason)
        return Plan(records=(refused,), lines=(f"refused: {refusal.reason}",), refusal=refusal)
    return Plan(records=(action,), lines=_quarantine_lines(device, action, ttl_s, situation.limits.max_ttl_s))


def _quarantine(
    situation: Situation, device: Device, targets: Targets, request: Request, ttl_s: float, force: bool
) -> Action:
    return Action(
        uid=Uid("x-" + hashed_uid("action", request.tenant, "quarantine", device.uid, request.seed)[:30]),
        tenant=Tenant(request.tenant),
        time=request.now,
        source="response",
        parents=request.parents,
        kind=ActionKind.QUARANTINE,
        device=device.uid,
        site=device.site,
        macs=targets.macs,
        addresses=targets.addresses,
        reason=request.reason[:500],
        requested_by=request.by,
        case=request.case,
        finding=request.finding,
        state=ActionState.REQUESTED,
        ttl_s=ttl_s,
        expires=request.now + ttl_s,
        blast=blast_of(situation, device, targets),
        requested_at=request.now,
        trigger_at=request.trigger_at,
        dry_run=request.dry_run,
        force=force,
    )


def _quarantine_lines(device: Device, action: Action, asked_s: float, most_s: float) -> tuple[str, ...]:
    blast = action.blast
    what = ", ".join((*action.macs, *action.addresses))
    lines = [
        f"{device_name(device)}: everything from and to {what} is dropped for {duration(action.ttl_s)}; "
        f"ARP stays, so that it is found again",
        f"touches {blast.devices} device{'s' if blast.devices != 1 else ''}, {blast.fleet_share:.0%} of {action.site}",
    ]
    if asked_s > most_s:
        lines.append(f"asked for {duration(asked_s)}; the limit is {duration(most_s)}")
    if blast.services:
        lines.append(f"stops: {', '.join(blast.services)}")
    lines += [f"warning: {warning}" for warning in blast.warnings]
    lines.append("undo: release the device; the rules are then what they were. It ends by itself, in the kernel")
    return tuple(lines)


def plan_release(situation: Situation, device: Device, request: Request) -> Plan:
    """Plan to undo a device's quarantine.

    Raises:
        Conflict: the device is not quarantined.
    """
    held = situation.quarantines.get(device.uid)
    if held is None:
        raise Conflict(f"{device_name(device)} is not quarantined.", hint="Nothing needs to be undone.")
    action = Action(
        uid=Uid("x-" + hashed_uid("action", request.tenant, "release", held.uid, request.seed)[:30]),
        tenant=Tenant(request.tenant),
        time=request.now,
        source="response",
        parents=(held.uid, *request.parents),
        kind=ActionKind.RELEASE,
        device=device.uid,
        site=held.site,
        macs=held.macs,
        addresses=held.addresses,
        reason=request.reason[:500],
        requested_by=request.by,
        case=held.case,
        finding=held.finding,
        state=ActionState.REQUESTED,
        requested_at=request.now,
        dry_run=request.dry_run,
    )
    lines = (
        f"{device_name(device)}: the quarantine {held.uid} of {', '.join((*held.macs, *held.addresses))} ends now",
        "the rules are then exactly what they were before it",
    )
    return Plan(records=(action,), lines=lines)


def plan_approval(
    body: ApproveProfiles,
    situation: Situation,
    profiles: Mapping[str, MudProfile],
    approvals: Mapping[str, Approval],
    request: Request,
) -> Plan:
    """Plan to put profiles in force.

    Args:
        body: scope and target; `include_unsettled` also takes profiles that are still changing.
        profiles: newest profile by device uid. approvals: those in force, by device uid.

    Raises:
        NotFound: the target names nothing, or the device has no profile yet.
        Conflict: the person saw another version, or nothing can be approved (the reasons are in the message).
    """
    chosen = _chosen(body, situation.devices.values())
    if body.scope == "device":
        _verify_seen(body, profiles.get(body.target))
    records: list[Record] = []
    lines: list[str] = []
    for device in chosen:
        profile, held = profiles.get(device.uid), approvals.get(device.uid)
        skip = _why_not(situation, device, profile, held, include_unsettled=body.include_unsettled)
        if skip or profile is None:
            lines.append(f"{device_name(device)}: left out: {skip}")
            continue
        approval = _approval(body, device, profile, held, request)
        if held is not None:
            records.append(msgspec.structs.replace(held, state="superseded"))
        records.append(approval)
        lines.append(_approval_line(device, profile, approval))
    if not records:
        raise Conflict(f"nothing can be approved: {'; '.join(lines[:5]) or 'no device fits'}.")
    return Plan(records=tuple(records), lines=tuple(lines[:MAX_LINES]))


def _chosen(body: ApproveProfiles, devices: Iterable[Device]) -> Sequence[Device]:
    fields = {"device": "uid", "kind": "kind", "site": "site"}
    field = fields[body.scope]
    chosen = [d for d in devices if getattr(d, field) == body.target and not d.group and not d.merged_into]
    if not chosen or not body.target:
        raise NotFound(f"there is no device with {field} {body.target!r}.")
    return sorted(chosen, key=lambda device: device.uid)


def _verify_seen(body: ApproveProfiles, profile: MudProfile | None) -> None:
    if profile is None:
        raise NotFound("the device has no profile yet.", hint="Let it be observed for a while.")
    if body.profile and body.profile != profile.uid:
        raise Conflict(
            f"the profile changed since you saw it: it is at version {profile.version} now.",
            hint="Look at the preview again.",
        )


def _why_not(
    situation: Situation, device: Device, profile: MudProfile | None, held: Approval | None, *, include_unsettled: bool
) -> str:
    if profile is None:
        return "no profile yet"
    protected = protected_by(situation, device, Targets(device.macs, device.addresses))
    if protected:
        return protected
    if not device.macs:
        return "no hardware address is known, so rules cannot be bound to it"
    if not profile.acls:
        return "the profile has no entries: everything would be refused"
    if profile.origin == "learnt" and not profile.settled.is_settled and not include_unsettled:
        missing = "; ".join(profile.settled.missing[:3]) or "it is still changing"
        return f"not settled: {missing}"
    if held is not None and {acl_identity(a) for a in held.acls} == {acl_identity(a) for a in profile.acls}:
        return "already in force as it is"
    return ""


def _approval(
    body: ApproveProfiles, device: Device, profile: MudProfile, held: Approval | None, request: Request
) -> Approval:
    before = {acl_identity(acl) for acl in held.acls} if held else set()
    after = {acl_identity(acl) for acl in profile.acls}
    return Approval(
        uid=Uid("p-" + hashed_uid("approval", request.tenant, device.uid, profile.uid, request.seed)[:30]),
        tenant=Tenant(request.tenant),
        time=request.now,
        source="response",
        parents=(profile.uid,),
        scope=body.scope,
        target=body.target,
        device=device.uid,
        profile=profile.uid,
        site=device.site,
        acls=profile.acls,
        by=request.by,
        comment=body.comment[:500],
        added=len(after - before),
        removed=len(before - after),
    )


def _approval_line(device: Device, profile: MudProfile, approval: Approval) -> str:
    state = "settled" if profile.settled.is_settled else f"{profile.origin}, not settled"
    return (
        f"{device_name(device)}: {len(profile.acls)} entries of profile version {profile.version} ({state}) in force, "
        f"{approval.added} added, {approval.removed} removed; all else is refused"
    )


def plan_withdrawal(approval: Approval, device: Device | None, request: Request) -> Plan:
    """Plan to take an approval back.

    Raises:
        Conflict: it is not in force.
    """
    if approval.state != "in_force":
        raise Conflict(f"the approval {approval.uid} is {approval.state} already.")
    withdrawn = msgspec.structs.replace(
        approval,
        state="withdrawn",
        withdrawn_by=request.by,
        withdrawn_at=request.now,
        comment=(request.reason or approval.comment)[:500],
    )
    name = device_name(device) if device else approval.device
    return Plan(records=(withdrawn,), lines=(f"{name}: nothing is refused any more; it is observed again",))


def duration(seconds: float) -> str:
    """Write a duration for people."""
    for unit_s, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if (seconds >= unit_s and seconds % unit_s == 0) or seconds >= 10 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
