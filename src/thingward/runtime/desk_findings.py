"""Handlers for what people say of findings: that a kind of them is expected, and that it no longer is."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from thingward.model.device import Device
from thingward.model.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from thingward.model.finding import Suppression
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import Intent, RemoveSuppression, SuppressFindings
from thingward.runtime.desk import Decision, DeskContext, Handler, body_of

MAX_SUPPRESSIONS: Final = 1000
MAX_TTL_S: Final = 3660 * 86_400.0
_RULE: Final = re.compile(r"^([a-z][a-z0-9_.-]{0,99}\*?|\*)$")
_LONGEST: Final = {"reason": 500, "device": 120, "key": 1000}


def finding_handlers() -> dict[type, Handler]:
    """Handlers for suppressions."""
    return {SuppressFindings: suppress, RemoveSuppression: remove_suppression}


def suppress(intent: Intent, context: DeskContext) -> Decision:
    """Keep a person's word that findings are expected; the same word again takes the place of the first."""
    body = body_of(intent, SuppressFindings)
    _verify(body, intent.tenant, context)
    now = context.now
    known = context.control.count(intent.tenant, Suppression, where={"removed": "false"})
    uid = Uid("u-" + hashed_uid("suppression", intent.tenant, body.rule, body.device, body.key)[:20])
    if known >= MAX_SUPPRESSIONS and context.control.get(intent.tenant, Suppression, uid) is None:
        raise LimitExceeded(f"there are {MAX_SUPPRESSIONS} suppressions already.", hint="Remove one first.")
    suppression = Suppression(
        uid=uid,
        tenant=Tenant(intent.tenant),
        time=now,
        source="core",
        parents=(intent.uid,),
        rule=body.rule,
        device=body.device,
        key=body.key,
        until=now + body.ttl_s if body.ttl_s else 0.0,
        reason=body.reason.strip(),
        by=intent.principal,
    )
    return Decision(records=(suppression,), plan=(_line(suppression, body.ttl_s),), target=body.device or body.rule)


def remove_suppression(intent: Intent, context: DeskContext) -> Decision:
    """Take a suppression back: it is kept as a record, and marked."""
    held = context.control.get(intent.tenant, Suppression, body_of(intent, RemoveSuppression).suppression)
    if held is None:
        raise NotFound("no such suppression.")
    if held.removed:
        raise Conflict("the suppression is removed already.")
    gone = msgspec.structs.replace(held, removed=True, removed_by=intent.principal, time=context.now)
    return Decision(
        records=(gone,), plan=(f"findings of {held.rule} are alerts again",), target=held.device or held.rule
    )


def _verify(body: SuppressFindings, tenant: str, context: DeskContext) -> None:
    if not body.reason.strip():
        raise InvalidInput("say why such findings are expected.")
    for name, most in _LONGEST.items():
        if len(getattr(body, name)) > most:
            raise InvalidInput(f"{name} has at most {most} characters.")
    if not _RULE.match(body.rule):
        raise InvalidInput(f"{body.rule[:80]!r} is no rule.", hint="Give a rule's id, or its beginning with a *.")
    if body.rule == "*" and not (body.device or body.key):
        raise InvalidInput("everything at once cannot be suppressed.", hint="Name a rule or a device.")
    if not 0 <= body.ttl_s <= MAX_TTL_S:
        raise InvalidInput("a suppression lasts from 0 (until it is removed) to 10 years.")
    if body.device and context.control.get(tenant, Device, body.device) is None:
        raise NotFound("no such device.")


def _line(suppression: Suppression, ttl_s: float) -> str:
    what = f"findings of {suppression.rule}" + (f" about {suppression.key}" if suppression.key else "")
    where = f"device {suppression.device}" if suppression.device else "every device"
    until = f"for {ttl_s / 86_400:.1f} days" if ttl_s else "until it is removed"
    return f"{what} at {where} are kept and no alert, {until}"
