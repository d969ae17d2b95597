"""Response rules, limits and the never-block list, settings, test messages."""

from __future__ import annotations

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from thingward.apps.server.api.devices import Cursor, Limit
from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import (
    ChannelBody,
    LimitsBody,
    PageOf,
    Result,
    RuleBody,
    SettingBody,
)
from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.settings import SettingView, limits_now, settings_now
from thingward.model.action import ActionKind, Limits, ResponseRule
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import DeleteRule, PutLimits, PutRule, PutSetting, TestNotification


def rule_of(deps: Deps, uid: str, data: RuleBody, by: str) -> ResponseRule:
    """Make the record that a request describes."""
    return ResponseRule(
        uid=Uid(uid),
        tenant=Tenant(deps.tenant),
        time=deps.now(),
        source="server",
        name=data.name,
        site=data.site,
        rules=data.rules,
        min_severity=data.min_severity,
        min_confidence=data.min_confidence,
        kinds=data.kinds,
        action=ActionKind(data.action),
        ttl_s=data.ttl_s,
        enabled=data.enabled,
        by=by,
    )


@get("/rules", operation_id="listRules", access="rules:read", tags=["rules"], sync_to_thread=True)
def list_rules(deps: NamedDependency[Deps], cursor: Cursor = "", limit: Limit = 100) -> PageOf[ResponseRule]:
    """List response rules, those switched off too."""
    page = deps.backend.control.page(deps.tenant, ResponseRule, cursor=cursor, limit=limit)
    return PageOf(items=tuple(row for row in page.items if not row.deleted), cursor=page.cursor)


@post("/rules", operation_id="createRule", access=PutRule, tags=["rules"], status_code=200)
async def create_rule(deps: NamedDependency[Deps], ask: NamedDependency[Ask], data: JSONBody[RuleBody]) -> Result:
    """Create a response rule. It acts only if `enabled`, and always within the limits."""
    uid = "r-" + hashed_uid("rule", deps.tenant, data.name, f"{deps.now():.3f}")[:20]
    return await result_of(ask, PutRule(rule=rule_of(deps, uid, data, ask.caller.uid)))


@get("/rules/{uid:str}", operation_id="getRule", access="rules:read", tags=["rules"], sync_to_thread=True)
def get_rule(deps: NamedDependency[Deps], uid: FromPath[str]) -> ResponseRule:
    """Give one response rule."""
    return deps.get(ResponseRule, uid)


@put("/rules/{uid:str}", operation_id="replaceRule", access=PutRule, tags=["rules"])
async def replace_rule(
    deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str], data: JSONBody[RuleBody]
) -> Result:
    """Replace a response rule."""
    deps.get(ResponseRule, uid)
    return await result_of(ask, PutRule(rule=rule_of(deps, uid, data, ask.caller.uid)))


@delete("/rules/{uid:str}", operation_id="deleteRule", access=DeleteRule, tags=["rules"], status_code=200)
async def delete_rule(deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str]) -> Result:
    """Delete a response rule; what it did stays in force until its end."""
    deps.get(ResponseRule, uid)
    return await result_of(ask, DeleteRule(rule=uid))


@get("/limits", operation_id="getLimits", access="rules:read", tags=["rules"], sync_to_thread=True)
def get_limits(deps: NamedDependency[Deps]) -> Limits:
    """Give the limits and the never-block list in force."""
    return limits_now(deps)


@put("/limits", operation_id="replaceLimits", access=PutLimits, tags=["rules"])
async def replace_limits(ask: NamedDependency[Ask], data: JSONBody[LimitsBody]) -> Result:
    """Replace the limits and the never-block list. Every enforcer checks them once more."""
    limits = Limits(
        fleet_share_per_hour=data.fleet_share_per_hour,
        min_devices_per_hour=data.min_devices_per_hour,
        max_ttl_s=data.max_ttl_s,
        never_block=data.never_block,
    )
    return await result_of(ask, PutLimits(limits=limits))


@get("/settings", operation_id="listSettings", access="settings:read", tags=["settings"], sync_to_thread=True)
def list_settings(deps: NamedDependency[Deps]) -> PageOf[SettingView]:
    """List settings: those of the file, and those that may change while the platform runs."""
    return PageOf(items=settings_now(deps))


@put("/settings/{name:str}", operation_id="putSetting", access=PutSetting, tags=["settings"])
async def put_setting(ask: NamedDependency[Ask], name: FromPath[str], data: JSONBody[SettingBody]) -> Result:
    """Change one setting that may change while the platform runs."""
    return await result_of(ask, PutSetting(name=name, value=data.value))


@post(
    "/notifications/test", operation_id="testNotification", access=TestNotification, tags=["settings"], status_code=200
)
async def test_notification(ask: NamedDependency[Ask], data: JSONBody[ChannelBody]) -> Result:
    """Send a test message through one channel."""
    return await result_of(ask, TestNotification(channel=data.channel))


HANDLERS = (
    list_rules,
    create_rule,
    get_rule,
    replace_rule,
    delete_rule,
    get_limits,
    replace_limits,
    list_settings,
    put_setting,
    test_notification,
)
