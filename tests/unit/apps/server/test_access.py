"""Who may do what, checked in one place; a route that does not say stays shut."""

from __future__ import annotations

import pytest

from tests.unit.apps.server.sample import PASSWORD, link_secret, token_secret, uid_of
from thingward.apps.server.api.openapi import access_of
from thingward.apps.server.callers import PUBLIC, needed
from thingward.apps.server.console.routes import HANDLERS as CONSOLE
from thingward.identity.access import REGISTRAR_ONLY, REQUIRED, covers
from thingward.identity.credentials import secret_digest
from thingward.model.errors import Forbidden
from thingward.model.intent import CreateSession, RevokeToken
from thingward.model.principal import Role, Session, Token

USERS = {"vera": Role.VIEWER, "olaf": Role.OPERATOR, "ann": Role.APPROVER, "admin": Role.ADMIN}


def operations(litestar):
    """Every operation of the API: (method, path with the sample's uids, operation id, access)."""
    access = access_of(litestar)
    rows = []
    for path, item in litestar.openapi_schema.to_schema()["paths"].items():
        if path.startswith("/api/v1"):
            for method, operation in item.items():
                uid = operation["operationId"]
                rows.append((method.upper(), path, uid, access[uid]))
    return rows


def filled(path):
    device = uid_of("cam-hall")
    return path.replace("{uid}", device).replace("{name}", "home")


def test_every_route_says_who_may_use_it(litestar):
    for route in litestar.routes:
        for handler in route.route_handlers:
            if route.path.startswith("/api/raw") or handler.http_methods == {"OPTIONS"}:
                continue
            access = handler.opt.get("access")
            assert access == PUBLIC or needed(access), route.path


def test_a_route_that_does_not_say_stays_shut(http, core):
    assert http.get("/api/raw/openapi.json").status_code == 403
    with pytest.raises(Forbidden):
        needed(None)


def test_nobody_gets_nothing(litestar, http, core):
    for method, path, uid, access in operations(litestar):
        answer = http.request(method, filled(path), json={})
        if access != PUBLIC:
            assert answer.status_code == 401, (uid, answer.status_code)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "access.unauthenticated"


@pytest.mark.parametrize("user", USERS)
def test_roles_matrix(litestar, as_user, user):
    """A role below the one that is needed is refused before anything else is looked at; one that covers it is not."""
    ask = as_user(user)
    for method, path, uid, access in operations(litestar):
        if access == PUBLIC or uid == "streamEvents":
            continue
        role, _ = needed(access)
        answer = ask(method, filled(path).removeprefix("/api/v1"), json={})
        is_refused = answer.status_code == 403 and answer.json()["code"] == "access.forbidden"
        assert is_refused != covers(USERS[user], role), (uid, answer.status_code, answer.text[:200])


@pytest.mark.parametrize(
    ("scopes", "path", "status"),
    [
        (("devices:read",), "/devices", 200),
        (("devices:read",), "/findings", 403),
        (("devices:write",), "/devices", 200),
        (("*",), "/users", 200),
        (("audit:read",), "/users", 403),
    ],
)
def test_scopes_bound_a_token(as_user, scopes, path, status):
    assert as_user("admin", scopes).get(path).status_code == status


def test_a_read_scope_cannot_write(as_user, core):
    answer = as_user("admin", ("actions:read", "devices:read")).post(
        "/actions/quarantine", {"device": uid_of("cam-hall"), "reason": "test"}
    )
    assert answer.status_code == 403
    assert "actions:write" in answer.json()["detail"]


def test_force_needs_an_approver_and_core_says_so(as_user):
    body = {"device": uid_of("cam-hall"), "reason": "test", "force": True}
    assert as_user("olaf").post("/actions/quarantine?dry_run=true", body).json()["code"] == "access.forbidden"
    assert as_user("ann").post("/actions/quarantine?dry_run=true", body).status_code == 200


def test_revoked_token_is_refused_at_once(http, core):
    secret = token_secret(core, "olaf")
    headers = {"authorization": f"Bearer {secret}"}
    assert http.get("/api/v1/devices", headers=headers).status_code == 200
    token = core.control.page("default", Token, where={"digest": secret_digest(secret)}).items[0]
    admin = {"authorization": f"Bearer {token_secret(core)}"}
    assert http.delete(f"/api/v1/tokens/{token.uid}", headers=admin).status_code == 200
    assert http.get("/api/v1/devices", headers=headers).status_code == 401


def test_disabled_user_is_refused_at_once(http, api, core):
    headers = {"authorization": f"Bearer {token_secret(core, 'olaf')}"}
    assert api("PUT", "/users/olaf", json={"role": "operator", "disabled": True}).status_code == 200
    assert http.get("/api/v1/devices", headers=headers).status_code == 403


def test_expired_session_is_refused(http, core, browser):
    page = browser("vera")
    assert page.get("/devices").status_code == 200
    core.time += 13 * 3600
    answer = page.get("/devices")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/devices")


def test_wrong_tokens_lock_the_address(http, core):
    for _ in range(10):
        assert http.get("/api/v1/me", headers={"authorization": "Bearer twt_wrong"}).status_code == 401
    locked = http.get("/api/v1/me", headers={"authorization": f"Bearer {token_secret(core)}"})
    assert locked.status_code == 429
    assert locked.json()["code"] == "access.locked"
    assert 0 < int(locked.headers["retry-after"]) <= 30
    core.time += 31
    assert http.get("/api/v1/me", headers={"authorization": f"Bearer {token_secret(core)}"}).status_code == 200


def test_a_session_needs_the_csrf_header_for_changes(http, browser):
    page = browser("olaf")
    body = {"device": uid_of("cam-hall"), "reason": "test"}
    path = "/api/v1/actions/quarantine?dry_run=true"
    assert http.post(path, json=body).status_code == 403
    assert http.post(path, json=body, headers={"x-csrf-token": "0" * 32}).status_code == 403
    assert http.post(path, json=body, headers={"x-csrf-token": page.session.csrf}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_changes_from_other_sites_are_refused(http, browser, headers):
    page = browser("admin")
    answer = http.post("/demo/attack", data={"csrf": page.session.csrf}, headers=headers, follow_redirects=False)
    assert answer.status_code == 403
    assert http.post("/login", data={"user": "admin", "password": PASSWORD}, headers=headers).status_code == 403


def test_every_form_of_the_console_refuses_a_wrong_csrf_token(core, browser):
    page = browser("admin")
    seen = 0
    for handler in CONSOLE:
        if handler.http_methods != {"POST"} or "login" in sorted(handler.paths)[0].split("/")[1:2]:
            continue
        for path in handler.paths:
            for token in ("", "0" * 32):
                answer = page.post(path.replace("{uid:str}", uid_of("cam-hall")), csrf=token)
                assert answer.status_code == 403, path
            seen += 1
    assert seen >= 20
    assert not core.audit()


def test_every_form_of_the_console_is_an_operation_of_the_api(litestar):
    """The console can do nothing that the API cannot."""
    access = access_of(litestar)
    for handler in CONSOLE:
        if handler.http_methods == {"POST"}:
            operation = handler.opt["operation"]
            assert operation in access, sorted(handler.paths)
            assert handler.opt["access"] == access[operation], sorted(handler.paths)


def test_every_intent_of_a_person_has_an_operation(litestar):
    offered = set(access_of(litestar).values())
    assert set(REQUIRED) - offered - {CreateSession, *REGISTRAR_ONLY} == set()
    assert RevokeToken in offered


def sign_in(http, **fields):
    return http.post("/login", data=fields, follow_redirects=False)


def test_login_link_signs_in_once(http, core):
    secret = link_secret(core)
    assert http.get(f"/login/{secret}").status_code == 200, "opening the address alone must not use it up"
    first = sign_in(http, link=secret)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert http.get("/users").status_code == 200
    http.cookies.clear()
    second = sign_in(http, link=secret)
    assert second.status_code == 401
    assert "set-cookie" not in second.headers


def test_login_link_ends_after_its_time(http, core):
    secret = link_secret(core)
    core.time += 15 * 60 + 1
    assert sign_in(http, link=secret).status_code == 401


def test_cookie_is_for_this_site_and_no_script(http, core):
    cookie = sign_in(http, user="vera", password=PASSWORD).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie


def test_wrong_passwords_lock_the_address_whoever_it_names(http, core):
    for n in range(10):
        assert sign_in(http, user=f"nobody{n}", password="x").status_code == 401
    locked = sign_in(http, user="vera", password=PASSWORD)
    assert locked.status_code == 429
    assert "retry-after" in locked.headers
    assert {entry.result for entry in core.audit()} == {"access.unauthenticated"}


def test_sign_out_ends_the_session(http, core, browser):
    page = browser("vera")
    answer = page.post("/logout")
    assert answer.headers["location"] == "/login"
    http.cookies.set("thingward_session", page.secret)
    assert http.get("/devices", follow_redirects=False).status_code == 303
    assert core.control.get("default", Session, page.session.uid).expires == 0


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_goes_on_to_this_host_only(http, core, target):
    assert sign_in(http, user="vera", password=PASSWORD, next=target).headers["location"] == "/"


def test_who_is_not_signed_in_is_asked_to_and_comes_back(http, core):
    answer = http.get("/cases?state=open", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/cases%3Fstate%3Dopen")
    assert http.get("/", follow_redirects=False).headers["location"] == "/login"


def test_pages_of_others_roles_are_refused_with_a_page(browser):
    answer = browser("vera").get("/users")
    assert answer.status_code == 403
    assert "needs the role admin" in answer.text
