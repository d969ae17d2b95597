"""The Content-Type of every route's answers: pages, parts, JSON, problems, streams, files."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.apps.server.sample import session_secret, token_secret, uid_of
from thingward.apps.server.app import wrap
from thingward.apps.server.callers import COOKIE
from thingward.identity.credentials import secret_digest
from thingward.model.principal import Session

HALL = uid_of("cam-hall")


async def ask(app: Any, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, list[str]]:
    """Give status and Content-Type headers; a stream is left once it began."""
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[Any] = loop.create_future()
    asked = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(asked, None) or await loop.create_future()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            begun.set_result(message)

    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("testserver.local", 80), "state": {},
    }  # fmt: skip
    answering = asyncio.create_task(app(scope, receive, send))
    await asyncio.wait({answering, begun}, return_when=asyncio.FIRST_COMPLETED)
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)
    start = begun.result()
    return start["status"], [value.decode() for name, value in start["headers"] if name.lower() == b"content-type"]


def routes(litestar: Any) -> list[tuple[str, str]]:
    """Every method and path, with uids of the sample and with some that nothing has."""
    found = []
    for route in litestar.routes:
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            for uid in (HALL, "nothing"):
                path = route.path_format.replace("{uid}", uid).replace("{name}", uid).replace("{file_path}", uid)
                found.append((method, path))
    forms = [f"/api/v1/devices/{HALL}/profile/export?form={form}" for form in ("csv", "nftables", "openwrt", "dnsmasq")]
    more = ["/static/console.css", "/static/console.js", "/no/page", "/api/no/page", *forms]
    return [*dict.fromkeys(found), *(("GET", path) for path in more)]


def carried(core: Any, method: str, path: str) -> tuple[dict[str, str], bytes]:
    """Give headers and body with which an administrator may ask; nothing is filled in. Some of them sign out."""
    if path.startswith("/api/") or path == "/metrics":
        headers = {"authorization": f"Bearer {token_secret(core)}"}
        return (headers, b"") if method == "GET" else (headers | {"content-type": "application/json"}, b"{}")
    secret = session_secret(core)
    session = core.control.page("default", Session, where={"digest": secret_digest(secret)}, limit=1).items[0]
    body = b"" if method == "GET" else f"csrf={session.csrf}".encode()
    return {"cookie": f"{COOKIE}={secret}", "content-type": "application/x-www-form-urlencoded"}, body


def test_every_answer_has_one_content_type_and_text_says_its_charset_once(litestar, options, http, core):
    app = wrap(litestar, options)

    async def run() -> list[tuple[str, str, int, list[str]]]:
        rows = []
        for method, path in routes(litestar):
            headers, body = carried(core, method, path)
            rows.append((method, path, *await ask(app, method, path, headers, body)))
            rows.append((method, path, *await ask(app, method, path, {}, b"")))
        return rows

    rows = asyncio.run(run())
    assert {status for _, _, status, _ in rows} >= {200, 303, 401, 404}
    kinds = {types[0].partition(";")[0] for _, _, _, types in rows if types}
    assert kinds >= {"text/html", "text/css", "text/csv", "text/plain", "text/event-stream", "application/problem+json"}
    wrong = []
    for method, path, status, types in rows:
        said = ";".join(types).lower()
        if len(types) > 1 or said.count("charset=utf-8") != said.startswith("text/") or said.count("charset") > 1:
            wrong.append(f"{method} {path} {status}: {types}")
    assert not wrong, "\n".join(wrong)
