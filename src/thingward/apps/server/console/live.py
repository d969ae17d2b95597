"""Live events: the newest ones, then each as it passes."""

from __future__ import annotations

from functools import partial
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream

from thingward.apps.server.callers import Caller
from thingward.apps.server.console.lines import Line, line_of
from thingward.apps.server.console.screen import Screen
from thingward.apps.server.deps import Deps
from thingward.apps.server.live import is_wanted, sse_frame, stream
from thingward.apps.server.streams import still_allowed
from thingward.model.errors import ThingwardError
from thingward.model.record import Record
from thingward.ports.event_store import EventQuery

KINDS = ("flow", "dns", "http", "tls", "mqtt", "lease", "identity", "credential", "alert", "status", "malformed", "log")
FIRST = 60


@get("/live", access="events:read", sync_to_thread=True)
def live_page(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    kind: FromQuery[str] = "",
    device: FromQuery[str] = "",
    severity: FromQuery[int] = 0,
    q: FromQuery[str] = "",
) -> Response[str]:
    """Show the newest events and go on with those that pass."""
    fault = ""
    events: tuple[Record, ...] = ()
    if kind not in ("finding", "case", "action"):
        query = EventQuery(
            kind=kind if kind in KINDS else "", device=device, min_severity=severity, search=q, limit=FIRST
        )
        try:
            events = deps.backend.events.query(deps.tenant, query).items
        except ThingwardError as error:
            fault = str(error)
    return screen.page(
        request,
        "live.html",
        lines=lines_of(screen, events),
        kinds=(*KINDS, "finding", "case", "action"),
        kind=kind,
        device=device,
        severity=severity,
        q=q,
        fault=fault,
        device_label=screen.names({device}).get(device, "") if device else "",
    )


def lines_of(screen: Screen, records: tuple[Record, ...]) -> list[Line]:
    """Turn records into lines for people."""
    uids: set[str] = set()
    for record in records:
        for name in ("src", "dst"):
            end = getattr(record, name, None)
            if end is not None and end.device:
                uids.add(end.device)
        uids.add(str(getattr(record, "device", "")))
    names = screen.names(uids)
    return [line_of(record, names) for record in records]


@get("/live/stream", access="events:read")
async def live_stream(
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    caller: NamedDependency[Caller],
    kind: FromQuery[str] = "",
    device: FromQuery[str] = "",
    severity: FromQuery[int] = 0,
) -> Stream:
    """Send each record that passes as a row of the table."""
    listener = deps.broadcaster.listen()
    frames = stream(
        deps.broadcaster,
        listener,
        wanted=partial(is_wanted, kind=kind, device=device, min_severity=severity),
        write=partial(_row, screen),
        allowed=partial(still_allowed, deps, caller, "events:read"),
    )
    return Stream(frames, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _row(screen: Screen, record: Record) -> bytes:
    return sse_frame(screen.part("live_row.html", line=lines_of(screen, (record,))[0]).encode(), uid=record.uid)


HANDLERS = (live_page, live_stream)
