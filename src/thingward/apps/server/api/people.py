"""Users, tokens, sessions, and the audit log."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from thingward.apps.server.api.devices import Cursor, Limit, Search
from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import (
    LinkMade,
    Me,
    PageOf,
    PasswordBody,
    Result,
    SessionMade,
    SignIn,
    TokenBody,
    TokenMade,
    TokenView,
    UserBody,
    UserView,
    page_of,
    session_view,
    token_view,
    user_view,
)
from thingward.apps.server.callers import PUBLIC, Caller
from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.signing_in import session_cookie, sign_in
from thingward.model.errors import InvalidInput, NotFound, Unauthenticated
from thingward.model.intent import (
    CreateLoginLink,
    CreateToken,
    EndSession,
    PutUser,
    RevokeToken,
    SetPassword,
)
from thingward.model.principal import AuditEntry, Principal, Role, Token


@get("/me", operation_id="getMe", access="status:read", tags=["people"], sync_to_thread=True)
def get_me(deps: NamedDependency[Deps], caller: NamedDependency[Caller]) -> Me:
    """Tell who is asking, with which role and scopes."""
    if caller.principal is None:
        raise Unauthenticated("sign in, or send a token.")
    return Me(
        user=user_view(caller.principal),
        scopes=caller.token.scopes if caller.token else ("*",),
        version=deps.options.version,
        tenant=deps.tenant,
        demo=deps.options.demo,
    )


@put("/me/password", operation_id="setOwnPassword", access=SetPassword, tags=["people"])
async def set_password(ask: NamedDependency[Ask], data: JSONBody[PasswordBody]) -> Result:
    """Set one's own password, 12 characters at least."""
    return await result_of(ask, SetPassword(password=data.password, current=data.current))


@post("/sessions", operation_id="signIn", access=PUBLIC, tags=["people"], status_code=201)
async def create_session(
    deps: NamedDependency[Deps], caller: NamedDependency[Caller], data: JSONBody[SignIn]
) -> Response[SessionMade]:
    """Sign in by name and password or by a one-time link; sets the session cookie."""
    session, secret = await sign_in(deps, caller, user=data.user, password=data.password, link=data.link)
    return Response(
        content=SessionMade(session=session_view(session), csrf=session.csrf),
        status_code=201,
        cookies=[session_cookie(deps, secret, session)],
    )


@delete("/sessions/current", operation_id="signOut", access=EndSession, tags=["people"], status_code=200)
async def delete_session(caller: NamedDependency[Caller], ask: NamedDependency[Ask]) -> Result:
    """Sign out: the session ends at once."""
    if caller.session is None:
        raise InvalidInput("this request has no session.", hint="Tokens end by revoking them.")
    return await result_of(ask, EndSession(session=caller.session.uid))


@get("/users", operation_id="listUsers", access="users:read", tags=["people"], sync_to_thread=True)
def list_users(deps: NamedDependency[Deps], cursor: Cursor = "", limit: Limit = 100) -> PageOf[UserView]:
    """List users."""
    page = deps.backend.control.page(deps.tenant, Principal, cursor=cursor, limit=limit)
    return PageOf(items=tuple(user_view(row) for row in page.items), cursor=page.cursor)


@put("/users/{name:str}", operation_id="putUser", access=PutUser, tags=["people"])
async def put_user(ask: NamedDependency[Ask], name: FromPath[str], data: JSONBody[UserBody]) -> Result:
    """Create or change a user. The last admin can be neither disabled nor demoted."""
    return await result_of(
        ask, PutUser(name=name, role=data.role, password=data.password, email=data.email, disabled=data.disabled)
    )


@post(
    "/users/{name:str}/login-link",
    operation_id="createLoginLink",
    access=CreateLoginLink,
    tags=["people"],
    status_code=201,
)
async def create_link(deps: NamedDependency[Deps], ask: NamedDependency[Ask], name: FromPath[str]) -> LinkMade:
    """Make a one-time login link for a user: it works once, for 15 minutes. On dry run there is none."""
    if not deps.newest(Principal, 1, name=name):
        raise NotFound(f"there is no user {name!r}.", hint="Create the user first.")
    done = await ask(CreateLoginLink(user=name))
    return LinkMade(path="" if ask.dry_run else f"/login/{done.answer.secret}")


@get("/tokens", operation_id="listTokens", access="tokens:read", tags=["people"], sync_to_thread=True)
def list_tokens(
    deps: NamedDependency[Deps], caller: NamedDependency[Caller], cursor: Cursor = "", limit: Limit = 100
) -> PageOf[TokenView]:
    """List one's own tokens; an admin sees all."""
    where = {} if caller.role is Role.ADMIN else {"principal": caller.uid}
    page = deps.backend.control.page(deps.tenant, Token, where=where, cursor=cursor, limit=limit)
    return PageOf(items=tuple(token_view(row) for row in page.items), cursor=page.cursor)


@post("/tokens", operation_id="createToken", access=CreateToken, tags=["people"], status_code=201)
async def create_token(
    ask: NamedDependency[Ask], caller: NamedDependency[Caller], data: JSONBody[TokenBody]
) -> TokenMade:
    """Make a token. Its secret is in this answer and nowhere else; on dry run it is empty."""
    done = await ask(
        CreateToken(principal=data.principal or caller.uid, name=data.name, scopes=data.scopes, ttl_s=data.ttl_s)
    )
    token = next(row for row in done.records if isinstance(row, Token))
    return TokenMade(token=token_view(token), secret="" if ask.dry_run else done.answer.secret)


@delete("/tokens/{uid:str}", operation_id="revokeToken", access=RevokeToken, tags=["people"], status_code=200)
async def revoke_token(deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str]) -> Result:
    """Revoke a token at once."""
    deps.get(Token, uid)
    return await result_of(ask, RevokeToken(token=uid))


@get("/audit", operation_id="listAudit", access="audit:read", tags=["people"], sync_to_thread=True)
def list_audit(
    deps: NamedDependency[Deps],
    search: Search = "",
    principal: Annotated[str, QueryParameter(description="Only of this principal (uid).", max_length=120)] = "",
    action: Annotated[
        str, QueryParameter(description="Only this action, e.g. `quarantine_device`.", max_length=60)
    ] = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[AuditEntry]:
    """List what people did: who, what, on what, with what result."""
    given = {name: value for name, value in (("principal", principal), ("action", action)) if value}
    page = deps.backend.control.page(deps.tenant, AuditEntry, where=given, search=search, cursor=cursor, limit=limit)
    return page_of(page)


HANDLERS = (
    get_me,
    set_password,
    create_session,
    delete_session,
    list_users,
    put_user,
    create_link,
    list_tokens,
    create_token,
    revoke_token,
    list_audit,
)
