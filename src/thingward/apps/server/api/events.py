"""Events: asked in pages, or followed as they pass."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from thingward.apps.server.api.devices import Cursor, Limit, Search, Site, When
from thingward.apps.server.api.schemas import PageOf
from thingward.apps.server.callers import Caller
from thingward.apps.server.deps import Deps
from thingward.apps.server.live import is_wanted, json_frame, stream
from thingward.apps.server.streams import still_allowed
from thingward.model.event import Event
from thingward.ports.event_store import EventQuery

Kind = Annotated[
    str, QueryParameter(description="Tag of the record or body: `flow`, `dns`, `finding` ...", max_length=40)
]
Device = Annotated[str, QueryParameter(description="Uid of a device on either side.", max_length=120)]
Severity = Annotated[int, QueryParameter(description="At least this severity.", ge=0, le=6)]


@get("/events", operation_id="listEvents", access="events:read", tags=["events"], sync_to_thread=True)
def list_events(
    deps: NamedDependency[Deps],
    since: When = 0.0,
    until: When = 0.0,
    device: Device = "",
    site: Site = "",
    kind: Kind = "",
    class_uid: Annotated[int, QueryParameter(description="OCSF class.", ge=0, le=2**31)] = 0,
    min_severity: Severity = 0,
    search: Search = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Event]:
    """List events, newest first; all given conditions hold."""
    query = EventQuery(
        since=since,
        until=until,
        device=device,
        site=site,
        kind=kind,
        class_uid=class_uid,
        min_severity=min_severity,
        search=search,
        cursor=cursor,
        limit=limit,
    )
    page = deps.backend.events.query(deps.tenant, query)
    return PageOf(items=page.items, cursor=page.cursor)


@get(
    "/events/stream",
    operation_id="streamEvents",
    access="events:read",
    tags=["events"],
    media_type="text/event-stream",
)
async def stream_events(
    deps: NamedDependency[Deps],
    caller: NamedDependency[Caller],
    kind: Kind = "",
    device: Device = "",
    min_severity: Severity = 0,
    last_event_id: Annotated[
        str | None, HeaderParameter(name="Last-Event-ID", description="Begin after this record, if still remembered.")
    ] = None,
) -> Stream:
    """Follow records as they pass, as server-sent events: `event` is the record's type, `data` its JSON."""
    listener = deps.broadcaster.listen(last_event_id or "")
    frames = stream(
        deps.broadcaster,
        listener,
        wanted=partial(is_wanted, kind=kind, device=device, min_severity=min_severity),
        write=json_frame,
        allowed=partial(still_allowed, deps, caller, "events:read"),
    )
    return Stream(frames, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


HANDLERS = (list_events, stream_events)
