"""Pushed observations over the API: scope, bounds, what is wrong by line, once is once."""

from __future__ import annotations

import json

import msgspec
import pytest

from thingward.apps.server.api import observations
from thingward.apps.server.api.examples import PUSHED_LINES
from thingward.identity.access import has_scope
from thingward.model.errors import Unavailable
from thingward.model.observation import DnsData, FlowData
from thingward.sensing.pushed import MAX_LINES

PATH = "/observations?name=probe"
LINES = {name: text.encode() for name, text in PUSHED_LINES.items()}
ONLY = ("observations:write",)


@pytest.fixture(autouse=True)
def today(core):
    """The examples are of a day soon after the sample site's."""
    core.time = 1_764_000_100.0


def send(api, body, query="", **more):
    return api("POST", PATH + query, content=body, **more)


@pytest.mark.parametrize(("form", "kind"), [("observation", FlowData), ("zeek", DnsData), ("eve", DnsData)])
def test_the_documented_example_of_each_form_is_taken(core, api, form, kind):
    answer = send(api, LINES[form])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["form"], body["lines"], body["taken"], body["rejected"]) == (form, 1, 1, 0)
    (row,) = core.pushed
    assert isinstance(row.data, kind)
    assert (row.source, row.tenant, row.site) == ("push:probe", "default", "home")


def test_a_token_for_pushing_can_do_nothing_else(core, as_user):
    api = as_user("olaf", ONLY)
    assert send(api, LINES["eve"]).status_code == 200
    for method, path in (
        ("GET", "/events"),
        ("GET", "/devices"),
        ("GET", "/status"),
        ("POST", "/captures"),
        ("GET", "/users"),
    ):
        assert api(method, path).status_code == 403, path
    assert not has_scope(ONLY, "events:read")


@pytest.mark.parametrize(("user", "scopes"), [("vera", ONLY), ("olaf", ("events:read", "devices:write"))])
def test_without_role_or_scope_nothing_is_taken(core, as_user, user, scopes):
    assert send(as_user(user, scopes), LINES["eve"]).status_code == 403
    assert core.pushed == []


def test_one_bad_line_refuses_the_body_and_is_named(core, api):
    answer = send(api, LINES["eve"] + b"no JSON\n" + LINES["eve"] + b"{}\n")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    body = answer.json()
    assert body["code"] == "input.bad_lines"
    assert body["detail"] == "2 of 4 lines cannot be read as eve."
    assert [line.partition(":")[0] for line in body["errors"]] == ["line 2", "line 4"]
    assert core.pushed == []


def test_on_demand_the_other_lines_are_taken(core, api):
    answer = send(api, LINES["eve"] + b"no JSON\n", "&partial=true")
    body = answer.json()
    assert (answer.status_code, body["taken"], body["rejected"]) == (200, 1, 1)
    assert body["errors"] == ["line 2: eve: not JSON"]
    assert len(core.pushed) == 1


def test_where_no_line_is_good_even_partial_is_refused(core, api):
    assert send(api, b"x\ny\n", "&partial=true").json()["code"] == "input.bad_lines"


def test_lines_that_say_nothing_are_no_fault(core, api):
    body = send(api, LINES["eve"].replace(b'"event_type": "dns"', b'"event_type": "stats"')).json()
    assert (body["taken"], body["ignored"]) == (0, {"stats event": 1})


def test_the_same_body_is_taken_once_and_the_same_key_too(core, api):
    assert send(api, LINES["eve"]).json() == send(api, LINES["eve"]).json()
    assert len(core.pushed) == 1
    key = {"idempotency-key": "k-1"}
    assert send(api, LINES["zeek"], headers=key).status_code == 200
    assert send(api, LINES["zeek"], headers=key).status_code == 200
    assert len(core.pushed) == 2
    reused = send(api, LINES["observation"], headers=key)
    assert reused.json()["code"] == "input.idempotency_key_reused"


def test_a_dry_run_takes_nothing_and_does_not_use_the_body_up(core, api):
    assert send(api, LINES["eve"], "&dry_run=true").json()["dry_run"] is True
    assert core.pushed == []
    assert send(api, LINES["eve"]).json()["taken"] == 1
    assert len(core.pushed) == 1


@pytest.mark.parametrize(
    ("body", "query", "headers", "status"),
    [
        (b"", "", {}, 422),
        (b"\n\n", "", {}, 422),
        (LINES["eve"] * (MAX_LINES + 1), "", {}, 422),
        (b"x" * (observations.PUSH_LIMIT_BYTES + 1), "", {}, 413),
        (LINES["eve"], "&form=csv", {}, 400),
        (LINES["eve"], "&kind=../x", {}, 400),
        (LINES["eve"], "", {"content-encoding": "gzip"}, 422),
    ],
)
def test_what_is_out_of_bounds_is_said(core, api, body, query, headers, status):
    answer = send(api, body, query, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert core.pushed == []


@pytest.mark.parametrize("name", ["", "a b", "a/b", "\u00e4", "x" * 81, "-x"])
def test_names_of_senders_are_plain(core, api, name):
    assert api("POST", "/observations", params={"name": name}, content=LINES["eve"]).status_code == 400


def test_too_many_at_once_are_refused(core, api, deps):
    for _ in range(observations.PUSHES):
        deps.pushes.__enter__()
    try:
        assert send(api, LINES["eve"]).json()["code"] == "limit.exceeded"
    finally:
        for _ in range(observations.PUSHES):
            deps.pushes.__exit__()
    assert send(api, LINES["eve"]).status_code == 200


def test_while_core_is_away_nothing_is_said_to_be_taken(core, api):
    core.fails_with = Unavailable("core is away.")
    answer = send(api, LINES["eve"])
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)


def test_it_is_audited_without_the_lines(core, api):
    send(api, LINES["eve"])
    (entry,) = [entry for entry in core.audit() if entry.action == "import_observations"]
    assert (entry.target, entry.result) == ("probe", "ok")
    assert b"camera.example" not in msgspec.json.encode(entry)


def test_examples_in_the_document_are_these(litestar):
    from thingward.apps.server.api.openapi import document

    operation = document(litestar)["paths"]["/api/v1/observations"]["post"]
    shown = operation["requestBody"]["content"]["application/x-ndjson"]["examples"]
    assert {name: row["value"] for name, row in shown.items()} == PUSHED_LINES
    assert operation["x-scope"] == "observations:write"
    assert all(json.loads(text) for text in PUSHED_LINES.values())
