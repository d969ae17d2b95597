"""The API: problem details, pages, idempotency, entity tags, dry runs, and no secret anywhere."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess

import msgspec
import pytest

from tests.unit.apps.server.sample import APPROVED, NOW, PASSWORD, ROWS, mac_of, uid_of
from thingward.apps.server.api.openapi import document
from thingward.apps.server.api.parameters import query_names
from thingward.apps.server.metrics import MAX_SERIES, PREFIX, Metrics
from thingward.apps.server.problems import MEDIA_TYPE
from thingward.identity.credentials import secret_digest
from thingward.model.device import Device, Mode
from thingward.model.errors import Unavailable
from thingward.model.finding import Case
from thingward.model.principal import Principal, Session, Token
from thingward.model.profile import Acl, MudProfile, PeerKind
from thingward.ports.control_store import Put

HALL = uid_of("cam-hall")
ROWS_BY_NAME = {row[0]: index for index, row in enumerate(ROWS)}


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith(MEDIA_TYPE)
    body = answer.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:thingward:error:{code}"
    assert body["title"]
    assert body["detail"]
    return body


def test_unknown_record(api):
    body = problem(api.get("/devices/d-nobody"), 404, "record.not_found")
    assert "d-nobody" in body["detail"]
    assert body["instance"] == "/api/v1/devices/d-nobody"


def test_a_body_that_is_no_json_is_called_so(api):
    for text in ('{"device": "', "nonsense", ""):
        body = problem(api("POST", "/actions/quarantine", content=text), 400, "request.invalid")
        assert body["detail"].startswith("the body is no valid JSON"), text


def test_unknown_path(api):
    problem(api.get("/nothing"), 404, "http.not_found")


def test_wrong_method(api):
    problem(api("DELETE", "/devices"), 405, "http.method_not_allowed")


def test_fields_that_cannot_be_used_are_named(api):
    body = problem(api.get("/devices?limit=5000"), 400, "request.invalid")
    assert any("limit" in line for line in body["errors"])
    body = problem(api.post("/actions/quarantine", {"device": HALL, "reason": "", "ttl": 3}), 400, "request.invalid")
    assert body["errors"]


def test_unknown_query_parameters_are_refused_and_nothing_is_done(api, core):
    quarantine = {"device": HALL, "reason": "scans"}
    body = problem(api.post("/actions/quarantine?dryrun=true", quarantine), 422, "request.unknown_parameter")
    assert body["errors"] == ["dryrun: unknown; did you mean dry_run?"]
    assert "dryrun" in body["detail"]
    assert core.control.get("default", Device, HALL).mode is not Mode.QUARANTINE
    body = problem(api.get("/devices?limt=1&site=home&zzz="), 422, "request.unknown_parameter")
    assert body["errors"] == ["limt: unknown; did you mean limit?", "zzz: unknown"]
    assert "cursor" in body["hint"]
    assert problem(api.get("/me?dry_run=true"), 422, "request.unknown_parameter")["hint"] == "It knows none."
    long = problem(api.get(f"/devices/{HALL}?{'x' * 5000}=1"), 422, "request.unknown_parameter")
    assert len(long["detail"]) < 200


def test_every_documented_query_parameter_is_known(litestar):
    schema = document(litestar)
    named = {
        row["operationId"]: {part["name"] for part in row.get("parameters", ()) if part["in"] == "query"}
        for item in schema["paths"].values()
        for row in item.values()
    }
    for route in litestar.routes:
        for handler in getattr(route, "route_handlers", ()):
            if route.path.startswith("/api/v1") and handler.operation_id:
                assert query_names(handler) == named[str(handler.operation_id)], route.path


def test_body_that_is_too_large(api):
    problem(api("POST", "/cases/x/notes", content=b"x" * 1_100_000), 413, "input.too_large")


def test_core_away_says_so_and_that_it_may_be_tried_again(api, core):
    core.fails_with = Unavailable("core is away.", hint="Try again.")
    body = problem(api.post("/actions/release", {"device": HALL}), 503, "engine.unavailable")
    assert body["retryable"]
    assert body["hint"] == "Try again."


def test_what_nobody_expected_shows_no_inside(api, core):
    core.fails_with = RuntimeError("secret detail")
    body = problem(api.post("/actions/release", {"device": HALL}), 500, "internal")
    assert "secret detail" not in json.dumps(body)


def test_refusal_of_core_keeps_its_code(api):
    body = problem(
        api.post("/actions/quarantine", {"device": uid_of("gateway"), "reason": "test"}), 429, "limit.exceeded"
    )
    assert "gateway" in body["detail"]


def test_pages_follow_each_other_without_loss_or_repeat(api, core):
    seen, cursor, pages = [], "", 0
    while True:
        page = api.get(f"/devices?limit=5&cursor={cursor}").json()
        seen += [row["uid"] for row in page["items"]]
        pages += 1
        cursor = page["cursor"]
        if not cursor:
            break
    assert pages == 5
    assert len(seen) == len(set(seen)) == core.control.count("default", Device)


def test_foreign_cursor(api):
    cursor = api.get("/devices?limit=2").json()["cursor"]
    problem(api.get(f"/findings?cursor={cursor}"), 422, "input.invalid")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("search=garage", {"cam-garage"}),
        ("kind=camera&mode=enforce", {"cam-hall"}),
        ("identified=false", {"espressif-b81c", ""}),
        ("maker=stackbox", {"nas"}),
        ("device_class=C&search=sweepo", {"vacuum"}),
        ("mode=quarantine", {"vacuum"}),
    ],
)
def test_devices_are_filtered(api, query, names):
    found = {row["uid"] for row in api.get(f"/devices?{query}").json()["items"]}
    assert found == {uid_of(name) for name in names}


def test_unknown_is_said_and_not_left_out(api):
    device = api.get(f"/devices/{uid_of('espressif-b81c')}").json()
    assert device["identified"] is False
    assert device["kind"] == ""
    assert device["device_class"] == "unknown"
    site = api.get("/sites/home").json()
    assert site["unknown"] == 2
    assert site["devices"] == 23


def test_evidence_carries_source_time_and_confidence(api):
    rows = api.get(f"/devices/{HALL}/evidence").json()["items"]
    assert rows[0]["confidence"] == 1.0
    assert all(row["source"] and row["first"] and row["last"] for row in rows)


def test_peers_and_traffic(api):
    peers = api.get(f"/devices/{HALL}/peers").json()["items"]
    assert peers[0]["peer"].endswith("northwind.example")
    points = api.get(f"/devices/{HALL}/traffic?buckets=24").json()["items"]
    assert len(points) == 24
    assert sum(point["bytes_out"] for point in points) > 0


def test_profile_diff_names_what_is_new(api):
    diff = api.get(f"/devices/{uid_of('speaker-living')}/profile/diff").json()
    assert [acl["value"] for acl in diff["added"]] == ["auth.sonance.example"]
    assert diff["removed"] == []
    assert not diff["is_current"]
    assert api.get(f"/devices/{uid_of('meter')}/profile/diff").json()["is_current"]


@pytest.mark.parametrize("form", ["mud", "nftables", "openwrt", "dnsmasq", "csv"])
def test_export_is_audited_and_not_on_dry_run(api, core, form):
    assert api.get(f"/devices/{HALL}/profile/export?form={form}&dry_run=true").status_code == 200
    assert not core.audit()
    answer = api.get(f"/devices/{HALL}/profile/export?form={form}")
    assert answer.status_code == 200, answer.text
    assert "attachment" in answer.headers["content-disposition"]
    entry = core.audit()[0]
    assert (entry.action, entry.target, entry.result) == ("note_export", HALL, "ok")


def test_export_contents(api):
    mud = api.get(f"/devices/{HALL}/profile/export?form=mud")
    assert "api.northwind.example" in mud.text
    assert mud.json()["ietf-mud:mud"]["mud-version"] == 1
    assert "00:00:5e:00:53:11" in api.get(f"/devices/{HALL}/profile/export?form=nftables").text
    rows = list(csv.DictReader(io.StringIO(api.get(f"/devices/{HALL}/profile/export?form=csv").text)))
    assert {row["value"] for row in rows} >= {"dns", "api.northwind.example"}


def test_exported_rules_are_those_that_approval_would_set(api, core):
    assert "nftset=/api.northwind.example/" in api.get(f"/devices/{HALL}/profile/export?form=dnsmasq").text
    (profile,) = core.control.page("default", MudProfile, where={"device": HALL}, limit=1).items
    elsewhere = Acl(direction="out", peer=PeerKind.ADDRESS, value="1.1.1.1", proto=6, port=853)
    core.control.commit("default", [Put(msgspec.structs.replace(profile, acls=(*profile.acls, elsewhere)))])
    # It asks another resolver: the sets behind its names would stay empty.
    assert "nftset=" not in api.get(f"/devices/{HALL}/profile/export?form=dnsmasq").text


def tables_of(text):
    return {line.split()[3] for line in text.splitlines() if line.startswith("delete table")}


@pytest.mark.parametrize("form", ["nftables", "openwrt"])
def test_one_devices_file_leaves_those_of_others_alone(api, form):
    files = [api.get(f"/devices/{uid_of(name)}/profile/export?form={form}").text for name in ("cam-hall", "meter")]
    assert not tables_of(files[0]) & tables_of(files[1])
    assert "thingward" not in tables_of(files[0])
    assert HALL in files[0]
    assert "Only this device" in files[0]
    assert "thingward site export" in files[0]
    names = api.get(f"/devices/{HALL}/profile/export?form=dnsmasq").text
    assert f"#{next(iter(tables_of(files[0])))}#n4_" in names


def test_site_export_holds_every_approved_device(api, core):
    text = api.get("/sites/home/export").text
    assert tables_of(text) == {"thingward"}
    assert all(mac_of(ROWS_BY_NAME[name]) in text for name in APPROVED)
    assert mac_of(ROWS_BY_NAME["cam-garage"]) not in text, "not approved"
    assert f"profiles of {len(APPROVED)} devices" in text
    assert (core.audit()[0].action, core.audit()[0].target) == ("note_export", "home")
    names = api.get("/sites/home/export?form=dnsmasq").text
    assert "nftset=/api.northwind.example/" in names
    assert "nftset=/mqtt.tasmo.example/" in names
    two = api.get(f"/sites/home/export?form=openwrt&device={HALL}&device={uid_of('meter')}")
    assert "profiles of 2 devices" in two.text
    assert two.headers["content-disposition"] == 'attachment; filename="thingward-home.openwrt.nft"'
    problem(api.get("/sites/nowhere/export"), 404, "record.not_found")
    problem(api.get(f"/sites/home/export?device={uid_of('cam-garage')}"), 422, "input.invalid")
    problem(api.get("/sites/home/export?form=mud"), 400, "request.invalid")


@pytest.mark.netns
def test_nftables_and_dnsmasq_take_the_exports_side_by_side(api, tmp_path, in_namespace):
    one, other = (f"/devices/{uid_of(name)}/profile/export" for name in ("cam-hall", "meter"))
    files = [api.get(f"{path}?form=nftables").text for path in (one, other, one)]
    files.append(api.get(f"{one}?form=openwrt").text)
    files.append(api.get("/sites/home/export").text)
    for index, text in enumerate(files):
        (tmp_path / f"{index}.nft").write_text(text)
        checked = subprocess.run(
            [*in_namespace, "nft", "-c", "-f", str(tmp_path / f"{index}.nft")], capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
    load = "; ".join(f"nft -f {tmp_path}/{index}.nft" for index in range(3)) + "; nft list ruleset"
    held = subprocess.run([*in_namespace, "sh", "-ec", load], capture_output=True, text=True, check=True).stdout
    assert all(mac_of(ROWS_BY_NAME[name]) in held for name in ("cam-hall", "meter"))
    for index, path in enumerate((f"{one}?form=dnsmasq", "/sites/home/export?form=dnsmasq")):
        (tmp_path / f"{index}.conf").write_text(api.get(path).text)
        checked = subprocess.run(
            ["dnsmasq", "--test", "-C", str(tmp_path / f"{index}.conf")], capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


def test_no_rules_are_exported_that_would_shut_the_gateway_in(api, core):
    (profile,) = core.control.page("default", MudProfile, where={"device": HALL}, limit=1).items
    gateway = msgspec.structs.replace(profile, uid="p-gateway", device=uid_of("gateway"))
    core.control.commit("default", [Put(gateway)])
    problem(api.get(f"/devices/{uid_of('gateway')}/profile/export?form=nftables"), 422, "input.invalid")
    assert api.get(f"/devices/{uid_of('gateway')}/profile/export?form=csv").status_code == 200


def test_edit_is_refused_if_the_device_changed(api):
    tag = api.get(f"/devices/{HALL}").headers["etag"]
    assert api("PATCH", f"/devices/{HALL}", json={"label": "Porch"}, headers={"if-match": tag}).status_code == 200
    again = api("PATCH", f"/devices/{HALL}", json={"label": "Roof"}, headers={"if-match": tag})
    problem(again, 412, "record.changed")
    assert api.get(f"/devices/{HALL}").json()["label"] == "Porch"


def test_etag_saves_the_body(api):
    first = api.get(f"/devices/{HALL}")
    second = api.get(f"/devices/{HALL}", headers={"if-none-match": first.headers["etag"]})
    assert (second.status_code, second.content) == (304, b"")
    assert api.get(f"/devices/{HALL}", headers={"if-none-match": '"other"'}).status_code == 200


def test_dry_run_plans_and_changes_nothing(api, core):
    before = {row.uid: row for row in core.control.page("default", Device, limit=1000).items}
    body = {"device": HALL, "reason": "test"}
    answer = api.post("/actions/quarantine?dry_run=true", body).json()
    assert answer["dry_run"]
    assert any("dropped" in line for line in answer["plan"])
    assert before == {row.uid: row for row in core.control.page("default", Device, limit=1000).items}
    assert not core.audit()


def test_quarantine_and_release(api, core):
    body = {"device": HALL, "reason": "test", "ttl_s": 600}
    made = api.post("/actions/quarantine", body).json()
    assert {row["type"] for row in made["records"]} >= {"action"}
    assert core.control.get("default", Device, HALL).mode is Mode.QUARANTINE
    held = [
        row for row in api.get("/in-force").json()["items"] if row["device"] == HALL and row["kind"] == "quarantine"
    ]
    assert 0 < held[0]["until"] - core.time <= 600
    assert api.post("/actions/release", {"device": HALL}).status_code == 200
    assert core.control.get("default", Device, HALL).mode is Mode.ENFORCE
    assert [entry.action for entry in core.audit()] == ["release_device", "quarantine_device"]


def test_same_key_is_done_once(api, core):
    case = core.control.page("default", Case, where={"state": "open"}).items[0]
    key = {"idempotency-key": "note 1"}
    first = api.post(f"/cases/{case.uid}/notes", {"note": "once"}, headers=key)
    second = api.post(f"/cases/{case.uid}/notes", {"note": "once"}, headers=key)
    assert first.json() == second.json()
    lines = core.control.get("default", Case, case.uid).timeline
    assert sum(line.text == "once" for line in lines) == 1


def test_same_key_with_another_body_is_refused(api, core):
    case = core.control.page("default", Case, where={"state": "open"}).items[0]
    key = {"idempotency-key": "note 2"}
    assert api.post(f"/cases/{case.uid}/notes", {"note": "a"}, headers=key).status_code == 200
    problem(api.post(f"/cases/{case.uid}/notes", {"note": "b"}, headers=key), 422, "input.idempotency_key_reused")


def test_same_key_of_another_person_is_another(as_user, core):
    case = core.control.page("default", Case, where={"state": "open"}).items[0]
    key = {"idempotency-key": "note 3"}
    for user in ("olaf", "ann"):
        assert as_user(user).post(f"/cases/{case.uid}/notes", {"note": user}, headers=key).status_code == 200
    texts = [line.text for line in core.control.get("default", Case, case.uid).timeline]
    assert {"olaf", "ann"} <= set(texts)


def test_cases_close_and_open_again(api, core):
    case = core.control.page("default", Case, where={"state": "open"}).items[0]
    assert api("PATCH", f"/cases/{case.uid}", json={"state": "closed", "resolution": "ours"}).status_code == 200
    assert api.get(f"/cases/{case.uid}").json()["resolution"] == "ours"
    problem(api("PATCH", f"/cases/{case.uid}", json={"state": "closed", "resolution": "x"}), 409, "record.conflict")
    assert api("PATCH", f"/cases/{case.uid}", json={"state": "open"}).status_code == 200


def test_approvals_by_kind_queue_and_withdraw(as_user):
    api = as_user("ann")
    waiting = {row["device"]["uid"] for row in api.get("/approvals/queue?kind=bulb").json()["items"]}
    assert waiting == {uid_of("bulb-kitchen"), uid_of("bulb-stairs")}
    plan = api.post("/approvals?dry_run=true", {"scope": "kind", "target": "bulb"}).json()["plan"]
    assert plan
    made = api.post("/approvals", {"scope": "kind", "target": "bulb", "comment": "fine"}).json()["records"]
    approvals = [row for row in made if row["type"] == "approval"]
    assert {row["device"] for row in approvals} == waiting
    assert not api.get("/approvals/queue?kind=bulb").json()["items"]
    assert api.post(f"/approvals/{approvals[0]['uid']}/withdraw", {"comment": "no"}).status_code == 200
    assert api.get("/approvals/queue?kind=bulb").json()["items"][0]["device"]["uid"] == approvals[0]["device"]


def test_approving_a_profile_that_is_not_the_newest_is_a_conflict(as_user):
    body = {"scope": "device", "target": uid_of("bulb-kitchen"), "profile": "p-old"}
    problem(as_user("ann").post("/approvals", body), 409, "record.conflict")


def test_rules_and_limits(as_user, api):
    ann = as_user("ann")
    made = ann.post("/rules", {"name": "r", "rules": ["scan.*"], "enabled": True}).json()["records"][0]
    assert (made["enabled"], made["by"]) == (True, api.get("/users").json()["items"][0]["uid"]) or made["by"]
    assert ann("PUT", f"/rules/{made['uid']}", json={"name": "r", "min_severity": 5}).status_code == 200
    assert ann.get(f"/rules/{made['uid']}").json()["min_severity"] == 5
    assert ann("DELETE", f"/rules/{made['uid']}").status_code == 200
    assert made["uid"] not in {row["uid"] for row in ann.get("/rules").json()["items"]}
    assert api("PUT", "/limits", json={"never_block": ["192.168.1.11"]}).status_code == 200
    assert api.get("/limits").json()["never_block"] == ["192.168.1.11"]
    body = problem(api.post("/actions/quarantine", {"device": HALL, "reason": "x"}), 429, "limit.exceeded")
    assert "never-block" in body["detail"]


def test_settings_that_may_change(api):
    assert api("PUT", "/settings/notify.min_severity", json={"value": "5"}).status_code == 200
    rows = {row["name"]: row for row in api.get("/settings").json()["items"]}
    assert (rows["notify.min_severity"]["value"], rows["notify.min_severity"]["changeable"]) == ("5", True)
    assert rows["server.port"]["changeable"] is False
    problem(api("PUT", "/settings/server.port", json={"value": "1"}), 422, "input.invalid")


def test_users_and_tokens(api, as_user, http):
    made = api("PUT", "/users/nina", json={"role": "operator", "password": PASSWORD})
    assert made.json()["records"][0] == api.get("/users").json()["items"][0]
    path = api.post("/users/nina/login-link").json()["path"]
    assert path.startswith("/login/twl_")
    problem(api.post("/users/nobody/login-link"), 404, "record.not_found")
    mine = as_user("vera")
    token = mine.post("/tokens", {"name": "grafana", "scopes": ["devices:read"]}).json()
    assert token["secret"].startswith("twt_")
    assert http.get("/api/v1/devices", headers={"authorization": f"Bearer {token['secret']}"}).status_code == 200
    assert {row["principal"] for row in mine.get("/tokens").json()["items"]} == {token["token"]["principal"]}
    other = as_user("olaf")("DELETE", f"/tokens/{token['token']['uid']}")
    problem(other, 403, "access.forbidden")


def test_own_password(http, as_user, core):
    body = {"password": "another long password", "current": "wrong"}
    assert as_user("vera")("PUT", "/me/password", json=body).status_code == 403
    assert as_user("vera")("PUT", "/me/password", json={**body, "current": PASSWORD}).status_code == 200
    signed = http.post("/api/v1/sessions", json={"user": "vera", "password": "another long password"})
    assert signed.status_code == 201
    assert http.get("/api/v1/me").json()["user"]["name"] == "vera"
    csrf = {"x-csrf-token": signed.json()["csrf"]}
    assert http.delete("/api/v1/sessions/current", headers=csrf).status_code == 200
    http.cookies.clear()


def test_no_secret_leaves_through_the_api(api, core):
    """Digests of passwords, tokens, sessions and links never show up, whatever is asked."""
    made = [
        api("PUT", "/users/nina", json={"role": "viewer", "password": PASSWORD}),
        api.post("/users/nina/login-link"),
        api.post("/tokens", {"name": "t", "scopes": ["*"]}),
        *(api.get(path) for path in ("/users", "/tokens", "/me", "/audit", "/settings", "/status")),
    ]
    hidden = [row.password for row in core.control.page("default", Principal).items if row.password]
    hidden += [row.digest for kind in (Token, Session) for row in core.control.page("default", kind).items]
    assert len(hidden) >= 6
    for answer in made:
        assert answer.status_code < 300, answer.text
        assert not [digest for digest in hidden if digest in answer.text]
    token = made[2].json()["secret"]
    assert secret_digest(token) in hidden
    assert token not in api.get("/audit").text


def test_every_change_is_audited_with_who_and_from_where(as_user, core):
    as_user("olaf").post("/actions/quarantine", {"device": HALL, "reason": "test"})
    as_user("vera")("PUT", "/users/x", json={"role": "admin"})
    entry = core.audit()[0]
    names = {row.uid: row.name for row in core.control.page("default", Principal).items}
    assert (names[entry.principal], entry.target, entry.address) == ("olaf", HALL, "testclient")
    assert len(core.audit()) == 1, "what the server itself refused never reached core"


def test_events_are_filtered(api):
    rows = api.get(f"/events?kind=dns&limit=5&device={HALL}").json()
    assert all(row["data"]["type"] == "dns" for row in rows["items"])
    recent = api.get(f"/events?since={NOW - 60}").json()["items"]
    assert recent
    assert all(row["time"] >= NOW - 60 for row in recent)


def test_evidence_bundles(as_user, options, core):
    folder = options.data_dir / "bundles"
    folder.mkdir(exist_ok=True)
    (folder / "evidence-1.zip").write_bytes(b"PK")
    (options.data_dir / "secret.txt").write_text("x")
    api = as_user("olaf")
    assert api.get("/evidence-bundles").json()["items"][0]["name"] == "evidence-1.zip"
    answer = api.get("/evidence-bundles/evidence-1.zip")
    assert answer.content == b"PK"
    assert core.audit()[0].action == "note_export"
    for name in ("..%2Fsecret.txt", "%2e%2e", "missing.zip"):
        assert api.get(f"/evidence-bundles/{name}").status_code == 404


def test_demo_attack_only_in_the_demo(as_user, core):
    assert as_user("olaf").post("/demo/attack").status_code == 200
    found = as_user("vera").get(f"/findings?device={uid_of('doorbell')}").json()["items"]
    assert {row["rule"] for row in found} == {"scan.ports", "login.bruteforce"}


def test_status_tells_blind_time(api):
    status = api.get("/status").json()
    sources = {row["name"]: row for row in status["sources"]}
    assert sources["sensor:eth0"]["blind_s"] == 14 * 60
    assert sources["zeek:/var/log/zeek"]["gaps"] == 1
    assert status["ready"]
    assert {row["name"] for row in status["processes"]} >= {"core", "store", "server"}


def test_probes(http, core):
    assert http.get("/healthz").text == "ok\n"
    assert http.get("/readyz").status_code == 200
    core.health_now = core.health_now.__class__(core=False, store=True)
    away = http.get("/readyz")
    assert (away.status_code, away.text) == (503, "core: away\nstore: ok\n")


def test_metrics_are_prometheus_text(http, api, core):
    api.get("/devices")
    text = http.get("/metrics", headers={"host": "localhost"}).text
    assert f'{PREFIX}http_requests_total{{method="GET",route="/api/v1/devices",status="200"}}' in text
    assert f"{PREFIX}core_events_total 812345" in text
    assert f"{PREFIX}devices 23" in text
    assert f'{PREFIX}source_blind_seconds{{source="sensor:eth0"}} 840' in text
    for line in text.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2


def test_metrics_by_another_host_name_need_a_token(http, api, core):
    assert http.get("/metrics", headers={"host": "evil.example"}).status_code == 401
    assert api._client.get("/metrics", headers={**api._headers, "host": "evil.example"}).status_code == 200


def test_metrics_are_bounded(core):
    metrics = Metrics()
    for n in range(MAX_SERIES + 10):
        metrics.count("http_requests_total", route=str(n))
    assert metrics.value("series_dropped_total") >= 10
    assert metrics.render(core.health_now).count("\n") < MAX_SERIES + 100


def test_label_values_cannot_break_out(core):
    metrics = Metrics()
    metrics.count("http_requests_total", route='a"b\n\\c')
    assert r'route="a\"b\n\\c"' in metrics.render(core.health_now)


def test_suppressions_are_made_listed_and_removed(api):
    made = api.post("/suppressions", {"rule": "scan.*", "device": HALL, "reason": "ours", "ttl_s": 3600})
    assert made.status_code == 200, made.text
    (said,) = [row for row in made.json()["records"] if row["type"] == "suppression"]
    assert api.get(f"/suppressions/{said['uid']}").json()["reason"] == "ours"
    assert [row["uid"] for row in api.get(f"/suppressions?device={HALL}").json()["items"]] == [said["uid"]]
    assert api.get("/suppressions?device=d-other").json()["items"] == []
    assert api("DELETE", f"/suppressions/{said['uid']}").status_code == 200
    assert api.get("/suppressions").json()["items"] == []
    assert [row["removed"] for row in api.get("/suppressions?removed=true").json()["items"]] == [True]
    problem(api.post("/suppressions", {"rule": "scan.*", "reason": ""}), 400, "request.invalid")


def test_device_filters_are_exact_page_by_page(api):
    everything = api.get("/devices?limit=1000").json()["items"]
    maker = next(row["maker"] for row in everything if row["maker"])
    wanted = {row["uid"] for row in everything if row["maker"] == maker}
    found, cursor = [], ""
    while True:
        page = api.get(f"/devices?limit=1&maker={maker.upper()}&cursor={cursor}").json()
        found += [row["uid"] for row in page["items"]]
        cursor = page["cursor"]
        if not cursor:
            break
        assert len(page["items"]) == 1, "no page is shorter than asked for"
    assert set(found) == wanted
    assert api.get("/devices?device_class=A").json()["items"] == [r for r in everything if r["device_class"] == "A"]


def test_packs_are_imported_listed_with_version_and_age_and_removed(api):
    text = b"# list\n198.51.100.7\n198.51.100.8\nno indicator here\n"
    dry = api("POST", "/packs?name=bad&dry_run=true", content=text).json()
    assert (dry["dry_run"], dry["plan"][0]) == (True, "pack bad: 2 indicators, 1 lines were none")
    assert api.get("/packs").json()["items"] == []
    made = api("POST", "/packs?name=bad&confidence=0.6", content=text)
    assert made.status_code == 200, made.text
    (row,) = api.get("/packs").json()["items"]
    assert (row["name"], row["count"], row["refused"]) == ("bad", 2, 1)
    assert row["version"] == hashlib.sha256(text).hexdigest()[:12]
    assert row["age_s"] >= 0
    assert api.get("/status").json()["packs"][0]["version"] == row["version"]
    problem(api("POST", "/packs?name=bad", content=b"nothing that could be looked for"), 422, "input.invalid")
    problem(api("POST", "/packs?name=..%2Fx", content=text), 422, "input.invalid")
    assert api.post("/packs/reload", {}).status_code == 200
    assert api("DELETE", "/packs/bad").status_code == 200
    assert api.get("/packs").json()["items"] == []
