"""Devices: the list, and one device with everything that is known of it."""

from __future__ import annotations

import ipaddress
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from thingward.apps.server.console.coverage import Coverage
from thingward.apps.server.console.form_step import Step, form_post
from thingward.apps.server.console.graph import draw_curve, draw_graph
from thingward.apps.server.console.screen import Screen
from thingward.apps.server.console.words import device_name
from thingward.apps.server.deps import Deps
from thingward.apps.server.profiles import (
    QueueItem,
    approval_in_force,
    approval_queue,
    compare,
    newest_preview,
    newest_profile,
    serving_at,
)
from thingward.apps.server.standing import DAY_S, all_devices, quarantine_of
from thingward.model.action import Action, Approval
from thingward.model.device import Device, Mode
from thingward.model.errors import ThingwardError
from thingward.model.finding import Case, CaseState, Finding
from thingward.model.intent import EditDevice
from thingward.model.terms import address_kind
from thingward.ports.event_store import PeerRow

LIST_LIMIT = 500
PEERS_S = 7 * DAY_S


@get("/devices", access="devices:read", sync_to_thread=True)
def device_list(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    q: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    maker: FromQuery[str] = "",
    mode: FromQuery[str] = "",
    device_class: FromQuery[str] = "",
    known: FromQuery[str] = "",
    site: FromQuery[str] = "",
    sort: FromQuery[str] = "",
) -> Response[str]:
    """List devices with search and filters."""
    everything = [row for row in all_devices(deps) if not row.group]
    wanted = {"kind": kind, "maker": maker, "mode": mode, "device_class": device_class, "known": known, "site": site}
    rows = [row for row in everything if _fits(row, wanted) and _contains(row, q)]
    rows.sort(key=_SORTS.get(sort, _SORTS["need"]))
    open_cases = {case.device: case for case in deps.newest(Case, 1000) if case.state is not CaseState.CLOSED}
    waiting = {item.device.uid: item for item in approval_queue(deps)}
    if sort not in _SORTS or sort == "need":
        rows.sort(key=lambda row: -_need(row, open_cases.get(row.uid), waiting.get(row.uid)))
    return screen.page(
        request,
        "devices.html",
        devices=rows[:LIST_LIMIT],
        found=len(rows),
        total=len(everything),
        unknown=sum(not row.identified for row in everything),
        kinds=sorted({row.kind for row in everything if row.kind}),
        makers=sorted({row.maker for row in everything if row.maker}),
        sites=sorted({row.site for row in everything}),
        q=q,
        wanted=wanted,
        sort=sort if sort in _SORTS else "need",
        cases=open_cases,
        waiting=waiting,
    )


_SORTS: dict[str, Any] = {
    "need": lambda row: device_name(row).lower(),
    "seen": lambda row: -row.last_seen,
    "new": lambda row: -row.first_seen,
    "name": lambda row: device_name(row).lower(),
    "kind": lambda row: (row.kind or "~", device_name(row).lower()),
}


def _need(row: Device, case: Case | None, item: QueueItem | None) -> int:
    """How much a device wants a person: an open case most, then quarantine, unknown, a profile to approve."""
    settled = item is not None and item.profile.settled.is_settled
    return (
        (10 * case.severity if case else 0) + 8 * (row.mode is Mode.QUARANTINE) + 4 * (not row.identified) + 2 * settled
    )


def _fits(row: Device, wanted: dict[str, str]) -> bool:
    known = {"yes": row.identified, "no": not row.identified}.get(wanted["known"], True)
    return known and all(
        not value or name == "known" or str(getattr(row, name)) == value for name, value in wanted.items()
    )


def _contains(row: Device, q: str) -> bool:
    text = " ".join(
        (row.uid, row.label, *row.names, *row.macs, *row.addresses, row.maker, row.model, row.kind, row.role)
    )
    return all(word in text.lower() for word in q.lower().split())


@get("/devices/{uid:str}", access="devices:read", sync_to_thread=True)
def device_page(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    uid: FromPath[str],
) -> Response[str]:
    """Show one device."""
    device = deps.get(Device, uid)
    profile, approval = newest_profile(deps, uid), approval_in_force(deps, uid)
    diff = compare(profile, approval) if profile else None
    peers, peers_fault = _peers(deps, uid)
    names = screen.names({row.peer for row in peers if row.is_device} | _named(profile, approval))
    graph = draw_graph(
        peers,
        names=names,
        approved=Coverage(approval.acls, serving=serving_at(all_devices(deps, device.site))) if approval else None,
        is_local={row.peer: is_on_site(row.peer, deps.options.networks) for row in peers},
    )
    cases = deps.newest(Case, 20, device=uid)
    return screen.page(
        request,
        "device.html",
        device=device,
        profile=profile,
        approval=approval,
        diff=diff,
        curve=draw_curve(profile.settled.curve) if profile else "",
        preview=newest_preview(deps, uid),
        peers=peers,
        peers_fault=peers_fault,
        graph=graph,
        names=names,
        quarantine=quarantine_of(deps, uid),
        findings=deps.newest(Finding, 30, device=uid),
        cases=cases,
        open_case=next((row for row in cases if row.state is not CaseState.CLOSED), None),
        history=history(deps, uid),
        people=screen.people(),
    )


def _peers(deps: Deps, uid: str) -> tuple[tuple[PeerRow, ...], str]:
    try:
        return deps.backend.events.peers(deps.tenant, uid, since=deps.now() - PEERS_S, limit=200), ""
    except ThingwardError as error:
        return (), str(error)


def _named(profile: Any, approval: Any) -> set[str]:
    acls = [*(profile.acls if profile else ()), *(approval.acls if approval else ())]
    return {acl.value for acl in acls if acl.peer == "device"}


def is_on_site(peer: str, networks: tuple[str, ...]) -> bool:
    """Tell whether a peer that is no known device belongs to the site, by its address or name.

    Args:
        networks: the site's ranges in CIDR form, beside private ones.
    """
    kind = address_kind(peer)
    if kind == "none":
        return peer.count(":") == 5 or peer.endswith(".local") or "." not in peer
    if kind != "public":
        return True
    address = ipaddress.ip_address(peer)
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def history(deps: Deps, uid: str) -> list[tuple[float, str, Any]]:
    """Give actions and approvals of a device, newest first: (time, `action` or `approval`, record)."""
    rows: list[tuple[float, str, Any]] = [(row.time, "action", row) for row in deps.newest(Action, 30, device=uid)]
    rows += [(row.time, "approval", row) for row in deps.newest(Approval, 30, device=uid)]
    return sorted(rows, key=lambda row: -row[0])[:30]


@get("/devices/{uid:str}/edit", access=EditDevice, sync_to_thread=True)
def edit_form(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps], uid: FromPath[str]
) -> Response[str]:
    """Show the form for a correction."""
    kinds = sorted({row.kind for row in all_devices(deps) if row.kind} | set(KINDS))
    return screen.page(request, "dialog_edit.html", device=deps.get(Device, uid), kinds=kinds)


KINDS = (
    "access point", "appliance", "bulb", "camera", "computer", "doorbell", "gateway", "hub", "lock", "phone", "plug",
    "printer", "sensor", "speaker", "storage", "tablet", "thermostat", "tv", "vacuum",
)  # fmt: skip


@form_post("/devices/{uid:str}/edit", access=EditDevice, operation="editDevice")
async def edit(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Correct what is said of a device."""
    device = step.deps.get(Device, uid)
    given = {name: step.form.text(name, 100) for name in ("label", "kind", "maker", "model")}
    changed = {name: value for name, value in given.items() if value != getattr(device, name)}
    body = EditDevice(
        device=uid,
        label=changed.get("label"),
        kind=changed.get("kind"),
        maker=changed.get("maker"),
        model=changed.get("model"),
    )
    return await step.perform(body, to=f"/devices/{uid}", said="Corrected. Your word outranks all evidence.")


HANDLERS = (device_list, device_page, edit_form, edit)
