"""Examples of requests and answers for each operation: what is written here, else made from the schema's own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from thingward.apps.server.api.examples import EXAMPLES
from thingward.apps.server.present import explicit

MAX_DEPTH: Final = 12
JSON: Final = "application/json"

_T: Final = 1_764_000_000.0
_DEVICE: Final = "d-3f9c0a1b2c3d4e5f6071"

#: Name of a request's schema to an example of it.
REQUESTS: Final[dict[str, Any]] = {
    "DeviceChange": {"label": "Hall camera", "kind": "camera"},
    "Quarantine": {"device": _DEVICE, "reason": "scans the site for telnet", "ttl_s": 3600},
    "Release": {"device": _DEVICE, "reason": "cleaned and checked"},
    "Approve": {"scope": "device", "target": _DEVICE, "profile": "p-51de", "comment": "seen for a week"},
    "Comment": {"comment": "it got a new service"},
    "Note": {"note": "Called the owner: not expected."},
    "CaseChange": {"state": "closed", "resolution": "false alarm: the scanner is ours"},
    "SuppressionBody": {"rule": "scan.*", "reason": "our own scanner, every night", "device": _DEVICE, "ttl_s": 2592000},
    "RuleBody": {"name": "shut scanners out", "rules": ["scan.*"], "min_severity": 4, "ttl_s": 3600, "enabled": True},
    "LimitsBody": {
        "fleet_share_per_hour": 0.1, "min_devices_per_hour": 1, "max_ttl_s": 604800, "never_block": ["192.168.1.1"],
    },
    "UserBody": {"role": "operator", "email": "ann@example.org"},
    "PasswordBody": {"password": "a long line of your own", "current": "the one before it"},
    "TokenBody": {"name": "dashboard", "scopes": ["devices:read", "findings:read"], "ttl_s": 2592000},
    "SignIn": {"user": "ann", "password": "a long line of your own"},
    "SettingBody": {"value": "4"},
    "ChannelBody": {"channel": "webhook"},
    "EvidenceBody": {"scope": "case", "target": "k-77aa"},
    "AttackBody": {"device": ""},
}  # fmt: skip

#: Name of a schema in answers to an example of it.
_ANSWERS: Final[dict[str, Any]] = {
    "Attribute": {
        "name": "dhcp.hostname", "value": "cam-hall", "source": "sensor:eth0", "first": _T - 60, "last": _T,
        "confidence": 0.95, "count": 44,
    },
    "SettingView": {
        "name": "notify.daily_budget", "value": "20", "changeable": True, "changed_by": "u-ann", "changed_at": _T,
        "description": "Messages to people per day; what is beyond waits for the digest.",
    },
    "UserView": {
        "type": "user", "uid": "u-ann", "name": "ann", "role": "operator", "email": "ann@example.org", "disabled": False,
        "has_password": True, "time": _T - 86400, "last_seen": _T,
    },
    "TokenView": {
        "type": "token", "uid": "t-11dd", "principal": "u-ann", "name": "dashboard", "scopes": ["devices:read"], "time": _T,
        "expires": _T + 2592000, "revoked": False, "last_used": 0.0,
    },
    "SiteStanding": {
        "name": "home", "description": "", "networks": ["192.168.1.0/24"], "devices": 23, "unknown": 2, "observed": 15,
        "enforced": 7, "quarantined": 1, "open_cases": 2, "worst_severity": 4, "last_seen": _T, "blind_s": 0.0,
    },
}  # fmt: skip

#: Operation to the plan lines and records of its Result; others say what they do.
_RESULTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "quarantineDevice": ("Hall camera: everything from and to 00:00:5e:00:53:17 is refused for 1 h", ("Action",)),
    "releaseDevice": ("Hall camera: let in again, the rules are exactly as before", ("Action",)),
    "approveProfiles": ("Hall camera: 1 entry in force, everything else is refused", ("Approval",)),
    "withdrawApproval": ("Hall camera: observed again", ("Approval",)),
    "editDevice": ("Hall camera: kind camera", ("Device",)),
    "addCaseNote": ("a line in the case's timeline", ("Case",)),
    "updateCase": ("the case is closed", ("Case",)),
    "testNotification": ("send a test message through webhook", ()),
    "replaceLimits": ("at most 10 % of a site's devices an hour, never longer than 7 d", ()),
}

#: Field to a value that fits wherever a field is called so and has its type.
_FIELDS: Final[dict[str, Any]] = {
    "uid": "x-90ab", "device": _DEVICE, "profile": "p-51de", "approval": "v-22cc", "record": "x-90ab", "peer": _DEVICE,
    "by": "u-ann", "principal": "u-ann", "tenant": "default", "source": "core", "site": "home", "name": "home",
    "user": "ann", "target": _DEVICE, "action": "quarantine_device", "kind": "camera", "version": "0.1.0",
    "time": _T, "since": _T, "until": _T + 3600, "first": _T - 60, "last": _T, "expires": _T + 3600, "started": _T - 86400,
    "last_seen": _T, "first_seen": _T - 86400, "reason": "scans the site for telnet", "proto": 6, "port": 443,
    "flows": 412, "bytes_out": 1800, "bytes_in": 5200, "address": "192.168.1.9", "csrf": "b7Qm0c4z", "secret": "twt_...",
    "path": "/login/twl_...", "rule": "scan.*", "confidence": 0.8, "devices": 23, "share": 1.0,
}  # fmt: skip


def add_examples(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Give an operation's JSON body and its good JSON answers an example each."""
    body = operation.get("requestBody", {}).get("content", {}).get(JSON)
    if body and "schema" in body:
        body["example"] = sample(body["schema"], schemas)
    for status, answer in operation.get("responses", {}).items():
        content = answer.get("content", {}).get(JSON) if status.startswith("2") else None
        if content and content.get("schema"):
            content["example"] = _answer(operation, content["schema"], schemas)


def _answer(operation: Mapping[str, Any], schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    if _name(schema) != "Result":
        return sample(schema, schemas)
    said = str(operation.get("summary") or "").split(":")[0]
    line, records = _RESULTS.get(str(operation.get("operationId")), (said, ()))
    return {"dry_run": False, "plan": [line], "records": [EXAMPLES[name] for name in records]}


def sample(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """Make a value that fits a schema.

    Args:
        schemas: the document's schemas by name. name: of the field that the value is for.
    """
    called = _name(schema)
    if called:
        return (
            REQUESTS.get(called)
            or EXAMPLES.get(called)
            or _ANSWERS.get(called)
            or sample(schemas[called], schemas, name, depth + 1)
        )
    for choices in ("oneOf", "anyOf"):
        if choices in schema and not schema.get("examples"):
            parts = [part for part in schema[choices] if part.get("type") != "null"]
            return sample(parts[0], schemas, name, depth) if parts and depth < MAX_DEPTH else None
    if schema.get("examples"):
        return explicit(schema["examples"][0])
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object" or "properties" in schema:
        fields = schema.get("properties", {})
        return {key: sample(part, schemas, key, depth + 1) for key, part in fields.items()}
    if kind == "array":
        return _list(schema, schemas, name, depth)
    return _plain(schema, kind, name)


def _list(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    if "prefixItems" in schema:
        return [sample(part, schemas, name, depth + 1) for part in schema["prefixItems"]]
    if schema.get("default") == [] and not _name(schema.get("items") or {}):
        return []
    found = sample(schema.get("items") or {}, schemas, "", depth + 1) if depth < MAX_DEPTH else None
    return [] if found in (None, "", "x") else [found]


def _plain(schema: Mapping[str, Any], kind: str | None, name: str) -> Any:
    value = _FIELDS.get(name)
    if kind == "string" and isinstance(value, str) and "pattern" not in schema and "format" not in schema:
        return value
    if kind == "number" and isinstance(value, int | float):
        return value
    if kind == "integer" and isinstance(value, int):
        return value
    if "default" in schema:
        return explicit(schema["default"])
    if kind in ("number", "integer"):
        return max(schema.get("minimum", 0), int(schema.get("exclusiveMinimum", -1)) + 1)
    return {"boolean": False, "string": "x" * int(schema.get("minLength", 0)), "null": None}.get(str(kind))


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]
