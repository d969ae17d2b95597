"""Errors as problem details (RFC 9457): stable code, what happened, what to do next; never a trace."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException
from msgspec import Meta

from thingward.apps.server.throttle import Locked
from thingward.model.errors import ThingwardError

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger("server")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, as RFC 9457 asks, with our stable code and a hint."""

    type: Annotated[
        str, Meta(description="Name of the kind of problem.", examples=["urn:thingward:error:access.forbidden"])
    ]
    title: Annotated[str, Meta(description="The HTTP status in words.", examples=["Forbidden"])]
    status: Annotated[int, Meta(description="The HTTP status.", examples=[403])]
    detail: Annotated[
        str, Meta(description="What happened.", examples=["this needs the role approver; ann has viewer."])
    ]
    code: Annotated[str, Meta(description="Stable code, listed in the docs.", examples=["access.forbidden"])]
    hint: Annotated[str, Meta(description="What to do next; may be empty.", examples=["Ask an admin."])] = ""
    retryable: Annotated[bool, Meta(description="The same call may succeed later.")] = False
    instance: Annotated[str, Meta(description="The path that was asked for.")] = ""
    errors: Annotated[
        tuple[str, ...], Meta(description="One line for each field, or line of a body, that cannot be used.")
    ] = ()


_HTTP_CODES = {400: "request.invalid", 404: "http.not_found", 405: "http.method_not_allowed", 413: "input.too_large"}


def problem_of(error: Exception, path: str = "") -> Problem:
    """Describe any exception; what we did not expect is only named internal."""
    if isinstance(error, ThingwardError):
        message = Exception.__str__(error)
        lines = tuple(getattr(error, "errors", ()))
        return _problem(
            error.code, error.status, message, path, hint=error.hint, retryable=error.retryable, errors=lines
        )
    if isinstance(error, HTTPException):
        status = error.status_code
        code = _HTTP_CODES.get(status, "request.invalid" if status < 500 else "internal")
        detail = _detail(error) if status < 500 else _INTERNAL
        return _problem(code, status, detail, path, errors=_lines(error.extra))
    return _problem("internal", 500, _INTERNAL, path, hint="The log of the server process says more.")


_INTERNAL = "something failed that should not."


def _problem(
    code: str,
    status: int,
    detail: str,
    path: str,
    *,
    hint: str = "",
    retryable: bool = False,
    errors: tuple[str, ...] = (),
) -> Problem:
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return Problem(
        type=f"urn:thingward:error:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        retryable=retryable,
        instance=path,
        errors=errors,
    )


def _detail(error: HTTPException) -> str:
    """Say what is wrong; of a body that is no JSON say so before where it ends."""
    if isinstance(error.__cause__, msgspec.DecodeError | SerializationException):
        return f"the body is no valid JSON: {str(error.detail)[:200].rstrip('.')}."
    return str(error.detail)


def _lines(extra: Any) -> tuple[str, ...]:
    if not isinstance(extra, list):
        return ()
    rows = [item if isinstance(item, dict) else {"message": item} for item in extra[:50]]
    return tuple(f"{row.get('key', '')}: {row.get('message', '')}".removeprefix(": ") for row in rows)


def headers_of(error: Exception) -> dict[str, str]:
    """Headers that the status asks for."""
    if isinstance(error, Locked):
        return {"Retry-After": str(max(1, round(error.retry_after_s)))}
    if isinstance(error, ThingwardError) and error.status == 401:
        return {"WWW-Authenticate": 'Bearer realm="thingward"'}
    if isinstance(error, HTTPException) and error.headers:
        return {key: value for key, value in error.headers.items() if key.lower() in ("allow", "retry-after")}
    return {}


def log_unexpected(request: Request[Any, Any, Any], error: Exception) -> None:
    """Write down what nobody expected."""
    if not isinstance(error, ThingwardError | HTTPException) or getattr(error, "status_code", 0) >= 500:
        _log.error("request failed", path=request.url.path, method=request.method, exc_info=error)


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an API request with problem details."""
    log_unexpected(request, error)
    problem = problem_of(error, request.url.path)
    return Response(
        content=msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers_of(error),
    )
