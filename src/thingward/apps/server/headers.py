"""Headers on every answer: a strict content policy, no framing, no sniffing, no caching of what is private; ETags."""

from __future__ import annotations

from typing import Any, Final

from litestar.datastructures import MutableScopeHeaders

from thingward.apps.server.present import entity_tag

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STRICT_TRANSPORT: Final = "max-age=31536000"


class SecurityHeaders:
    """ASGI wrapper that adds the headers, outermost, so that errors carry them too."""

    def __init__(self, app: Any, *, secure: bool) -> None:
        self._app = app
        self._headers = SECURITY_HEADERS | ({"Strict-Transport-Security": STRICT_TRANSPORT} if secure else {})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on; add headers to what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, add)


class EntityTags:
    """ASGI wrapper for the API: JSON answers to GET carry an ETag, and If-None-Match is answered with 304."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hold back the start of a JSON answer until its body is known."""
        if scope["type"] != "http" or scope.get("method") != "GET":
            await self._app(scope, receive, send)
            return
        wanted = _if_none_match(scope)
        held: list[Any] = []

        async def tag(message: Any) -> None:
            if message["type"] == "http.response.start" and _is_json(message):
                held.append(message)
            elif held and message["type"] == "http.response.body":
                for part in _tagged(held.pop(), message, wanted):
                    await send(part)
            else:
                await send(message)

        await self._app(scope, receive, tag)


def _tagged(start: Any, body: Any, wanted: str) -> tuple[Any, Any]:
    headers = MutableScopeHeaders.from_message(start)
    if not body.get("more_body"):
        tag = entity_tag(bytes(body.get("body", b"")))
        headers["ETag"] = tag
        if tag in wanted:
            headers["Content-Length"] = "0"
            start["status"] = 304
            body["body"] = b""
    return start, body


def _is_json(message: Any) -> bool:
    headers = MutableScopeHeaders.from_message(message)
    return bool(message["status"] == 200) and headers.get("content-type", "").startswith("application/json")


def _if_none_match(scope: Any) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"), "")
