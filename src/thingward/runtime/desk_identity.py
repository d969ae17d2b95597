"""Handlers for users, tokens, sessions and run-time settings."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from thingward.identity import access, credentials, passwords
from thingward.model.action import Limits
from thingward.model.errors import Forbidden, InvalidInput, LimitExceeded, NotFound, Unauthenticated
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import (
    CreateLoginLink,
    CreateSession,
    CreateToken,
    EndSession,
    Intent,
    PutLimits,
    PutSetting,
    PutUser,
    RevokeToken,
    SetPassword,
)
from thingward.model.principal import Principal, Role, Session, SettingValue, Token
from thingward.ports.control_store import ControlStore
from thingward.runtime.desk import Decision, DeskContext, Handler, body_of

#: Settings that may change while the platform runs: name to (type, least, most).
CHANGEABLE: Mapping[str, tuple[type, float, float]] = {
    "notify.min_severity": (int, 1, 5),
    "notify.daily_budget": (int, 1, 10_000),
    "notify.digest_hour": (int, 0, 23),
    "store.retention_days": (float, 0.04, 3650),
    "store.finding_days": (float, 1, 36_500),
    "store.case_days": (float, 1, 36_500),
}
#: Failed log-ins per user before further ones are refused for a while, and that while.
MAX_FAILURES = 5
LOCK_S = 60.0


class LoginGuard:
    """Counts failed log-ins per user name, bounded; a locked name is refused before any hash is computed."""

    def __init__(self, limit: int = 10_000) -> None:
        self._failures: dict[str, tuple[int, float]] = {}
        self._limit = limit

    def verify_open(self, user: str, now: float) -> None:
        """Raise LimitExceeded while the name is locked."""
        count, last = self._failures.get(user, (0, 0.0))
        if count >= MAX_FAILURES and 0 <= now - last < LOCK_S:
            raise LimitExceeded(f"too many failed log-ins for {user}.", hint=f"Wait {LOCK_S:.0f} seconds.")

    def failed(self, user: str, now: float) -> None:
        """Count a failure; the oldest name is forgotten when the table is full."""
        count, last = self._failures.pop(user, (0, 0.0))
        if now - last > LOCK_S * 10:
            count = 0
        self._failures[user] = (count + 1, now)
        while len(self._failures) > self._limit:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, user: str) -> None:
        """Forget the failures of a name."""
        self._failures.pop(user, None)


def user_uid(tenant: str, name: str) -> Uid:
    """Name a user: one per tenant and name."""
    return Uid("u-" + hashed_uid("user", tenant, name)[:20])


def identity_handlers() -> dict[type, Handler]:
    """Handlers for everything about people, their tokens and sessions, and run-time settings."""
    guard = LoginGuard()
    return {
        PutUser: put_user,
        SetPassword: lambda intent, context: set_password(intent, context, guard),
        CreateToken: create_token,
        RevokeToken: revoke_token,
        CreateSession: lambda intent, context: create_session(intent, context, guard),
        CreateLoginLink: create_login_link,
        EndSession: end_session,
        PutLimits: put_limits,
        PutSetting: put_setting,
    }


def put_user(intent: Intent, context: DeskContext) -> Decision:
    """Create or change a user; the last enabled admin can be neither disabled nor demoted."""
    body = body_of(intent, PutUser)
    name = body.name.strip()
    if not name or len(name) > 64 or not name.isprintable():
        raise InvalidInput("a user name has 1 to 64 printable characters.")
    old = context.control.get(intent.tenant, Principal, user_uid(intent.tenant, name))
    if old is not None and old.role is Role.ADMIN and (body.disabled or body.role is not Role.ADMIN):
        _verify_other_admin(context.control, intent.tenant, old.uid)
    if body.password:
        password = passwords.hash_password(body.password, context.random(16))
    else:
        password = old.password if old else ""
    user = Principal(
        uid=user_uid(intent.tenant, name),
        tenant=Tenant(intent.tenant),
        time=context.now,
        source="core",
        name=name,
        role=body.role,
        password=password,
        disabled=body.disabled,
        email=body.email or (old.email if old else ""),
        last_seen=old.last_seen if old else 0.0,
    )
    verb = "change" if old else "create"
    return Decision(records=(user,), plan=(f"{verb} user {name} with role {body.role}",), target=user.uid)


def set_password(intent: Intent, context: DeskContext, guard: LoginGuard) -> Decision:
    """Set one's own password; the old one is asked for, if there was one, and guarded like a log-in."""
    body = body_of(intent, SetPassword)
    user = _principal(context.control, intent.tenant, intent.principal)
    if user.password:
        guard.verify_open(user.name, context.now)
        try:
            passwords.verify_password(body.current, user.password)
        except Unauthenticated as error:
            guard.failed(user.name, context.now)
            raise Forbidden("the current password is wrong.") from error
        guard.succeeded(user.name)
    password = passwords.hash_password(body.password, context.random(16))
    changed = msgspec.structs.replace(user, password=password, time=context.now)
    return Decision(records=(changed,), plan=(f"set the password of {user.name}",), target=user.uid)


def create_token(intent: Intent, context: DeskContext) -> Decision:
    """Mint a token for oneself, or as admin for anybody; never with more than its maker's role."""
    body = body_of(intent, CreateToken)
    owner = _principal(context.control, intent.tenant, body.principal or intent.principal)
    if owner.uid != intent.principal and not access.covers(intent.role, Role.ADMIN):
        raise Forbidden("only an admin makes tokens for others.")
    token, secret = credentials.make_token(
        owner,
        body.name,
        body.scopes,
        body.ttl_s,
        known=access.ALL_SCOPES,
        random=context.random(credentials.SECRET_BYTES),
        now=context.now,
    )
    return Decision(records=(token,), secret=secret, target=token.uid, plan=(f"token {token.name} for {owner.name}",))


def revoke_token(intent: Intent, context: DeskContext) -> Decision:
    """Revoke one's own token, or as admin anybody's."""
    token = context.control.get(intent.tenant, Token, body_of(intent, RevokeToken).token)
    if token is None:
        raise NotFound("no such token.")
    if token.principal != intent.principal and not access.covers(intent.role, Role.ADMIN):
        raise Forbidden("only an admin revokes others' tokens.")
    revoked = msgspec.structs.replace(token, revoked=True, time=context.now)
    return Decision(records=(revoked,), target=token.uid, plan=(f"revoke token {token.name}",))


def create_session(intent: Intent, context: DeskContext, guard: LoginGuard) -> Decision:
    """Sign in by one-time link, or by name and password."""
    body = body_of(intent, CreateSession)
    used: tuple[Session, ...] = ()
    if body.link:
        link, owner = _redeem(intent.tenant, body.link, context)
        used = (msgspec.structs.replace(link, used=True, time=context.now),)
    else:
        guard.verify_open(body.user, context.now)
        found = context.control.get(intent.tenant, Principal, user_uid(intent.tenant, body.user))
        try:
            passwords.verify_password(body.password, found.password if found else "")
        except Unauthenticated:
            guard.failed(body.user, context.now)
            raise
        if found is None or found.disabled:
            raise Unauthenticated("user name or password is wrong.")
        guard.succeeded(body.user)
        owner = found
    random = context.random(credentials.SECRET_BYTES)
    session, secret = credentials.make_session(owner, context.session_ttl_s, link=False, random=random, now=context.now)
    seen = msgspec.structs.replace(owner, last_seen=context.now)
    return Decision(records=(*used, session, seen), secret=secret, target=owner.uid, detail=f"{owner.name} signed in")


def create_login_link(intent: Intent, context: DeskContext) -> Decision:
    """Make a one-time link; the first one makes the user, as admin, without any password."""
    body = body_of(intent, CreateLoginLink)
    owner = context.control.get(intent.tenant, Principal, user_uid(intent.tenant, body.user))
    records: tuple[Principal, ...] = ()
    if owner is None:
        owner = Principal(
            uid=user_uid(intent.tenant, body.user),
            tenant=Tenant(intent.tenant),
            time=context.now,
            source="core",
            name=body.user,
            role=Role.ADMIN,
        )
        records = (owner,)
    link, secret = credentials.make_session(
        owner, credentials.LINK_TTL_S, link=True, random=context.random(credentials.SECRET_BYTES), now=context.now
    )
    return Decision(records=(*records, link), secret=secret, target=owner.uid, plan=(f"login link for {owner.name}",))


def end_session(intent: Intent, context: DeskContext) -> Decision:
    """Sign out: one's own session, or as admin anybody's."""
    session = context.control.get(intent.tenant, Session, body_of(intent, EndSession).session)
    if session is None:
        raise NotFound("no such session.")
    if session.principal != intent.principal and not access.covers(intent.role, Role.ADMIN):
        raise Forbidden("only an admin ends others' sessions.")
    return Decision(records=(msgspec.structs.replace(session, expires=0.0, time=context.now),), target=session.uid)


def put_limits(intent: Intent, context: DeskContext) -> Decision:
    """Replace the limits and the never-block list."""
    limits = body_of(intent, PutLimits).limits
    if not 0 < limits.fleet_share_per_hour <= 1 or limits.max_ttl_s <= 0 or limits.min_devices_per_hour < 0:
        raise InvalidInput("the share must be above 0 and at most 1, the longest quarantine above 0 seconds.")
    if len(limits.never_block) > 10_000:
        raise InvalidInput("the never-block list holds at most 10,000 entries.")
    value = msgspec.json.encode(limits).decode()
    return Decision(
        records=(_setting(intent, context, "limits", value),),
        plan=(
            f"fleet share per hour {limits.fleet_share_per_hour:.0%}, never-block entries {len(limits.never_block)}",
        ),
        target="limits",
    )


def put_setting(intent: Intent, context: DeskContext) -> Decision:
    """Change one of the settings that may change at run time."""
    body = body_of(intent, PutSetting)
    if body.name not in CHANGEABLE:
        raise InvalidInput(
            f"{body.name} cannot change at run time.",
            hint=f"These can: {', '.join(CHANGEABLE)}; the rest is in the file.",
        )
    kind, least, most = CHANGEABLE[body.name]
    try:
        number = kind(body.value)
    except ValueError as error:
        raise InvalidInput(f"{body.name} is a number, not {body.value!r}.") from error
    if not least <= number <= most:
        raise InvalidInput(f"{body.name} lies between {least:g} and {most:g}.")
    return Decision(
        records=(_setting(intent, context, body.name, str(number)),),
        plan=(f"{body.name} = {number}",),
        target=body.name,
    )


def current_limits(control: ControlStore, tenant: str, default: Limits) -> Limits:
    """Give the limits in force: those set at run time, else the default."""
    row = control.get(tenant, SettingValue, "limits")
    return msgspec.json.decode(row.value, type=Limits) if row else default


def _setting(intent: Intent, context: DeskContext, name: str, value: str) -> SettingValue:
    return SettingValue(
        uid=Uid(name),
        tenant=Tenant(intent.tenant),
        time=context.now,
        source="core",
        name=name,
        value=value,
        by=intent.principal,
    )


def _redeem(tenant: str, secret: str, context: DeskContext) -> tuple[Session, Principal]:
    page = context.control.page(tenant, Session, where={"digest": credentials.secret_digest(secret)}, limit=1)
    link = page.items[0] if page.items else None
    owner = context.control.get(tenant, Principal, link.principal) if link else None
    return credentials.verify_session(link, owner, context.now, link=True)


def _principal(control: ControlStore, tenant: str, uid: str) -> Principal:
    owner = control.get(tenant, Principal, uid)
    if owner is None:
        raise NotFound("no such user.")
    return owner


def _verify_other_admin(control: ControlStore, tenant: str, uid: str) -> None:
    page = control.page(tenant, Principal, limit=1000)
    if not any(user.role is Role.ADMIN and not user.disabled and user.uid != uid for user in page.items):
        raise Forbidden("the last admin can be neither disabled nor demoted.", hint="Make another admin first.")
