"""Who asks, and may they: the one place where the server checks sessions, tokens, roles and scopes."""

from __future__ import annotations

import hmac
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from thingward.apps.server.backend import Backend, Options
from thingward.apps.server.throttle import Throttle
from thingward.identity.access import REQUIRED, covers, has_scope
from thingward.identity.credentials import secret_digest, verify_session, verify_token
from thingward.model.errors import Forbidden, ThingwardError, Unauthenticated
from thingward.model.principal import Principal, Role, Session, Token

COOKIE: Final = "thingward_session"
PUBLIC: Final = "public"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

#: Reading needs the role viewer, except here.
READ_ROLES: Final = {"audit:read": Role.APPROVER, "users:read": Role.ADMIN}


class Caller(msgspec.Struct, frozen=True):
    """Whoever made a request: signed in by session or token, or nobody."""

    address: str
    principal: Principal | None = None
    session: Session | None = None
    token: Token | None = None
    fault: ThingwardError | None = None

    @property
    def uid(self) -> str:
        """Uid of the principal, empty for nobody."""
        return self.principal.uid if self.principal else ""

    @property
    def role(self) -> Role:
        """Role of the principal; nobody is a viewer, and gets no further than the guard."""
        return self.principal.role if self.principal else Role.VIEWER

    @property
    def csrf(self) -> str:
        """The token that forms of this session must carry."""
        return self.session.csrf if self.session else ""

    def may(self, access: object) -> bool:
        """Tell whether `verify` would let this caller pass."""
        try:
            verify(self, access)
        except ThingwardError:
            return False
        return True


class CallerMiddleware:
    """Puts a Caller into the scope's state; never refuses by itself, that is the guard's part."""

    def __init__(self, app: Any, backend: Backend, options: Options, throttle: Throttle) -> None:
        self._app = app
        self._backend = backend
        self._tenant = options.tenant
        self._throttle = throttle

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Resolve the caller of a request."""
        if scope["type"] == "http":
            connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
            scope.setdefault("state", {})["caller"] = self._resolve(connection)
        await self._app(scope, receive, send)

    def _resolve(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        address = connection.client.host if connection.client else ""
        header = connection.headers.get("authorization", "")
        try:
            if header:
                return self._by_token(header, address)
            cookie = connection.cookies.get(COOKIE, "")
            return self._by_session(cookie, address) if cookie else Caller(address=address)
        except ThingwardError as error:
            return Caller(address=address, fault=error)

    def _by_token(self, header: str, address: str) -> Caller:
        kind, _, secret = header.partition(" ")
        now = self._backend.now()
        self._throttle.verify_open(f"token {address}", now)
        control = self._backend.control
        page = control.page(self._tenant, Token, where={"digest": secret_digest(secret.strip())}, limit=1)
        token = page.items[0] if page.items and kind.lower() == "bearer" else None
        owner = control.get(self._tenant, Principal, token.principal) if token else None
        try:
            token, owner = verify_token(token, owner, now)
        except Unauthenticated:
            self._throttle.failed(f"token {address}", now)
            raise
        return Caller(address=address, principal=owner, token=token)

    def _by_session(self, cookie: str, address: str) -> Caller:
        control = self._backend.control
        page = control.page(self._tenant, Session, where={"digest": secret_digest(cookie)}, limit=1)
        session = page.items[0] if page.items else None
        owner = control.get(self._tenant, Principal, session.principal) if session else None
        session, owner = verify_session(session, owner, self._backend.now())
        return Caller(address=address, principal=owner, session=session)


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Give the caller that the middleware found."""
    caller = connection.scope["state"].get("caller")
    return caller if isinstance(caller, Caller) else Caller(address="")


def needed(access: object) -> tuple[Role, str]:
    """Give the role and the scope that a route's `access` asks for: an intent class or a read scope.

    Raises:
        Forbidden: the route does not say; it stays shut.
    """
    if isinstance(access, type) and access in REQUIRED:
        return REQUIRED[access]
    if isinstance(access, str) and access.endswith(":read"):
        return READ_ROLES.get(access, Role.VIEWER), access
    raise Forbidden("this address does not say who may use it, so nobody may.")


def verify(caller: Caller, access: object) -> None:
    """Raise unless the caller may do this.

    Raises:
        Unauthenticated: no valid session or token.
        Forbidden: the role or the token's scopes do not cover it.
    """
    role, scope = needed(access)
    if caller.principal is None:
        raise caller.fault or Unauthenticated("sign in, or send a token.", hint="See docs/api.md.")
    if not covers(caller.role, role):
        raise Forbidden(f"this needs the role {role}; {caller.principal.name} has {caller.role}.", hint="Ask an admin.")
    if caller.token is not None and not has_scope(caller.token.scopes, scope):
        raise Forbidden(f"the token lacks the scope {scope}.", hint="Make a token with it.")


def guard_access(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass if its route's `access` option covers it; a route without one stays shut."""
    access = handler.opt.get("access")
    caller = caller_of(connection)
    unsafe = str(connection.scope.get("method", "GET")) not in SAFE_METHODS
    if unsafe:
        verify_origin(connection)
    if access == PUBLIC:
        return
    verify(caller, access)
    if unsafe and caller.session is not None and not handler.opt.get("csrf_in_form"):
        verify_csrf(caller, connection.headers.get("x-csrf-token", ""))


def verify_csrf(caller: Caller, given: str) -> None:
    """Raise Forbidden unless a request of a session carries the session's token."""
    if caller.session is None or not hmac.compare_digest(caller.csrf.encode(), given.encode()):
        raise Forbidden("the request did not come from this console's own page.", hint="Reload the page, try again.")


def verify_origin(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Raise Forbidden if the browser says that another site made the request."""
    site = connection.headers.get("sec-fetch-site", "same-origin")
    origin = connection.headers.get("origin", "")
    foreign = bool(origin) and urlsplit(origin).netloc != connection.headers.get("host", "")
    if foreign or site not in ("same-origin", "none"):
        raise Forbidden("the request came from another site.")
