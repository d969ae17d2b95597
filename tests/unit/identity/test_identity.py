"""Passwords, secrets and roles."""

from __future__ import annotations

import typing

import msgspec
import pytest

from thingward.identity import access, credentials, passwords
from thingward.model import intent as intents
from thingward.model.errors import Forbidden, InvalidInput, Unauthenticated
from thingward.model.principal import Principal, Role

OWNER = Principal(uid="u-1", tenant="default", time=1.0, source="core", name="ana", role=Role.OPERATOR)


def test_password_round_trip_and_refusal() -> None:
    stored = passwords.hash_password("correct horse battery", b"s" * 16)
    passwords.verify_password("correct horse battery", stored)
    with pytest.raises(Unauthenticated):
        passwords.verify_password("correct horse batterx", stored)
    with pytest.raises(Unauthenticated):
        passwords.verify_password("anything", "")
    with pytest.raises(InvalidInput):
        passwords.hash_password("admin", b"s" * 16)
    assert "horse" not in stored


def test_token_lives_until_its_end_and_only_with_its_owner() -> None:
    token, secret = credentials.make_token(
        OWNER, "ci", ("devices:read",), 60.0, known=access.ALL_SCOPES, random=b"r" * 32, now=100.0
    )
    assert secret.startswith("twt_") and secret not in str(msgspec.to_builtins(token))
    assert credentials.secret_digest(secret) == token.digest
    assert credentials.verify_token(token, OWNER, 159.0) == (token, OWNER)
    for bad, owner, now, error in (
        (token, OWNER, 160.0, Unauthenticated),
        (msgspec.structs.replace(token, revoked=True), OWNER, 101.0, Unauthenticated),
        (None, OWNER, 101.0, Unauthenticated),
        (token, None, 101.0, Forbidden),
        (token, msgspec.structs.replace(OWNER, disabled=True), 101.0, Forbidden),
    ):
        with pytest.raises(error):
            credentials.verify_token(bad, owner, now)


@pytest.mark.parametrize(("scopes", "ttl_s"), [((), 60.0), (("devices:fly",), 60.0), (("*",), 0.0), (("*",), 1e9)])
def test_token_without_end_or_scope_is_refused(scopes: tuple[str, ...], ttl_s: float) -> None:
    with pytest.raises(InvalidInput):
        credentials.make_token(OWNER, "x", scopes, ttl_s, known=access.ALL_SCOPES, random=b"r" * 32, now=0.0)


def test_link_is_no_session_and_works_once() -> None:
    link, _ = credentials.make_session(OWNER, credentials.LINK_TTL_S, link=True, random=b"r" * 32, now=0.0)
    credentials.verify_session(link, OWNER, 1.0, link=True)
    with pytest.raises(Unauthenticated):
        credentials.verify_session(link, OWNER, 1.0)
    with pytest.raises(Unauthenticated):
        credentials.verify_session(msgspec.structs.replace(link, used=True), OWNER, 1.0, link=True)


def test_every_intent_names_its_role_and_scope() -> None:
    assert set(access.REQUIRED) == set(typing.get_args(intents.IntentBody))


@pytest.mark.parametrize(
    ("role", "body", "allowed"),
    [
        (Role.VIEWER, intents.QuarantineDevice(device="d", reason="r"), False),
        (Role.OPERATOR, intents.QuarantineDevice(device="d", reason="r"), True),
        (Role.OPERATOR, intents.QuarantineDevice(device="d", reason="r", force=True), False),
        (Role.APPROVER, intents.QuarantineDevice(device="d", reason="r", force=True), True),
        (Role.OPERATOR, intents.ApproveProfiles(scope="device", target="d"), False),
        (Role.APPROVER, intents.ApproveProfiles(scope="device", target="d"), True),
        (Role.APPROVER, intents.PutUser(name="x", role=Role.ADMIN), False),
        (Role.ADMIN, intents.PutUser(name="x", role=Role.ADMIN), True),
    ],
)
def test_roles(role: Role, body: intents.IntentBody, allowed: bool) -> None:
    intent = intents.Intent(uid="i", tenant="default", principal="u", role=role, time=0.0, body=body)
    if allowed:
        access.verify_allowed(intent)
    else:
        with pytest.raises(Forbidden):
            access.verify_allowed(intent)


def test_scopes_write_includes_read() -> None:
    assert access.has_scope(("devices:write",), "devices:read")
    assert not access.has_scope(("devices:read",), "devices:write")
    assert access.has_scope(("*",), "users:write")
