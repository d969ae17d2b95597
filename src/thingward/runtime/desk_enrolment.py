"""Handlers for claims, enrolments and certificates: core decides and keeps them, the registrar issues."""

from __future__ import annotations

import msgspec

from thingward.identity.claims import make_claim, verify_claims
from thingward.identity.credentials import SECRET_BYTES
from thingward.identity.enrolment import (
    EnrolmentRefused,
    EnrolmentRules,
    decide_claimed,
    decide_renewal,
    enrolment_uid,
    verify_key,
)
from thingward.model.certificate import Certificate, Claim, Enrolment
from thingward.model.device import Device
from thingward.model.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from thingward.model.ids import Tenant
from thingward.model.intent import (
    CreateClaims,
    DecideEnrolment,
    Intent,
    NoteCertificates,
    RequestCertificate,
    RevokeCertificate,
    WithdrawClaim,
)
from thingward.model.record import Record
from thingward.runtime.desk import Decision, DeskContext, Handler, body_of

MAX_NOTED = 1000
MAX_HELD = 200_000


def enrolment_handlers(rules: EnrolmentRules) -> dict[type, Handler]:
    """Handlers for everything about enrolment."""
    return {
        CreateClaims: create_claims,
        WithdrawClaim: withdraw_claim,
        DecideEnrolment: decide_enrolment,
        RevokeCertificate: revoke_certificate,
        RequestCertificate: lambda intent, context: request_certificate(intent, context, rules),
        NoteCertificates: note_certificates,
    }


def create_claims(intent: Intent, context: DeskContext) -> Decision:
    """Make tokens; each name may have one claim that waits."""
    body = body_of(intent, CreateClaims)
    verify_claims(body.claims)
    tenant = Tenant(intent.tenant)
    if context.control.count(tenant, Claim) + len(body.claims) > MAX_HELD:
        raise LimitExceeded(f"there are {MAX_HELD} claims at most.", hint="They are forgotten 30 days after their end.")
    for new in body.claims:
        if new.device and context.control.get(tenant, Device, new.device) is None:
            raise NotFound(f"there is no device {new.device!r}.")
        if _waiting(context, tenant, new.name):
            raise Conflict(f"a claim for {new.name} waits already.", hint="Withdraw it first.")
    made = [
        make_claim(
            new,
            tenant=tenant,
            by=intent.principal,
            ttl_s=body.ttl_s,
            needs_approval=body.needs_approval,
            random=context.random(SECRET_BYTES),
            now=context.now,
        )
        for new in body.claims
    ]
    names = ", ".join(new.name for new in body.claims[:5]) + (" ..." if len(made) > 5 else "")
    return Decision(
        records=tuple(claim for claim, _ in made),
        secret="\n".join(token for _, token in made),
        plan=(f"make {len(made)} claim{'s' if len(made) > 1 else ''}: {names}",),
        target=made[0][0].uid if len(made) == 1 else f"{len(made)} claims",
    )


def withdraw_claim(intent: Intent, context: DeskContext) -> Decision:
    """Make a token useless."""
    claim = context.control.get(intent.tenant, Claim, body_of(intent, WithdrawClaim).claim)
    if claim is None:
        raise NotFound("there is no such claim.")
    changed = msgspec.structs.replace(claim, state="withdrawn", time=context.now)
    return Decision(records=(changed,), plan=(f"withdraw the claim of {claim.name}",), target=claim.uid)


def decide_enrolment(intent: Intent, context: DeskContext) -> Decision:
    """Say yes or no to an enrolment that waits."""
    body = body_of(intent, DecideEnrolment)
    held = context.control.get(intent.tenant, Enrolment, body.enrolment)
    if held is None:
        raise NotFound("there is no such enrolment.")
    if held.state != "pending":
        raise Conflict(f"this enrolment is {held.state} already.")
    state = "approved" if body.is_approved else "refused"
    reason = body.reason[:500] or f"{state} by a person"
    changed = msgspec.structs.replace(held, state=state, reason=reason, by=intent.principal, time=context.now)
    verb = "approve" if body.is_approved else "refuse"
    return Decision(records=(changed,), plan=(f"{verb} the enrolment of {held.name}",), target=held.uid)


def revoke_certificate(intent: Intent, context: DeskContext) -> Decision:
    """Revoke for good, with every other certificate of the device: whoever has its key may have renewed with it.

    Only one that was superseded goes alone.
    """
    body = body_of(intent, RevokeCertificate)
    held = context.control.get(intent.tenant, Certificate, body.certificate)
    if held is None:
        raise NotFound("there is no such certificate.")
    if held.state == "revoked":
        raise Conflict("this certificate is revoked already.")
    others: tuple[Certificate, ...] = ()
    if body.reason != "superseded":
        where = {"identity": held.identity, "state": "valid"}
        others = context.control.page(intent.tenant, Certificate, where=where, limit=1000).items
    revoked = tuple(
        msgspec.structs.replace(
            row, state="revoked", revoked_at=context.now, reason=body.reason, by=intent.principal, time=context.now
        )
        for row in (held, *(row for row in others if row.uid != held.uid))
    )
    lines = tuple(f"revoke certificate {row.uid} of {row.name} ({body.reason})" for row in revoked)
    return Decision(records=revoked, plan=lines, target=held.uid)


def request_certificate(intent: Intent, context: DeskContext, rules: EnrolmentRules) -> Decision:
    """Decide for the registrar; the answer's record is the enrolment."""
    body = body_of(intent, RequestCertificate)
    control, tenant, request = context.control, Tenant(intent.tenant), body.request
    records: list[Record] = []
    verify_key(_of_key(context, tenant, request.key, state="revoked"), context.now)
    if body.token:
        page = control.page(tenant, Claim, where={"digest": body.token}, limit=1)
        claim = page.items[0] if page.items else None
        held = control.get(tenant, Enrolment, enrolment_uid(tenant, claim.uid, request.key)) if claim else None
        bound, enrolment = decide_claimed(request, claim, held, rules, random=context.random(2), now=context.now)
        if held is not None:
            verify_key(_of_key(context, tenant, request.key, enrolment=held.uid), context.now)
        if bound != claim:
            records.append(bound)
    elif body.certificate:
        current = control.get(tenant, Certificate, body.certificate)
        known = control.get(tenant, Enrolment, enrolment_uid(tenant, body.certificate, request.key))
        before = control.get(tenant, Enrolment, current.enrolment) if current else None
        serial = before.serial if before else ""
        enrolment = decide_renewal(
            request, current, known, rules, serial=serial, random=context.random(2), now=context.now
        )
    else:
        raise EnrolmentRefused("a token or a certificate is needed.")
    enrolment = msgspec.structs.replace(enrolment, address=enrolment.address or intent.address)
    said = f"{enrolment.name}: {enrolment.state}, {enrolment.reason}"
    return Decision(records=(*records, enrolment), plan=(said,), target=enrolment.uid, detail=said)


def note_certificates(intent: Intent, context: DeskContext) -> Decision:
    """Keep what the registrar issued; what is known stays, so that a repeat never takes a revocation back."""
    body = body_of(intent, NoteCertificates)
    if not 1 <= len(body.certificates) <= MAX_NOTED:
        raise InvalidInput(f"1 to {MAX_NOTED} certificates are told at once.")
    new = []
    for row in body.certificates:
        if row.tenant != intent.tenant:
            raise InvalidInput("a certificate of another tenant.")
        if context.control.get(intent.tenant, Certificate, row.uid) is None:
            new.append(row)
    lines = tuple(f"issued {row.uid} to {row.name}" for row in new)
    return Decision(
        records=tuple(new),
        plan=lines,
        target=new[0].uid if len(new) == 1 else f"{len(new)} certificates",
        is_told=False,
    )


def _of_key(context: DeskContext, tenant: Tenant, key: str, **more: str) -> tuple[Certificate, ...]:
    return context.control.page(tenant, Certificate, where={"key": key, **more}, limit=100).items


def _waiting(context: DeskContext, tenant: Tenant, name: str) -> bool:
    page = context.control.page(tenant, Claim, where={"name": name, "state": "open"}, limit=1000)
    return any(claim.expires > context.now for claim in page.items)
