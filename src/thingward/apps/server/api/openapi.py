"""The OpenAPI 3.1 document: what Litestar reads from the handlers, with errors, security and examples added."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, get

from thingward.apps.server.api.examples import EXAMPLES, PUSHED_LINES
from thingward.apps.server.api.sampling import add_examples
from thingward.apps.server.callers import PUBLIC, needed
from thingward.model.errors import Forbidden

DESCRIPTION: Final = (
    "Finds the connected things on a network, learns what each of them needs, and refuses the rest once a person "
    "approves. Send a token as `Authorization: Bearer twt_...`, or sign in and send the session's cookie, with "
    "`X-CSRF-Token` on every change. Times are seconds since 1970-01-01 UTC."
)
TAGS: Final = {
    "devices": "What exists, who it is, whom it talks to.",
    "profiles": "What each device needs, as MUD profiles, and what approving them would refuse.",
    "findings": "What looks wrong, and why.",
    "cases": "Findings of one device that belong together, and what was done.",
    "actions": "Bounded steps with an end and an undo, and what is in force.",
    "approvals": "A person's consent that a profile is enforced.",
    "enrolment": "Claims, enrolments and certificates of devices.",
    "rules": "Response rules, limits, the never-block list.",
    "settings": "Settings and test messages.",
    "events": "Normalised events (OCSF), in pages or as they pass.",
    "people": "Users, tokens, sessions, audit log.",
    "evidence": "Signed evidence bundles.",
    "captures": "Captures, judged by a bounded child process.",
    "demo": "Only in the demo.",
    "system": "Status, probes, metrics.",
}
_UNSAFE: Final = ("post", "put", "patch", "delete")


@get("/openapi.json", operation_id="getOpenapi", access=PUBLIC, tags=["system"], sync_to_thread=False)
def get_openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Give this document."""
    return document(request.app)


def document(app: Any) -> dict[str, Any]:
    """Build the document once for each application."""
    found: dict[str, Any] | None = app.state.get("openapi")
    if found is None:
        found = _complete(app.openapi_schema.to_schema(), access_of(app))
        app.state["openapi"] = found
    return found


def access_of(app: Any) -> dict[str, object]:
    """Give each operation's `access` option, by operation id."""
    return {
        str(handler.operation_id): handler.opt.get("access")
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if getattr(handler, "operation_id", None)
    }


def _complete(schema: dict[str, Any], access: dict[str, object]) -> dict[str, Any]:
    schema["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    parts = schema.setdefault("components", {})
    parts["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A personal access token."},
        "session": {"type": "apiKey", "in": "cookie", "name": "thingward_session"},
    }
    parts.setdefault("schemas", {})["Problem"] = _PROBLEM
    parts["responses"] = {"Problem": {"description": "Problem details (RFC 9457).", "content": _PROBLEM_CONTENT}}
    for part in parts["schemas"].values():
        _mend_lists(part)
    for name, example in EXAMPLES.items():
        if name in parts["schemas"]:
            parts["schemas"][name]["examples"] = [example]
    for item in schema["paths"].values():
        for method, operation in item.items():
            _complete_operation(method, operation, access.get(operation.get("operationId", "")))
            add_examples(operation, parts["schemas"])
    return schema


def _mend_lists(part: Any) -> None:
    """Say of lists with constrained items what they hold: their items come as one of "anything" and the real thing."""
    if isinstance(part, list):
        for row in part:
            _mend_lists(row)
    elif isinstance(part, dict):
        items = part.get("items")
        if isinstance(items, dict) and isinstance(items.get("oneOf"), list) and {} in items["oneOf"]:
            real = [row for row in items["oneOf"] if row]
            part["items"] = real[0] if len(real) == 1 else {"oneOf": real}
        for row in part.values():
            _mend_lists(row)


def _complete_operation(method: str, operation: dict[str, Any], access: object) -> None:
    text = str(operation.get("description") or "")
    operation["summary"] = text.split(". ")[0].split("\n")[0].rstrip(".")
    if operation.get("operationId") in _RAW_BODIES:
        operation["requestBody"] = _RAW_BODY
    if operation.get("operationId") == "pushObservations":
        operation["requestBody"] = _LINES_BODY
    responses = operation.setdefault("responses", {})
    if operation.get("operationId") in _FILES:
        responses["200"]["content"] = _FILE_CONTENT
    responses.pop("400", None)
    responses["default"] = {"$ref": "#/components/responses/Problem"}
    if access == PUBLIC:
        operation["security"] = []
        return
    try:
        role, scope = needed(access)
    except Forbidden:
        return
    operation["security"] = [{"token": []}, {"session": []}]
    operation["x-role"], operation["x-scope"] = str(role), scope
    operation["description"] = f"{text}\n\nRole `{role}`, scope `{scope}`."
    if method in _UNSAFE:
        operation.setdefault("parameters", []).append(_CSRF)


#: Operations whose body is read as a stream, as it is.
_RAW_BODIES: Final = ("uploadCapture", "importRecords", "importPack")
#: Operations that answer with a file to keep, in the form that was asked for.
_FILES: Final = ("exportProfile", "exportSite")
_FILE_CONTENT: Final = {
    "text/plain": {"schema": {"type": "string", "description": "The file; MUD is JSON, CSV is CSV."}}
}
_RAW_BODY: Final = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_LINES_BODY: Final = {
    "required": True,
    "content": {
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "examples": {name: {"summary": name, "value": text} for name, text in PUSHED_LINES.items()},
        }
    },
}
_CSRF: Final = {
    "name": "X-CSRF-Token",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Needed with a session's cookie, not with a token.",
}
_PROBLEM: Final = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened."},
        "code": {"type": "string", "description": "Stable code, listed in the documentation."},
        "hint": {"type": "string", "description": "What to do next."},
        "retryable": {"type": "boolean"},
        "instance": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "string"}},
    },
    "examples": [
        {
            "type": "urn:thingward:error:access.forbidden",
            "title": "Forbidden",
            "status": 403,
            "detail": "this needs the role approver; ann has viewer.",
            "code": "access.forbidden",
            "hint": "Ask an admin.",
            "retryable": False,
            "instance": "/api/v1/approvals",
            "errors": [],
        }
    ],
}
_PROBLEM_CONTENT: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
