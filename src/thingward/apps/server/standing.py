"""What is in force and until when; how long each source was blind; how a site stands."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from thingward.apps.server.backend import SourceHealth, State
from thingward.apps.server.deps import Deps
from thingward.model.action import Action, ActionState, Approval
from thingward.model.device import Device, Mode, Site
from thingward.model.event import Event
from thingward.model.finding import Case, CaseState, Finding
from thingward.model.observation import StatusData
from thingward.ports.event_store import EventQuery

DAY_S = 86400.0


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that holds now: a quarantine or an approved profile."""

    kind: Annotated[str, Meta(description="`quarantine` or `profile`.", examples=["quarantine"])]
    device: Annotated[str, Meta(description="Uid of the device.")]
    record: Annotated[str, Meta(description="Uid of the action or approval behind it.")]
    by: Annotated[str, Meta(description="Who asked for it: uid of a principal, or `rule:<uid>`.")]
    since: Annotated[float, Meta(description="Seconds since 1970.")]
    until: Annotated[float, Meta(description="Seconds since 1970; 0 means until a person withdraws it.")] = 0.0
    reason: str = ""
    entries: Annotated[int, Meta(description="Entries of the approved profile.")] = 0


class SiteStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A site in figures; unknown devices are counted apart, they are never clean.

    `blind_s` is that of the source that was blind longest in the last 24 hours.
    """

    name: str
    description: str = ""
    networks: tuple[str, ...] = ()
    devices: int = 0
    unknown: int = 0
    observed: int = 0
    enforced: int = 0
    quarantined: int = 0
    open_cases: int = 0
    worst_severity: int = 0
    last_seen: float = 0.0
    blind_s: float = 0.0


def in_force(deps: Deps) -> tuple[InForce, ...]:
    """List what is in force: quarantines first, the one that ends first at the top."""
    now = deps.now()
    actions = [row for row in deps.newest(Action, 1000, state="in_force") if not row.expires or row.expires > now]
    rows = [
        InForce(
            kind="quarantine",
            device=row.device,
            record=row.uid,
            by=row.requested_by,
            since=row.applied_at or row.time,
            until=row.expires,
            reason=row.reason,
        )
        for row in actions
        if row.kind == "quarantine"
    ]
    rows.sort(key=lambda row: row.until)
    profiles = [
        InForce(
            kind="profile",
            device=row.device,
            record=row.uid,
            by=row.by,
            since=row.time,
            reason=row.comment,
            entries=len(row.acls),
        )
        for row in deps.newest(Approval, 1000, state="in_force")
    ]
    return (*rows, *profiles)


def quarantine_of(deps: Deps, device: str) -> Action | None:
    """Give the quarantine that holds for a device now, None if there is none."""
    now = deps.now()
    rows = deps.newest(Action, 20, device=device, kind="quarantine")
    holds = (row for row in rows if row.state is ActionState.IN_FORCE and (not row.expires or row.expires > now))
    return next(holds, None)


def source_standing(deps: Deps, since: float) -> tuple[SourceHealth, ...]:
    """Read each source's life out of its status events since then, in seconds since 1970."""
    query = EventQuery(kind="status", since=since, limit=1000, newest_first=False)
    return fold_sources(deps.backend.events.query(deps.tenant, query).items, since)


def fold_sources(events: tuple[Event, ...], since: float) -> tuple[SourceHealth, ...]:
    """Fold status events, oldest first, into one row for each source."""
    rows: dict[str, SourceHealth] = {}
    for event in events:
        if not isinstance(event.data, StatusData):
            continue
        old = rows.get(event.source, SourceHealth(name=event.source, site=event.site))
        gap = min(event.data.gap_s, event.time - since) if event.data.status == "gap" else 0.0
        rows[event.source] = msgspec.structs.replace(
            old,
            state=_STATES.get(event.data.status, old.state),
            last_seen=max(old.last_seen, event.time),
            blind_s=old.blind_s + max(gap, 0.0),
            gaps=old.gaps + (gap > 0),
            dropped=old.dropped + sum(event.data.counts.values()) * (event.data.status == "drops"),
            # What was wrong once is not wrong for ever: a proof of life without a word takes it back.
            detail=event.data.detail if event.data.status in _STATES else event.data.detail or old.detail,
        )
    return tuple(sorted(rows.values(), key=lambda row: row.name))


_STATES: dict[str, State] = {"started": "running", "alive": "running", "gap": "running", "stopped": "stopped"}


def site_standing(deps: Deps) -> tuple[SiteStanding, ...]:
    """Give every site in figures."""
    sites = {row.name: row for row in deps.newest(Site, 1000)}
    names = sites.keys() or {deps.options.site}
    sources = source_standing(deps, deps.now() - DAY_S)
    return tuple(_stand(deps, name, sites.get(name), sources) for name in sorted(names))


def _stand(deps: Deps, name: str, site: Site | None, sources: tuple[SourceHealth, ...]) -> SiteStanding:
    devices = [row for row in all_devices(deps, name) if not row.group]
    cases = [row for row in deps.newest(Case, 1000, site=name) if row.state is not CaseState.CLOSED]
    return SiteStanding(
        name=name,
        description=site.description if site else "",
        networks=site.networks if site else (),
        devices=len(devices),
        unknown=sum(not row.identified for row in devices),
        observed=sum(row.mode is Mode.OBSERVE for row in devices),
        enforced=sum(row.mode is Mode.ENFORCE for row in devices),
        quarantined=sum(row.mode is Mode.QUARANTINE for row in devices),
        open_cases=len(cases),
        worst_severity=max((row.severity for row in cases), default=0),
        last_seen=max((row.last_seen for row in devices), default=0.0),
        blind_s=max((row.blind_s for row in sources if row.site in ("", name)), default=0.0),
    )


def all_devices(deps: Deps, site: str = "", *, limit: int = 20_000) -> list[Device]:
    """Give all devices of a site, or of all, up to a bound; records that became part of another are left out."""
    rows: list[Device] = []
    cursor = ""
    while len(rows) < limit:
        where = {"merged_into": ""} | ({"site": site} if site else {})
        page = deps.backend.control.page(deps.tenant, Device, where=where, cursor=cursor, limit=1000)
        rows += page.items
        cursor = page.cursor
        if not cursor:
            break
    return rows


def recent_findings(deps: Deps, limit: int = 500, **where: str) -> tuple[Finding, ...]:
    """Give the newest findings that match."""
    return deps.newest(Finding, limit, **where)
