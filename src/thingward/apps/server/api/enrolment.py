"""Claims, enrolments and certificates of devices."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from thingward.apps.server.api.devices import Cursor, Limit, Search
from thingward.apps.server.api.findings import DeviceUid
from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import (
    ClaimsBody,
    ClaimsMade,
    ClaimView,
    PageOf,
    Reason,
    Result,
    Revoke,
    claim_view,
    page_of,
)
from thingward.apps.server.deps import Ask, Deps
from thingward.identity.claims import read_claims
from thingward.model.certificate import Certificate, Claim, Enrolment
from thingward.model.errors import InvalidInput
from thingward.model.intent import CreateClaims, DecideEnrolment, NewClaim, RevokeCertificate, WithdrawClaim


@get("/claims", operation_id="listClaims", access="certificates:read", tags=["enrolment"], sync_to_thread=True)
def list_claims(
    deps: NamedDependency[Deps],
    search: Search = "",
    device: DeviceUid = "",
    in_state: Annotated[
        Literal["open", "bound", "withdrawn"] | None,
        QueryParameter(name="state", description="Only those in this state."),
    ] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[ClaimView]:
    """List claims, without their tokens; also those past their end."""
    where = {name: value for name, value in (("device", device), ("state", in_state or "")) if value}
    page = deps.backend.control.page(deps.tenant, Claim, where=where, search=search, cursor=cursor, limit=limit)
    return PageOf(items=tuple(claim_view(row) for row in page.items), cursor=page.cursor)


@post("/claims", operation_id="createClaims", access=CreateClaims, tags=["enrolment"], status_code=201)
async def create_claims(ask: NamedDependency[Ask], data: JSONBody[ClaimsBody]) -> ClaimsMade:
    """Make one-time tokens by which devices enrol. They are in this answer and nowhere else."""
    if bool(data.claims) == bool(data.csv):
        raise InvalidInput("give either claims or csv.")
    given = tuple(msgspec.convert(msgspec.to_builtins(row), NewClaim) for row in data.claims)
    claims = given or read_claims(data.csv)
    done = await ask(CreateClaims(claims=claims, ttl_s=data.ttl_s, needs_approval=data.needs_approval))
    if ask.dry_run:
        return ClaimsMade(claims=(), tokens=(), dry_run=True, plan=done.answer.plan)
    made = tuple(claim_view(row) for row in done.records if isinstance(row, Claim))
    return ClaimsMade(claims=made, tokens=tuple(done.answer.secret.split("\n")), plan=done.answer.plan)


@delete("/claims/{uid:str}", operation_id="withdrawClaim", access=WithdrawClaim, tags=["enrolment"], status_code=200)
async def withdraw_claim(deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str]) -> Result:
    """Make a claim's token useless; certificates that came of it stay."""
    deps.get(Claim, uid)
    return await result_of(ask, WithdrawClaim(claim=uid))


@get("/enrolments", operation_id="listEnrolments", access="certificates:read", tags=["enrolment"], sync_to_thread=True)
def list_enrolments(
    deps: NamedDependency[Deps],
    search: Search = "",
    device: DeviceUid = "",
    in_state: Annotated[
        Literal["pending", "approved", "refused"] | None,
        QueryParameter(name="state", description="Only those in this state."),
    ] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Enrolment]:
    """List who asked for a certificate, and what was decided. `pending`: a person has to say yes or no."""
    where = {name: value for name, value in (("device", device), ("state", in_state or "")) if value}
    page = deps.backend.control.page(deps.tenant, Enrolment, where=where, search=search, cursor=cursor, limit=limit)
    return page_of(page)


@post(
    "/enrolments/{uid:str}/approve",
    operation_id="approveEnrolment",
    access=DecideEnrolment,
    tags=["enrolment"],
    status_code=200,
)
async def approve_enrolment(
    deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str], data: JSONBody[Reason]
) -> Result:
    """Approve an enrolment that waits: the device gets its certificate when it asks again."""
    deps.get(Enrolment, uid)
    return await result_of(ask, DecideEnrolment(enrolment=uid, is_approved=True, reason=data.reason))


@post(
    "/enrolments/{uid:str}/refuse",
    operation_id="refuseEnrolment",
    access=DecideEnrolment,
    tags=["enrolment"],
    status_code=200,
)
async def refuse_enrolment(
    deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str], data: JSONBody[Reason]
) -> Result:
    """Refuse an enrolment that waits, for good: the device needs a new claim."""
    deps.get(Enrolment, uid)
    return await result_of(ask, DecideEnrolment(enrolment=uid, is_approved=False, reason=data.reason))


@get(
    "/certificates",
    operation_id="listCertificates",
    access="certificates:read",
    tags=["enrolment"],
    sync_to_thread=True,
)
def list_certificates(
    deps: NamedDependency[Deps],
    search: Search = "",
    device: DeviceUid = "",
    in_state: Annotated[
        Literal["valid", "revoked"] | None,
        QueryParameter(name="state", description="`revoked`, or `valid`: not revoked; its time may be over."),
    ] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Certificate]:
    """List certificates that were issued."""
    where = {name: value for name, value in (("device", device), ("state", in_state or "")) if value}
    page = deps.backend.control.page(deps.tenant, Certificate, where=where, search=search, cursor=cursor, limit=limit)
    return page_of(page)


@get(
    "/certificates/{serial:str}",
    operation_id="getCertificate",
    access="certificates:read",
    tags=["enrolment"],
    sync_to_thread=True,
)
def get_certificate(deps: NamedDependency[Deps], serial: FromPath[str]) -> Certificate:
    """Give one certificate, with its PEM."""
    return deps.get(Certificate, serial)


@post(
    "/certificates/{serial:str}/revoke",
    operation_id="revokeCertificate",
    access=RevokeCertificate,
    tags=["enrolment"],
    status_code=200,
)
async def revoke_certificate(
    deps: NamedDependency[Deps], ask: NamedDependency[Ask], serial: FromPath[str], data: JSONBody[Revoke]
) -> Result:
    """Revoke for good every certificate of the device (`superseded`: this one); it needs a new key and a new claim."""
    deps.get(Certificate, serial)
    return await result_of(ask, RevokeCertificate(certificate=serial, reason=data.reason))


HANDLERS = (
    list_claims,
    create_claims,
    withdraw_claim,
    list_enrolments,
    approve_enrolment,
    refuse_enrolment,
    list_certificates,
    get_certificate,
    revoke_certificate,
)
