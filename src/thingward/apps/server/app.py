"""The web application: routes, who may use them, headers, errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.static_files import create_static_files_router

from thingward.apps.server.api import (
    actions,
    devices,
    enrolment,
    events,
    evidence,
    findings,
    observations,
    packs,
    people,
    profiles,
    rules,
    suppressions,
    system,
)
from thingward.apps.server.api.openapi import DESCRIPTION, get_openapi
from thingward.apps.server.api.parameters import guard_parameters
from thingward.apps.server.backend import Backend, Options
from thingward.apps.server.callers import PUBLIC, CallerMiddleware, guard_access
from thingward.apps.server.captures import CaptureDesk
from thingward.apps.server.console.routes import console_handlers
from thingward.apps.server.console.screen import Screen, console_error
from thingward.apps.server.deps import Deps, Gate, provide_ask, provide_caller
from thingward.apps.server.headers import EntityTags, SecurityHeaders
from thingward.apps.server.live import Broadcaster
from thingward.apps.server.metrics import Metrics
from thingward.apps.server.perform import Performer
from thingward.apps.server.present import JsonResponse
from thingward.apps.server.problems import problem_response
from thingward.apps.server.throttle import Throttle

STATIC = Path(__file__).parent / "static"
BODY_LIMIT_BYTES = 1_000_000

API_HANDLERS = (
    *devices.HANDLERS,
    *profiles.HANDLERS,
    *findings.HANDLERS,
    *suppressions.HANDLERS,
    *actions.HANDLERS,
    *rules.HANDLERS,
    *packs.HANDLERS,
    *enrolment.HANDLERS,
    *events.HANDLERS,
    *observations.HANDLERS,
    *people.HANDLERS,
    *evidence.HANDLERS,
    *system.HANDLERS,
)


def make_deps(backend: Backend, options: Options) -> Deps:
    """Put the server's parts together."""
    metrics = Metrics()
    return Deps(
        backend=backend,
        options=options,
        performer=Performer(backend, options, metrics),
        broadcaster=Broadcaster(backend, metrics),
        captures=CaptureDesk(options, metrics, backend.now),
        metrics=metrics,
        throttle=Throttle(),
        pushes=Gate(observations.PUSHES),
    )


def create_app(backend: Backend, options: Options) -> Any:
    """Make the ASGI application of API and console.

    Args:
        backend: the rest of the platform. options: what the server is told.
    """
    return wrap(make_litestar(make_deps(backend, options)), options)


def wrap(app: Any, options: Options) -> Any:
    """Put the security headers around everything, so that errors carry them too."""
    return SecurityHeaders(app, secure=options.secure)


def make_litestar(deps: Deps) -> Litestar:
    """Make the application without the outermost wrapper."""
    api = Router(
        "/api/v1",
        route_handlers=[*API_HANDLERS, get_openapi],
        guards=[guard_parameters],
        middleware=[EntityTags],
        response_class=JsonResponse,
    )
    screen = Screen(deps)
    return Litestar(
        route_handlers=[api, *system.PROBES, *console_handlers(), _static()],
        dependencies={
            "deps": Provide(lambda: deps, sync_to_thread=False, use_cache=True),
            "screen": Provide(lambda: screen, sync_to_thread=False, use_cache=True),
            "caller": Provide(provide_caller),
            "ask": Provide(provide_ask),
        },
        guards=[guard_access],
        middleware=[
            DefineMiddleware(Timing, metrics=deps.metrics),
            DefineMiddleware(CallerMiddleware, backend=deps.backend, options=deps.options, throttle=deps.throttle),
        ],
        exception_handlers={Exception: partial(answer_error, screen)},
        openapi_config=OpenAPIConfig(
            title="thingward",
            version=deps.options.version,
            description=DESCRIPTION,
            use_handler_docstrings=True,
            path="/api/raw",
        ),
        on_startup=[deps.broadcaster.start, deps.captures.start],
        on_shutdown=[deps.broadcaster.stop, deps.captures.stop],
        request_max_body_size=BODY_LIMIT_BYTES,
        logging_config=None,
    )


def answer_error(screen: Screen, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer the API with problem details, people with a page."""
    if request.url.path.startswith("/api/"):
        return problem_response(request, error)
    return console_error(screen, request, error)


def _static() -> Router:
    return create_static_files_router(
        path="/static", directories=[STATIC], opt={"access": PUBLIC}, cache_control=None, include_in_schema=False
    )


class Timing:
    """Counts requests by route and status, and the time they took."""

    def __init__(self, app: Any, metrics: Metrics, timer: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._timer = timer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Measure one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._timer()
        status = ["500"]

        async def note(message: Any) -> None:
            if message["type"] == "http.response.start":
                status[0] = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = _route(scope)
            self._metrics.count("http_requests_total", method=str(scope["method"]), route=route, status=status[0])
            self._metrics.count("http_request_seconds_total", self._timer() - started, route=route)


def _route(scope: Any) -> str:
    """Give the route's pattern, never the path itself: paths hold uids, and secrets of login links."""
    return str(scope.get("path_template") or "unknown")
