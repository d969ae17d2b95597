"""How the platform is: status for people, metrics and probes for machines."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency

from thingward.apps.server.api.schemas import StatusView, pack_view
from thingward.apps.server.backend import Health
from thingward.apps.server.callers import PUBLIC, caller_of, verify
from thingward.apps.server.deps import Deps
from thingward.apps.server.standing import DAY_S, source_standing
from thingward.model.device import Device
from thingward.model.errors import ThingwardError


async def status_of(deps: Deps) -> StatusView:
    """Gather how the platform is; what cannot be asked is said in `problems`."""
    health = await deps.backend.health()
    since = deps.now() - DAY_S
    problems = list(health.problems)
    sources, events = health.sources, {}
    try:
        sources = sources or await asyncio.to_thread(source_standing, deps, since)
        events = dict(await asyncio.to_thread(deps.backend.events.counts, deps.tenant, since=since))
    except ThingwardError as error:
        problems.append(f"the event store does not answer: {error}")
    return StatusView(
        version=deps.options.version,
        ready=health.core and health.store,
        started=health.started,
        processes=health.processes,
        sources=sources,
        store_bytes=health.store_bytes,
        events=events,
        problems=tuple(problems),
        enforcer=health.enforcer,
        packs=tuple(pack_view(info, deps.now()) for info in health.packs),
    )


@get("/status", operation_id="getStatus", access="status:read", tags=["system"])
async def get_status(deps: NamedDependency[Deps]) -> StatusView:
    """Tell how processes, sources, store and enforcer are, and for how long nothing was seen."""
    return await status_of(deps)


@get("/healthz", operation_id="getHealth", access=PUBLIC, tags=["system"], media_type="text/plain")
async def healthz() -> str:
    """Answer as long as the server process lives."""
    return "ok\n"


@get("/readyz", operation_id="getReadiness", access=PUBLIC, tags=["system"], media_type="text/plain")
async def readyz(deps: NamedDependency[Deps]) -> Response[str]:
    """Answer 200 if core and store answer, else 503 with what is missing."""
    health = await deps.backend.health()
    return Response(readiness(health), status_code=200 if health.core and health.store else 503)


def readiness(health: Health) -> str:
    """Say in a line each whether core and store answer."""
    rows = (("core", health.core), ("store", health.store))
    return "".join(f"{name}: {'ok' if is_up else 'away'}\n" for name, is_up in rows)


@get("/metrics", operation_id="getMetrics", access=PUBLIC, tags=["system"], media_type="text/plain")
async def metrics(request: Request[Any, Any, Any], deps: NamedDependency[Deps]) -> Response[str]:
    """Give metrics as Prometheus text. On loopback anybody may read them, else a token with status:read."""
    if not deps.options.metrics_open or not is_local_name(request.headers.get("host", "")):
        verify(caller_of(request), "status:read")
    text = deps.metrics.render(await measured(deps))
    return Response(text, media_type="text/plain; version=0.0.4")


async def measured(deps: Deps) -> Health:
    """Give the platform's health with what is counted only when metrics are read: devices, sources' blind time."""
    health = await deps.backend.health()
    try:
        where = {"merged_into": "", "group": "false"}
        count = await asyncio.to_thread(deps.backend.control.count, deps.tenant, Device, where=where)
        deps.metrics.put("devices", count)
        sources = health.sources or await asyncio.to_thread(source_standing, deps, deps.now() - DAY_S)
    except ThingwardError:
        return health
    return msgspec.structs.replace(health, sources=sources)


def is_local_name(host: str) -> bool:
    """Tell whether a Host header names this machine by loopback: a page elsewhere may have pointed its name here."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in ("localhost", "[::1]") or name.startswith("127.")


HANDLERS = (get_status,)
PROBES = (healthz, readyz, metrics)
