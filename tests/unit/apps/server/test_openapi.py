"""The OpenAPI document is complete, and what people read of it cannot differ from it."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from thingward.apps.server.api import schemas
from thingward.apps.server.api.openapi import document
from thingward.apps.server.api.sampling import REQUESTS
from thingward.apps.server.callers import PUBLIC
from thingward.apps.server.console.reference import describe_api
from thingward.apps.server.present import encode_public


@pytest.fixture(scope="module")
def schema(litestar):
    return document(litestar)


def all_operations(schema):
    return [(path, method, row) for path, item in schema["paths"].items() for method, row in item.items()]


def test_version_and_title(schema):
    assert schema["openapi"].startswith("3.1")
    assert schema["info"]["title"] == "thingward"


def test_every_operation_is_described(schema):
    seen = set()
    for path, method, row in all_operations(schema):
        assert row["operationId"] not in seen, path
        seen.add(row["operationId"])
        assert row["summary"], path
        assert len(row["tags"]) == 1, path
        assert row["responses"]["default"] == {"$ref": "#/components/responses/Problem"}, path
        assert "security" in row, (path, method)
    assert len(seen) > 60


def test_parameters_say_what_they_mean(schema):
    for path, _, row in all_operations(schema):
        for parameter in row.get("parameters", ()):
            named = parameter["in"] == "path" or ("schema" in parameter and "$ref" in str(parameter["schema"]))
            assert parameter.get("description") or named, (path, parameter["name"])


def test_changes_offer_dry_run_and_an_idempotency_key(schema):
    for path, method, row in all_operations(schema):
        if method == "get" or row["operationId"] in ("signIn", "uploadCapture", "deleteCapture"):
            continue
        names = {parameter["name"] for parameter in row["parameters"]}
        assert {"dry_run", "Idempotency-Key", "X-CSRF-Token"} <= names, path


def test_references_resolve(schema):
    text = str(schema)
    names = set(re.findall(r"#/components/schemas/([^'\"]+)", text))
    assert names <= set(schema["components"]["schemas"])


def test_main_records_have_examples_that_fit(schema):
    import jsonschema

    for name in ("Device", "Finding", "Case", "Action", "Approval", "MudProfile", "Event"):
        found = schema["components"]["schemas"][name]
        resolved = {**found, "components": schema["components"]}
        jsonschema.validate(found["examples"][0], resolved)


def test_every_body_and_every_good_answer_has_an_example_that_fits(schema):
    import jsonschema

    schema = json.loads(encode_public(schema))
    seen = 0
    for path, method, row in all_operations(schema):
        parts = [row.get("requestBody", {}).get("content", {})]
        parts += [answer.get("content", {}) for status, answer in row["responses"].items() if status.startswith("2")]
        for content in parts:
            part = content.get("application/json")
            if part is None or row["operationId"] == "getOpenapi":
                continue
            assert part.get("schema"), (method, path)
            assert "example" in part, (method, path)
            validator = jsonschema.Draft202012Validator({**part["schema"], "components": schema["components"]})
            assert not [f"{e.json_path}: {e.message}" for e in validator.iter_errors(part["example"])], (method, path)
            seen += 1
    assert seen > 80


@pytest.mark.parametrize(("name", "example"), sorted(REQUESTS.items()))
def test_examples_of_requests_are_what_the_handlers_take(name, example):
    assert msgspec.convert(example, getattr(schemas, name))


def test_it_is_served(http, core, schema):
    answer = http.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["paths"].keys() == schema["paths"].keys()


def test_reference_page_has_every_operation(litestar, browser, schema):
    text = browser("vera").get("/docs/api").text
    for path, _, row in all_operations(schema):
        assert f'id="{row["operationId"]}"' in text, path
    assert sum(len(group.operations) for group in describe_api(litestar)) == len(all_operations(schema))


def test_public_operations_are_few(litestar):
    from thingward.apps.server.api.openapi import access_of

    public = {uid for uid, access in access_of(litestar).items() if access == PUBLIC}
    assert public == {"signIn", "getOpenapi", "getHealth", "getReadiness", "getMetrics"}
