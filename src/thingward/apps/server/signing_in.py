"""Signing in and out: the same for API and console, with the lock-out of addresses."""

from __future__ import annotations

from litestar.datastructures import Cookie

from thingward.apps.server.callers import COOKIE, Caller
from thingward.apps.server.deps import Deps
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.model.intent import CreateSession
from thingward.model.principal import Session


async def sign_in(
    deps: Deps, caller: Caller, *, user: str = "", password: str = "", link: str = ""
) -> tuple[Session, str]:
    """Open a session by name and password, or by the secret of a one-time link.

    Returns:
        The session and the secret of its cookie.
    Raises:
        Locked: too many failures from this address. Unauthenticated (by core): wrong.
    """
    if not link and not (user and password):
        raise InvalidInput("a user name and a password are needed, or a link.")
    key, now = f"sign-in {caller.address}", deps.now()
    deps.throttle.verify_open(key, now)
    try:
        nobody = Caller(address=caller.address)
        done = await deps.performer.perform(nobody, CreateSession(user=user, password=password, link=link))
    except ThingwardError as error:
        if error.status in (401, 403):
            deps.throttle.failed(key, now)
        raise
    deps.throttle.succeeded(key)
    session = next((row for row in done.records if isinstance(row, Session) and not row.link), None)
    if session is None or not done.answer.secret:
        raise Unavailable("core opened no session.")
    return session, done.answer.secret


def session_cookie(deps: Deps, secret: str, session: Session) -> Cookie:
    """Make the cookie: not for scripts, not for other sites, over TLS only where there is TLS."""
    return Cookie(
        key=COOKIE,
        value=secret,
        path="/",
        max_age=max(1, int(session.expires - deps.now())),
        httponly=True,
        secure=deps.options.secure,
        samesite="strict",
    )


def no_cookie() -> Cookie:
    """Make the cookie that takes the session's away."""
    return Cookie(key=COOKIE, value="", path="/", max_age=0, httponly=True, samesite="strict")
