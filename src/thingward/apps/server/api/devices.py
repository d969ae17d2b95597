"""Sites and devices: what exists, who it talks to, what it needs."""

from __future__ import annotations

from typing import Annotated

from litestar import get, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import DeviceChange, PageOf, Result, page_of
from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.present import encode_public, entity_tag
from thingward.apps.server.standing import SiteStanding, site_standing
from thingward.model.device import Attribute, Device, DeviceClass, Mode
from thingward.model.errors import Conflict, NotFound
from thingward.model.intent import EditDevice
from thingward.ports.event_store import PeerRow, TrafficPoint

Cursor = Annotated[str, QueryParameter(description="From an earlier answer.", max_length=500)]
Limit = Annotated[int, QueryParameter(description="How many at most.", ge=1, le=1000)]
Search = Annotated[str, QueryParameter(description="Text that the record contains.", max_length=200)]
Site = Annotated[str, QueryParameter(description="Only this site.", max_length=100)]
When = Annotated[float, QueryParameter(description="Seconds since 1970; 0 means no bound.", ge=0, le=1e11)]


class Changed(Conflict):
    """The record is not the one that If-Match names."""

    code = "record.changed"
    status = 412


@get("/sites", operation_id="listSites", access="devices:read", tags=["devices"], sync_to_thread=True)
def list_sites(deps: NamedDependency[Deps]) -> PageOf[SiteStanding]:
    """List sites with their figures. Unknown devices are counted apart: they are never clean."""
    return PageOf(items=site_standing(deps))


@get("/sites/{name:str}", operation_id="getSite", access="devices:read", tags=["devices"], sync_to_thread=True)
def get_site(deps: NamedDependency[Deps], name: FromPath[str]) -> SiteStanding:
    """Give one site with its figures."""
    found = next((row for row in site_standing(deps) if row.name == name), None)
    if found is None:
        raise NotFound(f"there is no site {name!r}.")
    return found


@get("/devices", operation_id="listDevices", access="devices:read", tags=["devices"], sync_to_thread=True)
def list_devices(
    deps: NamedDependency[Deps],
    search: Search = "",
    site: Site = "",
    kind: Annotated[str, QueryParameter(description="Only this kind, for example `camera`.", max_length=40)] = "",
    maker: Annotated[str, QueryParameter(description="Only this maker.", max_length=100)] = "",
    mode: FromQuery[Mode | None] = None,
    device_class: FromQuery[DeviceClass | None] = None,
    identified: Annotated[
        bool | None, QueryParameter(description="`false`: only those that nobody can identify.")
    ] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Device]:
    """List devices; all given conditions hold. `maker` is compared without regard to case."""
    where = {"site": site, "kind": kind, "mode": mode or "", "maker": maker, "device_class": device_class or ""}
    given = {"merged_into": "", **{name: str(value) for name, value in where.items() if value}}
    if identified is not None:
        given["identified"] = "true" if identified else "false"
    page = deps.backend.control.page(deps.tenant, Device, where=given, search=search, cursor=cursor, limit=limit)
    return page_of(page)


@get("/devices/{uid:str}", operation_id="getDevice", access="devices:read", tags=["devices"], sync_to_thread=True)
def get_device(deps: NamedDependency[Deps], uid: FromPath[str]) -> Device:
    """Give one device with all its evidence."""
    return deps.get(Device, uid)


@patch("/devices/{uid:str}", operation_id="editDevice", access=EditDevice, tags=["devices"])
async def edit_device(
    deps: NamedDependency[Deps],
    ask: NamedDependency[Ask],
    uid: FromPath[str],
    data: JSONBody[DeviceChange],
    if_match: Annotated[
        str | None, HeaderParameter(name="If-Match", description="ETag that you saw: refused if the device changed.")
    ] = None,
) -> Result:
    """Correct what is said of a device: label, kind, maker, model, or that it is the same as another."""
    device = deps.get(Device, uid)
    if if_match and if_match != "*" and entity_tag(encode_public(device)) not in if_match:
        raise Changed("the device changed since you read it.", hint="Read it again.")
    return await result_of(
        ask,
        EditDevice(
            device=uid,
            label=data.label,
            kind=data.kind,
            maker=data.maker,
            model=data.model,
            merge_into=data.merge_into,
        ),
    )


@get(
    "/devices/{uid:str}/evidence",
    operation_id="getDeviceEvidence",
    access="devices:read",
    tags=["devices"],
    sync_to_thread=True,
)
def get_evidence(deps: NamedDependency[Deps], uid: FromPath[str]) -> PageOf[Attribute]:
    """List what identifies a device: each piece with its source, times and confidence; the surest first."""
    rows = deps.get(Device, uid).evidence
    return PageOf(items=tuple(sorted(rows, key=lambda row: (-row.confidence, row.name, row.value))))


@get(
    "/devices/{uid:str}/peers",
    operation_id="getDevicePeers",
    access="devices:read",
    tags=["devices"],
    sync_to_thread=True,
)
def get_peers(
    deps: NamedDependency[Deps], uid: FromPath[str], since: When = 0.0, limit: Limit = 200
) -> PageOf[PeerRow]:
    """List whom a device talks to, largest first."""
    deps.get(Device, uid)
    return PageOf(items=deps.backend.events.peers(deps.tenant, uid, since=since, limit=limit))


@get(
    "/devices/{uid:str}/traffic",
    operation_id="getDeviceTraffic",
    access="devices:read",
    tags=["devices"],
    sync_to_thread=True,
)
def get_traffic(
    deps: NamedDependency[Deps],
    uid: FromPath[str],
    since: When = 0.0,
    until: When = 0.0,
    buckets: Annotated[int, QueryParameter(description="How many equal buckets.", ge=1, le=1000)] = 120,
) -> PageOf[TrafficPoint]:
    """Give a device's traffic in equal buckets of time; the last 24 hours if no time is given."""
    deps.get(Device, uid)
    return _traffic(deps, uid, since, until, buckets)


@get("/traffic", operation_id="getTraffic", access="devices:read", tags=["devices"], sync_to_thread=True)
def get_all_traffic(
    deps: NamedDependency[Deps],
    since: When = 0.0,
    until: When = 0.0,
    buckets: Annotated[int, QueryParameter(description="How many equal buckets.", ge=1, le=1000)] = 120,
) -> PageOf[TrafficPoint]:
    """Give the traffic of all devices in equal buckets of time; the last 24 hours if no time is given."""
    return _traffic(deps, "", since, until, buckets)


def _traffic(deps: Deps, uid: str, since: float, until: float, buckets: int) -> PageOf[TrafficPoint]:
    until = until or deps.now()
    since = since or until - 86400.0
    if since >= until:
        return PageOf(items=())
    return PageOf(items=deps.backend.events.traffic(deps.tenant, uid, since=since, until=until, buckets=buckets))


HANDLERS = (
    list_sites,
    get_site,
    list_devices,
    get_device,
    edit_device,
    get_evidence,
    get_peers,
    get_traffic,
    get_all_traffic,
)
