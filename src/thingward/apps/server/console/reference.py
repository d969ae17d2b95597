"""The API's reference as a page: read from the OpenAPI document, so that it cannot say anything else."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from thingward.apps.server.api.openapi import document


class Field(msgspec.Struct, frozen=True):
    """A parameter, or a field of a body."""

    name: str
    kind: str
    place: str
    text: str
    required: bool = False


class Operation(msgspec.Struct, frozen=True):
    """One operation."""

    uid: str
    method: str
    path: str
    summary: str
    text: str
    role: str
    scope: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    example: str


class Group(msgspec.Struct, frozen=True):
    """Operations about one thing."""

    name: str
    text: str
    operations: tuple[Operation, ...]


def describe_api(app: Any) -> list[Group]:
    """Give all operations by tag, in the document's order."""
    schema = document(app)
    groups: dict[str, list[Operation]] = {tag["name"]: [] for tag in schema["tags"]}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            groups[operation.get("tags", ["system"])[0]].append(_operation(schema, path, method, operation))
    texts = {tag["name"]: tag["description"] for tag in schema["tags"]}
    return [Group(name, texts[name], tuple(rows)) for name, rows in groups.items() if rows]


def _operation(schema: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Operation:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return Operation(
        uid=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        text=operation.get("description", "").split("\n\n")[0],
        role=operation.get("x-role", ""),
        scope=operation.get("x-scope", ""),
        parameters=tuple(_parameter(schema, row) for row in operation.get("parameters", ())),
        body=tuple(_fields(schema, body)),
        example=_example(schema, operation),
    )


def _parameter(schema: dict[str, Any], row: dict[str, Any]) -> Field:
    inner = row.get("schema", {})
    return Field(row["name"], _kind(schema, inner), row["in"], row.get("description", ""), bool(row.get("required")))


def _fields(schema: dict[str, Any], part: dict[str, Any]) -> list[Field]:
    found = _resolve(schema, part)
    required = found.get("required", ())
    return [
        Field(name, _kind(schema, row), "body", _resolve(schema, row).get("description", ""), name in required)
        for name, row in found.get("properties", {}).items()
    ]


def _resolve(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    name = part.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = schema["components"]["schemas"].get(name, part) if name else part
    return found


def _kind(schema: dict[str, Any], part: dict[str, Any]) -> str:
    if "oneOf" in part or "anyOf" in part:
        kinds = [_kind(schema, row) for row in part.get("oneOf", part.get("anyOf", ()))]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "null"))
    found = _resolve(schema, part)
    if "enum" in found:
        return " | ".join(str(value) for value in found["enum"] if value is not None)
    kind = found.get("type", "object")
    kind = " or ".join(row for row in kind if row != "null") if isinstance(kind, list) else str(kind)
    return f"list of {_kind(schema, found['items'])}" if kind == "array" and "items" in found else kind


def _example(schema: dict[str, Any], operation: dict[str, Any]) -> str:
    for status in ("200", "201"):
        content = operation["responses"].get(status, {}).get("content", {}).get("application/json", {})
        if "example" in content:
            return json.dumps(content["example"], indent=2, default=str)
    return ""
