"""Who gets a certificate: by a claim, or by the certificate that it replaces. Each refusal says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from thingward.model.certificate import Certificate, Claim, Enrolment, RequestSummary
from thingward.model.errors import ThingwardError
from thingward.model.ids import Tenant, Uid, hashed_uid

DAY_S: Final = 86400.0
#: A certificate is valid from a little before now: devices' clocks are behind.
BACKDATE_S: Final = 3600.0
#: Lifetimes are shortened by up to this share, so that a fleet that enrolled at once does not renew at once.
JITTER: Final = 0.1
#: Share of its lifetime after which a device should renew.
RENEW_SHARE: Final = 2 / 3


class EnrolmentRefused(ThingwardError):
    """The request gets no certificate; the message says why."""

    code = "enrolment.refused"
    status = 403


class EnrolmentRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long certificates last, and for how long after its end one still brings its device back, in seconds."""

    lifetime_s: float = 30 * DAY_S
    grace_s: float = 30 * DAY_S


def device_identity(tenant: str, anchor: str) -> str:
    """Name a device for good as `urn:uuid:...`, by its uid in the inventory or, unknown there, by its name.

    Source: RFC 9562 section 5.8 (version 8: the bits are ours).
    """
    digits: str = hashed_uid("identity", tenant, anchor)
    digits = f"{digits[:12]}8{digits[13:16]}{'89ab'[int(digits[16], 16) & 3]}{digits[17:]}"
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def enrolment_uid(tenant: str, anchor: str, key: str) -> Uid:
    """Name an enrolment: one for each key under a claim's uid or a certificate's serial."""
    return Uid("n-" + hashed_uid("enrolment", tenant, anchor, key)[:20])


def verify_key(certificates: Sequence[Certificate], now: float) -> None:
    """Raise EnrolmentRefused if certificates of the asking key say that it may have no more.

    Args:
        certificates: those of this key that were revoked, or that came of the same enrolment.
    """
    for held in certificates:
        if held.state == "revoked" and held.reason != "superseded":
            raise EnrolmentRefused(
                f"a certificate of this key was revoked ({held.reason}).", hint="Make a new key and a new claim."
            )
    if certificates and all(held.not_after <= now for held in certificates):
        raise EnrolmentRefused("the token was used, and its certificate expired.", hint="Renew with the certificate.")


def lifetime_of(rules: EnrolmentRules, random: bytes) -> float:
    """Give a lifetime with its jitter, in seconds; `random` is two bytes."""
    return rules.lifetime_s * (1.0 - JITTER * int.from_bytes(random, "big") / 65536.0)


def decide_claimed(
    request: RequestSummary,
    claim: Claim | None,
    held: Enrolment | None,
    rules: EnrolmentRules,
    *,
    random: bytes,
    now: float,
) -> tuple[Claim, Enrolment]:
    """Decide a request that came with a claim's token; binds the claim to the request's key.

    Args:
        held: what was decided about this claim and key before: a repeat gets the same.
    Raises:
        EnrolmentRefused: the reason is the message; nothing about others' claims is in it.
    """
    if claim is None:
        raise EnrolmentRefused("the token is unknown.")
    if claim.state == "withdrawn":
        raise EnrolmentRefused("the claim was withdrawn.")
    if claim.expires <= now:
        raise EnrolmentRefused("the claim is past its end.", hint="Make a new one.")
    if claim.key not in ("", request.key):
        raise EnrolmentRefused("the token was used by another key.", hint="Make a new claim if the key was lost.")
    identity = device_identity(claim.tenant, claim.device or claim.name.lower())
    _verify_names(request, claim.name, claim.serial, identity)
    if held is not None:
        if held.state == "refused":
            raise EnrolmentRefused("a person refused it.")
        return claim, held
    enrolment = Enrolment(
        uid=enrolment_uid(claim.tenant, claim.uid, request.key),
        tenant=Tenant(claim.tenant),
        time=now,
        source="registrar",
        parents=(claim.uid,),
        name=claim.name,
        identity=identity,
        key=request.key,
        key_type=request.key_type,
        state="pending" if claim.needs_approval else "approved",
        device=claim.device,
        serial=claim.serial,
        kind=claim.kind,
        claim=claim.uid,
        reason="waits for a person" if claim.needs_approval else "by its claim",
        lifetime_s=lifetime_of(rules, random),
    )
    return msgspec.structs.replace(claim, key=request.key, state="bound", time=now), enrolment


def decide_renewal(
    request: RequestSummary,
    current: Certificate | None,
    held: Enrolment | None,
    rules: EnrolmentRules,
    *,
    serial: str,
    random: bytes,
    now: float,
) -> Enrolment:
    """Decide a request that came with the certificate that it replaces; its key may be another one.

    Args:
        serial: the maker's serial number in the subject so far.
    Raises:
        EnrolmentRefused: unknown, revoked, expired beyond the time of grace, or another name.
    """
    if current is None:
        raise EnrolmentRefused("this certificate is not one of this platform's.")
    if current.state == "revoked":
        raise EnrolmentRefused(f"this certificate was revoked ({current.reason}).", hint="Make a new claim.")
    late_s = now - current.not_after
    if late_s > rules.grace_s:
        raise EnrolmentRefused(
            f"this certificate expired {late_s / DAY_S:.0f} days ago, the time of grace is {rules.grace_s / DAY_S:g} days.",
            hint="Make a new claim.",
        )
    _verify_names(request, current.name, serial, current.identity)
    if held is not None and held.state != "refused":
        return held
    is_late = late_s > 0
    return Enrolment(
        uid=enrolment_uid(current.tenant, current.uid, request.key),
        tenant=Tenant(current.tenant),
        time=now,
        source="registrar",
        parents=(current.uid,),
        name=current.name,
        identity=current.identity,
        key=request.key,
        key_type=request.key_type,
        state="approved",
        device=current.device,
        serial=serial,
        kind=current.kind,
        replaces=current.uid,
        reason=f"expired {late_s / DAY_S:.1f} days ago, within the time of grace" if is_late else "renewal",
        is_late=is_late,
        lifetime_s=lifetime_of(rules, random),
    )


def _verify_names(request: RequestSummary, name: str, serial: str, identity: str) -> None:
    """A request may leave names out or ask for its own ones, never for others."""
    if request.common_name not in ("", name):
        raise EnrolmentRefused(f"the request asks for the name {request.common_name[:64]!r}, which is not its own.")
    if request.serial not in ("", serial):
        raise EnrolmentRefused("the request asks for another serial number.")
    foreign = set(request.names) - {f"dns:{name}", f"uri:{identity}"}
    if foreign:
        raise EnrolmentRefused(f"the request asks for {sorted(foreign)[0][:80]}, which is not its own.")
