"""The first page: three doors while nothing is known, then how the site is; status; docs."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from thingward.apps.server.api.system import status_of
from thingward.apps.server.console.docs import find_page, list_pages, render_markdown
from thingward.apps.server.console.reference import describe_api
from thingward.apps.server.console.screen import Screen
from thingward.apps.server.console.words import device_name, minutes
from thingward.apps.server.deps import Deps
from thingward.apps.server.profiles import QueueItem, approval_queue
from thingward.apps.server.standing import (
    DAY_S,
    SiteStanding,
    all_devices,
    in_force,
    recent_findings,
    site_standing,
    source_standing,
)
from thingward.model.device import Device
from thingward.model.errors import NotFound, ThingwardError
from thingward.model.finding import Case, CaseState

NEW_S = DAY_S


class NextStep(msgspec.Struct, frozen=True):
    """Something that waits for a person: what, why, where to go."""

    icon: str
    title: str
    text: str
    href: str
    tone: str = "info"


@get("/", access="devices:read", sync_to_thread=True)
def home(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[Any]:
    """Show the doors, or how the site is."""
    devices = [row for row in all_devices(deps) if not row.group]
    if not devices:
        return doors(request, screen, is_first=True)
    sites = site_standing(deps)
    queue = approval_queue(deps)
    cases = [row for row in deps.newest(Case, 200) if row.state is not CaseState.CLOSED]
    cases.sort(key=lambda row: (-row.severity, -row.updated))
    sources = source_standing(deps, deps.now() - DAY_S)
    recent = sorted(devices, key=lambda row: -row.first_seen)
    return screen.page(
        request,
        "overview.html",
        sites=sites,
        total=_sum(sites),
        cases=cases[:6],
        more_cases=max(0, len(cases) - 6),
        steps=next_steps(sites, queue, cases, devices),
        new_devices=[row for row in recent if deps.now() - row.first_seen < NEW_S][:6],
        alerts=[row for row in recent_findings(deps, 200, is_alert="true") if deps.now() - row.time < DAY_S],
        holding=[row for row in in_force(deps) if row.kind == "quarantine"],
        names={row.uid: device_name(row) for row in devices},
        sources=sources,
    )


@get("/doors", access="devices:read", sync_to_thread=True)
def show_doors(request: Request[Any, Any, Any], screen: NamedDependency[Screen]) -> Response[str]:
    """Show the three doors: drop a capture, watch an interface, enrol a device."""
    return doors(request, screen, is_first=False)


def doors(request: Request[Any, Any, Any], screen: Screen, *, is_first: bool) -> Response[str]:
    """Render the doors; `is_first` while nothing is known yet."""
    deps = screen.deps
    return screen.page(
        request,
        "doors.html",
        is_first=is_first,
        interfaces=network_interfaces(),
        captures=deps.captures.list()[:5],
        captures_on=deps.captures.available,
        limit_bytes=deps.options.upload_limit_bytes,
    )


def network_interfaces() -> list[str]:
    """List this machine's interfaces, less loopback and virtual ones; the likely ones first."""
    try:
        names = [name for _, name in socket.if_nameindex()]
    except OSError:
        return []
    real = [name for name in names if name != "lo" and not name.startswith(_VIRTUAL)]
    return sorted(real, key=lambda name: (not name.startswith(("br", "eth", "en", "lan")), name))


_VIRTUAL = ("ifb", "veth", "dummy", "docker", "virbr", "tun", "tap")


def _sum(sites: tuple[SiteStanding, ...]) -> SiteStanding:
    return SiteStanding(
        name="all",
        devices=sum(row.devices for row in sites),
        unknown=sum(row.unknown for row in sites),
        observed=sum(row.observed for row in sites),
        enforced=sum(row.enforced for row in sites),
        quarantined=sum(row.quarantined for row in sites),
        open_cases=sum(row.open_cases for row in sites),
        worst_severity=max((row.worst_severity for row in sites), default=0),
        blind_s=max((row.blind_s for row in sites), default=0.0),
    )


def next_steps(
    sites: tuple[SiteStanding, ...], queue: tuple[QueueItem, ...], cases: list[Case], devices: list[Device]
) -> list[NextStep]:
    """List what waits for a person, most pressing first."""
    steps = []
    pressing = [row for row in cases if row.severity >= 4 and row.state is CaseState.OPEN]
    if pressing:
        title = "1 serious case is open" if len(pressing) == 1 else f"{len(pressing)} serious cases are open"
        steps.append(NextStep("alert", title, pressing[0].title, "/cases?state=open", "bad"))
    settled = [item for item in queue if item.profile.settled.is_settled]
    if settled:
        title = "1 profile has settled" if len(settled) == 1 else f"{len(settled)} profiles have settled"
        text = "See what approving would refuse, then decide."
        steps.append(NextStep("check", title, text, "/approvals", "good"))
    unknown = [row for row in devices if not row.identified]
    if unknown:
        title = "1 device is unknown" if len(unknown) == 1 else f"{len(unknown)} devices are unknown"
        text = "Nobody can say what they are. Unknown is not clean: look at the evidence and name them."
        steps.append(NextStep("unknown", title, text, "/devices?known=no", "unknown"))
    blind = max((row.blind_s for row in sites), default=0.0)
    if blind > 0:
        text = "For that long of the last 24 hours a source saw nothing."
        steps.append(NextStep("eye-off", f"Blind for {minutes(blind)}", text, "/status", "warn"))
    return steps


@get("/status", access="status:read")
async def status(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[str]:
    """Show processes, sources with their blind time, store, enforcer."""
    held = await asyncio.to_thread(in_force, deps)
    return screen.page(
        request,
        "status.html",
        status=await status_of(deps),
        connected=deps.broadcaster.connected,
        shut_out=len({row.device for row in held if row.kind == "quarantine"}),
    )


@get("/docs", access="status:read", sync_to_thread=True)
def docs_index(request: Request[Any, Any, Any], screen: NamedDependency[Screen]) -> Response[str]:
    """List the documentation."""
    return screen.page(request, "docs.html", pages=list_pages(), title="Documentation", body="", name="")


@get("/docs/api", access="status:read", sync_to_thread=True)
def docs_api(request: Request[Any, Any, Any], screen: NamedDependency[Screen]) -> Response[str]:
    """Show the API's reference, made from its OpenAPI document."""
    return screen.page(request, "api_reference.html", groups=describe_api(request.app), pages=list_pages())


@get("/docs/{name:path}", access="status:read", sync_to_thread=True)
def docs_page(request: Request[Any, Any, Any], screen: NamedDependency[Screen], name: FromPath[str]) -> Response[Any]:
    """Show one page of the documentation."""
    wanted = name.strip("/")
    if wanted.endswith(".md"):
        return Redirect(f"/docs/{wanted.removesuffix('.md')}", status_code=303)
    page = find_page(wanted)
    if page is None:
        raise NotFound(f"there is no page {wanted!r}.", hint="See /docs.")
    try:
        body = render_markdown(page.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ThingwardError(f"the page cannot be read: {error}") from error
    return screen.page(request, "docs.html", pages=list_pages(), title=body.title, body=body.html, name=wanted)


HANDLERS = (home, show_doors, status, docs_index, docs_api, docs_page)
