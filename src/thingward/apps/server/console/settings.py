"""Settings: limits and never-block list, response rules, notifications, users, tokens, one's own account."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from thingward.apps.server.api.packs import import_text
from thingward.apps.server.api.rules import rule_of
from thingward.apps.server.api.schemas import RuleBody, pack_view, token_view, user_view
from thingward.apps.server.callers import Caller
from thingward.apps.server.console.form_step import Step, form_post
from thingward.apps.server.console.screen import Screen, sentence
from thingward.apps.server.deps import Deps
from thingward.apps.server.settings import limits_now, settings_now
from thingward.identity.access import ALL_SCOPES
from thingward.model.action import Limits, ResponseRule
from thingward.model.errors import ThingwardError
from thingward.model.ids import hashed_uid
from thingward.model.intent import (
    CreateLoginLink,
    CreateToken,
    DeleteRule,
    ImportPack,
    PutLimits,
    PutRule,
    PutSetting,
    PutUser,
    RemovePack,
    RevokeToken,
    SetPassword,
    TestNotification,
)
from thingward.model.principal import Principal, Role, Token

CHANNELS = ("webhook", "email", "syslog")


@get("/settings", access="settings:read")
async def settings_page(
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
        packs=[pack_view(info, deps.now()) for info in (await deps.backend.health()).packs],
        people=screen.people(),
    )


@form_post("/settings/limits", access=PutLimits, operation="replaceLimits")
async def put_limits(step: NamedDependency[Step]) -> Response[Any]:
    """Replace limits and never-block list."""
    old = limits_now(step.deps)
    limits = Limits(
        fleet_share_per_hour=step.form.number("share", old.fleet_share_per_hour * 100) / 100,
        min_devices_per_hour=int(step.form.number("least", old.min_devices_per_hour)),
        max_ttl_s=step.form.number("max_hours", old.max_ttl_s / 3600) * 3600,
        never_block=step.form.lines("never_block"),
    )
    said = "Limits replaced. Every enforcer checks them once more."
    return await step.perform(PutLimits(limits=limits), to="/settings#limits", said=said)


@form_post("/settings/rules", access=PutRule, operation="createRule")
async def put_rule(step: NamedDependency[Step]) -> Response[Any]:
    """Create a response rule, or replace the one named."""
    body = RuleBody(
        name=step.form.text("name", 100) or "rule",
        rules=step.form.lines("rules") or ("*",),
        min_severity=int(step.form.number("min_severity", 4)),
        min_confidence=min(max(step.form.number("min_confidence", 70) / 100, 0.0), 1.0),
        kinds=step.form.lines("kinds"),
        action="notify" if step.form.text("action") == "notify" else "quarantine",
        ttl_s=max(step.form.number("minutes", 60), 1) * 60,
        enabled=step.form.flag("enabled"),
    )
    uid = (
        step.form.text("uid", 120)
        or "r-" + hashed_uid("rule", step.deps.tenant, body.name, f"{step.deps.now():.3f}")[:20]
    )
    rule = rule_of(step.deps, uid, body, step.ask.caller.uid)
    said = f"Rule {body.name} is {'on' if body.enabled else 'kept, switched off'}."
    return await step.perform(PutRule(rule=rule), to="/settings#rules", said=said)


@form_post("/settings/rules/{uid:str}/delete", access=DeleteRule, operation="deleteRule")
async def delete_rule(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Delete a response rule."""
    said = "Deleted. What it did stays in force until its end."
    return await step.perform(DeleteRule(rule=uid), to="/settings#rules", said=said)


@form_post("/settings/packs", access=ImportPack, operation="importPack")
async def put_pack(step: NamedDependency[Step]) -> Response[Any]:
    """Import a pasted list."""
    name, text = step.form.text("name", 64), step.form.fields.get("list", "")
    share = min(max(step.form.number("confidence", 80), 1), 100) / 100
    try:
        result = await import_text(step.ask, name, text.encode(), share)
    except ThingwardError as error:
        return step.tell(sentence(str(error)), to="/settings#packs", is_error=True)
    return step.tell(f"Looked for from now on: {result.plan[0]}.", to="/settings#packs")


@form_post("/settings/packs/{name:str}/remove", access=RemovePack, operation="removePack")
async def remove_pack(step: NamedDependency[Step], name: FromPath[str]) -> Response[Any]:
    """Forget a pack."""
    said = f"Pack {name} is removed: detection no longer looks for it."
    return await step.perform(RemovePack(name=name), to="/settings#packs", said=said)


@form_post("/settings/value", access=PutSetting, operation="putSetting")
async def put_setting(step: NamedDependency[Step]) -> Response[Any]:
    """Change one setting."""
    body = PutSetting(name=step.form.text("name", 100), value=step.form.text("value", 1000))
    return await step.perform(body, to="/settings#values", said=f"{body.name} is {body.value} now.")


@form_post("/settings/test", access=TestNotification, operation="testNotification")
async def test_channel(step: NamedDependency[Step]) -> Response[Any]:
    """Send a test message."""
    channel = step.form.text("channel", 20)
    said = f"A test message went out by {channel}."
    return await step.perform(TestNotification(channel=channel), to="/settings#notify", said=said)


@get("/users", access="users:read", sync_to_thread=True)
def users_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[str]:
    """Show users and what each role may do."""
    users = sorted((user_view(row) for row in deps.newest(Principal, 1000)), key=lambda row: row.name)
    return screen.page(request, "users.html", users=users, roles=tuple(Role), link="")


@form_post("/users", access=PutUser, operation="putUser")
async def put_user(step: NamedDependency[Step]) -> Response[Any]:
    """Create or change a user."""
    body = PutUser(
        name=step.form.text("name", 64),
        role=Role(step.form.text("role")) if step.form.text("role") in set(Role) else Role.VIEWER,
        password=step.form.fields.get("password", ""),
        email=step.form.text("email", 254),
        disabled=step.form.flag("disabled"),
    )
    return await step.perform(body, to="/users", said=f"User {body.name} is kept with role {body.role}.")


@form_post("/users/link", access=CreateLoginLink, operation="createLoginLink", status_code=200)
async def login_link(step: NamedDependency[Step]) -> Response[str]:
    """Make a one-time login link and show it once."""
    done = await step.ask(CreateLoginLink(user=step.form.text("name", 64)))
    users = sorted((user_view(row) for row in step.deps.newest(Principal, 1000)), key=lambda row: row.name)
    link = f"{step.request.base_url}login/{done.answer.secret}"
    return step.screen.page(step.request, "users.html", users=users, roles=tuple(Role), link=link)


@get("/account", access="status:read", sync_to_thread=True)
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


@form_post("/account/password", access=SetPassword, operation="setOwnPassword")
async def set_password(step: NamedDependency[Step]) -> Response[Any]:
    """Set one's own password."""
    fields = step.form.fields
    if fields.get("password") != fields.get("again"):
        return step.tell("The two passwords differ.", to="/account", is_error=True)
    body = SetPassword(password=fields.get("password", ""), current=fields.get("current", ""))
    return await step.perform(body, to="/account", said="Your password is set.")


@form_post("/account/tokens", access=CreateToken, operation="createToken", status_code=200)
async def create_token(step: NamedDependency[Step]) -> Response[Any]:
    """Make a token and show its secret once."""
    scopes = tuple(scope for scope in (*ALL_SCOPES, "*") if step.form.flag(f"scope {scope}"))
    body = CreateToken(
        principal=step.ask.caller.uid,
        name=step.form.text("name", 100),
        scopes=scopes,
        ttl_s=step.form.number("days", 30) * 86400,
    )
    try:
        done = await step.ask(body)
    except ThingwardError as error:
        return step.tell(str(error), to="/account#tokens", is_error=True)
    return _account(step.request, step.screen, step.deps, step.ask.caller, done.answer.secret)


@form_post("/account/tokens/{uid:str}/revoke", access=RevokeToken, operation="revokeToken")
async def revoke_token(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Revoke a token."""
    return await step.perform(RevokeToken(token=uid), to="/account#tokens", said="Revoked at once.")


HANDLERS = (
    settings_page,
    put_limits,
    put_rule,
    put_pack,
    remove_pack,
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
