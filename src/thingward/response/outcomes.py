"""What an outcome means for its action, for the quarantine that it undoes, for the case and for people."""

from __future__ import annotations

import msgspec

from thingward.model.action import Action, ActionKind, ActionState, Outcome
from thingward.model.finding import CaseState
from thingward.response.plan import duration


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """An action's new state, and what follows.

    Attributes:
        text: line of the case. title, urgency: of the notification; urgency 0 tells nobody.
        case_state: what the case becomes; None leaves it.
        ends_quarantine: the device is free again.
    """

    action: Action
    text: str
    title: str = ""
    urgency: int = 0
    case_state: CaseState | None = None
    ends_quarantine: bool = False


def close_action(action: Action, outcome: Outcome, quarantine: Action | None) -> tuple[Closed, ...]:
    """Give the new states of an action and of the quarantine that it released, if it did.

    Args:
        quarantine: the one that holds for the device, if it is another action than this one.
    """
    if action.kind is ActionKind.RELEASE:
        return _close_release(action, outcome, quarantine)
    if action.kind is not ActionKind.QUARANTINE:
        return ()
    return (_close_quarantine(action, outcome),)


def _close_quarantine(action: Action, outcome: Outcome) -> Closed:
    match outcome.status:
        case "applied":
            return _applied(action, outcome)
        case "undone":
            return _undone(action, outcome, "the enforcer undid the quarantine")
        case "expired":
            return expire_action(msgspec.structs.replace(action, ended_at=outcome.time))
        case status:
            state = ActionState.REFUSED if status == "refused" else ActionState.FAILED
            reason = outcome.detail or "no reason given"
            return Closed(
                action=msgspec.structs.replace(action, state=state, refused=reason, ended_at=outcome.time),
                text=f"quarantine {status}: {reason}",
                title=f"quarantine {status}, a person must act",
                urgency=5,
                case_state=CaseState.OPEN,
                ends_quarantine=True,
            )


def _applied(action: Action, outcome: Outcome) -> Closed:
    applied = msgspec.structs.replace(
        action,
        state=ActionState.IN_FORCE,
        applied_at=outcome.time,
        ended_at=0.0,
        expires=outcome.time + action.ttl_s,
        refused="",
        state_before=outcome.state_before,
        state_after=outcome.state_after,
    )
    since = ""
    if action.trigger_at:
        since = f", {max(outcome.time - action.trigger_at, 0.0):.3f} s after the first packet behind it"
    return Closed(
        action=applied,
        text=f"quarantine in force for {duration(action.ttl_s)} ({outcome.enforcer or 'enforcer'}){since}",
        title=f"quarantined for {duration(action.ttl_s)}",
        urgency=4,
        case_state=CaseState.CONTAINED,
    )


def _undone(action: Action, outcome: Outcome, text: str) -> Closed:
    return Closed(
        action=msgspec.structs.replace(
            action, state=ActionState.UNDONE, ended_at=outcome.time, state_after=outcome.state_after
        ),
        text=text,
        title="released",
        urgency=2,
        case_state=CaseState.OPEN,
        ends_quarantine=True,
    )


def _close_release(action: Action, outcome: Outcome, quarantine: Action | None) -> tuple[Closed, ...]:
    if outcome.status in ("refused", "failed"):
        state = ActionState.REFUSED if outcome.status == "refused" else ActionState.FAILED
        reason = outcome.detail or "no reason given"
        failed = msgspec.structs.replace(action, state=state, refused=reason, ended_at=outcome.time)
        text = f"release {outcome.status}: {reason}"
        return (Closed(action=failed, text=text, title=f"release {outcome.status}, a person must act", urgency=5),)
    done = msgspec.structs.replace(
        action,
        state=ActionState.UNDONE,
        applied_at=outcome.time,
        ended_at=outcome.time,
        state_before=outcome.state_before,
        state_after=outcome.state_after,
    )
    closed = [Closed(action=done, text=f"released by {action.requested_by}")]
    if quarantine is not None:
        closed.append(_undone(quarantine, outcome, _restored(quarantine, outcome)))
    return tuple(closed)


def _restored(quarantine: Action, outcome: Outcome) -> str:
    if not quarantine.state_before or not outcome.state_after:
        return "quarantine undone"
    if quarantine.state_before == outcome.state_after:
        return f"quarantine undone; the ruleset is exactly what it was before ({outcome.state_after[:16]})"
    return (
        f"quarantine undone; the ruleset is not what it was before ({quarantine.state_before[:16]}, now "
        f"{outcome.state_after[:16]}): other rules changed in between"
    )


def expire_action(action: Action) -> Closed:
    """End a quarantine whose time is over: the kernel has dropped it by itself."""
    return Closed(
        action=msgspec.structs.replace(action, state=ActionState.EXPIRED, ended_at=action.ended_at or action.expires),
        text="quarantine ended by itself: its time is over",
        title="quarantine ended by itself",
        urgency=3,
        case_state=CaseState.OPEN,
        ends_quarantine=True,
    )
