"""Settings: limits and never-block list, response rules, notifications, users, tokens, one's own account."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from thingward.apps.server.api.rules import rule_of
from thingward.apps.server.api.schemas import RuleBody, token_view, user_view
from thingward.apps.server.callers import Caller
from thingward.apps.server.console.screen import Flash, Form, Screen
from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.settings import limits_now, settings_now
from thingward.identity.access import ALL_SCOPES
from thingward.model.action import Limits, ResponseRule
from thingward.model.errors import ThingwardError
from thingward.model.ids import hashed_uid
from thingward.model.intent import (
    CreateLoginLink,
    CreateToken,
    DeleteRule,
    PutLimits,
    PutRule,
    PutSetting,
    PutUser,
    RevokeToken,
    SetPassword,
    TestNotification,
)
from thingward.model.principal import Principal, Role, Token

CHANNELS = ("webhook", "email", "syslog")


@get("/settings", access="settings:read", sync_to_thread=True, include_in_schema=False)
def settings_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[str]:
    """Show limits, rules, notifications and all settings."""
    rows = settings_now(deps)
    return screen.page(
        request,
        "settings.html",
        limits=limits_now(deps),
        rules=[row for row in deps.newest(ResponseRule, 200) if not row.deleted],
        changeable=[row for row in rows if row.changeable],
        fixed=[row for row in rows if not row.changeable],
        channels=CHANNELS,
        people=screen.people(),
    )


@post("/settings/limits", access=PutLimits, operation="replaceLimits", csrf_in_form=True, include_in_schema=False)
async def put_limits(
    screen: NamedDependency[Screen], deps: NamedDependency[Deps], ask: NamedDependency[Ask], form: NamedDependency[Form]
) -> Response[Any]:
    """Replace limits and never-block list."""
    old = limits_now(deps)
    limits = Limits(
        fleet_share_per_hour=form.number("share", old.fleet_share_per_hour * 100) / 100,
        min_devices_per_hour=int(form.number("least", old.min_devices_per_hour)),
        max_ttl_s=form.number("max_hours", old.max_ttl_s / 3600) * 3600,
        never_block=form.lines("never_block"),
    )
    said = "Limits replaced. Every enforcer checks them once more."
    return await screen.perform(ask, PutLimits(limits=limits), to="/settings#limits", said=said)


@post("/settings/rules", access=PutRule, operation="createRule", csrf_in_form=True, include_in_schema=False)
async def put_rule(
    screen: NamedDependency[Screen], deps: NamedDependency[Deps], ask: NamedDependency[Ask], form: NamedDependency[Form]
) -> Response[Any]:
    """Create a response rule, or replace the one named."""
    body = RuleBody(
        name=form.text("name", 100) or "rule",
        rules=form.lines("rules") or ("*",),
        min_severity=int(form.number("min_severity", 4)),
        min_confidence=min(max(form.number("min_confidence", 70) / 100, 0.0), 1.0),
        kinds=form.lines("kinds"),
        action="notify" if form.text("action") == "notify" else "quarantine",
        ttl_s=max(form.number("minutes", 60), 1) * 60,
        enabled=form.flag("enabled"),
    )
    uid = form.text("uid", 120) or "r-" + hashed_uid("rule", deps.tenant, body.name, f"{deps.now():.3f}")[:20]
    rule = rule_of(deps, uid, body, ask.caller.uid)
    said = f"Rule {body.name} is {'on' if body.enabled else 'kept, switched off'}."
    return await screen.perform(ask, PutRule(rule=rule), to="/settings#rules", said=said)


@post(
    "/settings/rules/{uid:str}/delete",
    access=DeleteRule,
    operation="deleteRule",
    csrf_in_form=True,
    include_in_schema=False,
)
async def delete_rule(
    screen: NamedDependency[Screen], ask: NamedDependency[Ask], form: NamedDependency[Form], uid: FromPath[str]
) -> Response[Any]:
    """Delete a response rule."""
    said = "Deleted. What it did stays in force until its end."
    return await screen.perform(ask, DeleteRule(rule=uid), to="/settings#rules", said=said)


@post("/settings/value", access=PutSetting, operation="putSetting", csrf_in_form=True, include_in_schema=False)
async def put_setting(
    screen: NamedDependency[Screen], ask: NamedDependency[Ask], form: NamedDependency[Form]
) -> Response[Any]:
    """Change one setting."""
    body = PutSetting(name=form.text("name", 100), value=form.text("value", 1000))
    return await screen.perform(ask, body, to="/settings#values", said=f"{body.name} is {body.value} now.")


@post(
    "/settings/test", access=TestNotification, operation="testNotification", csrf_in_form=True, include_in_schema=False
)
async def test_channel(
    screen: NamedDependency[Screen], ask: NamedDependency[Ask], form: NamedDependency[Form]
) -> Response[Any]:
    """Send a test message."""
    channel = form.text("channel", 20)
    said = f"A test message went out by {channel}."
    return await screen.perform(ask, TestNotification(channel=channel), to="/settings#notify", said=said)


@get("/users", access="users:read", sync_to_thread=True, include_in_schema=False)
def users_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[str]:
    """Show users and what each role may do."""
    users = sorted((user_view(row) for row in deps.newest(Principal, 1000)), key=lambda row: row.name)
    return screen.page(request, "users.html", users=users, roles=tuple(Role), link="")


@post("/users", access=PutUser, operation="putUser", csrf_in_form=True, include_in_schema=False)
async def put_user(
    screen: NamedDependency[Screen], ask: NamedDependency[Ask], form: NamedDependency[Form]
) -> Response[Any]:
    """Create or change a user."""
    body = PutUser(
        name=form.text("name", 64),
        role=Role(form.text("role")) if form.text("role") in set(Role) else Role.VIEWER,
        password=form.fields.get("password", ""),
        email=form.text("email", 254),
        disabled=form.flag("disabled"),
    )
    return await screen.perform(ask, body, to="/users", said=f"User {body.name} is kept with role {body.role}.")


@post(
    "/users/link",
    access=CreateLoginLink,
    operation="createLoginLink",
    csrf_in_form=True,
    include_in_schema=False,
    status_code=200,
)
async def login_link(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    ask: NamedDependency[Ask],
    form: NamedDependency[Form],
) -> Response[str]:
    """Make a one-time login link and show it once."""
    done = await ask(CreateLoginLink(user=form.text("name", 64)))
    users = sorted((user_view(row) for row in deps.newest(Principal, 1000)), key=lambda row: row.name)
    link = f"{request.base_url}login/{done.answer.secret}"
    return screen.page(request, "users.html", users=users, roles=tuple(Role), link=link)


@get("/account", access="status:read", sync_to_thread=True, include_in_schema=False)
def account_page(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    caller: NamedDependency[Caller],
) -> Response[str]:
    """Show one's own account and tokens."""
    return _account(request, screen, deps, caller, "")


def _account(request: Request[Any, Any, Any], screen: Screen, deps: Deps, caller: Caller, secret: str) -> Response[str]:
    where = {} if caller.role is Role.ADMIN else {"principal": caller.uid}
    tokens = [token_view(row) for row in deps.newest(Token, 200, **where)]
    return screen.page(
        request,
        "account.html",
        tokens=tokens,
        scopes=ALL_SCOPES,
        secret=secret,
        people=screen.people(),
        me=user_view(caller.principal) if caller.principal else None,
    )


@post("/account/password", access=SetPassword, operation="setOwnPassword", csrf_in_form=True, include_in_schema=False)
async def set_password(
    screen: NamedDependency[Screen], ask: NamedDependency[Ask], form: NamedDependency[Form]
) -> Response[Any]:
    """Set one's own password."""
    fields = form.fields
    if fields.get("password") != fields.get("again"):
        screen.put_flash(ask.caller, Flash("The two passwords differ.", is_error=True))
        return Redirect("/account", status_code=303)
    body = SetPassword(password=fields.get("password", ""), current=fields.get("current", ""))
    return await screen.perform(ask, body, to="/account", said="Your password is set.")


@post(
    "/account/tokens",
    access=CreateToken,
    operation="createToken",
    csrf_in_form=True,
    include_in_schema=False,
    status_code=200,
)
async def create_token(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    caller: NamedDependency[Caller],
    ask: NamedDependency[Ask],
    form: NamedDependency[Form],
) -> Response[Any]:
    """Make a token and show its secret once."""
    scopes = tuple(scope for scope in (*ALL_SCOPES, "*") if form.flag(f"scope {scope}"))
    body = CreateToken(
        principal=caller.uid, name=form.text("name", 100), scopes=scopes, ttl_s=form.number("days", 30) * 86400
    )
    try:
        done = await ask(body)
    except ThingwardError as error:
        screen.put_flash(caller, Flash(str(error), is_error=True))
        return Redirect("/account#tokens", status_code=303)
    return _account(request, screen, deps, caller, done.answer.secret)


@post(
    "/account/tokens/{uid:str}/revoke",
    access=RevokeToken,
    operation="revokeToken",
    csrf_in_form=True,
    include_in_schema=False,
)
async def revoke_token(
    screen: NamedDependency[Screen], ask: NamedDependency[Ask], form: NamedDependency[Form], uid: FromPath[str]
) -> Response[Any]:
    """Revoke a token."""
    return await screen.perform(ask, RevokeToken(token=uid), to="/account#tokens", said="Revoked at once.")


HANDLERS = (
    settings_page,
    put_limits,
    put_rule,
    delete_rule,
    put_setting,
    test_channel,
    users_page,
    put_user,
    login_link,
    account_page,
    set_password,
    create_token,
    revoke_token,
)
