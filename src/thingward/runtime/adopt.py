"""Stages take over what the control store holds, where their own state is lost or was never there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, TypeVar

from thingward.model.action import Action, Approval, ResponseRule
from thingward.model.device import Correction, Device
from thingward.model.finding import Case, Suppression
from thingward.model.principal import LedgerEntry, SettingValue
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore
from thingward.runtime.stages import Stages

R = TypeVar("R", bound=Record)
PAGE: Final = 500


def adopt_control(stages: Stages, control: ControlStore, empty: Collection[str]) -> None:
    """Bring stages without a state up to what is known; the ledger always continues behind its last link."""
    for tenant in control.tenants():
        stages.ledger.adopt(_newer_links(stages, control, tenant))
        if stages.inventory.name in empty:
            records = [*_every(control, tenant, Device), *_every(control, tenant, Correction)]
            stages.inventory.feed(records, max((record.time for record in records), default=0.0))
        if stages.judge.name in empty:
            held = [*_every(control, tenant, Device), *_every(control, tenant, Approval)]
            stages.judge.feed(held, max((record.time for record in held), default=0.0))
        if stages.triage.name in empty:
            said = list(_every(control, tenant, Suppression))
            stages.triage.feed(said, max((record.time for record in said), default=0.0))
        if stages.response.name in empty:
            for kind in (Device, ResponseRule, Approval, SettingValue, Case, Action):
                stages.response.adopt(list(_every(control, tenant, kind)))


def _newer_links(stages: Stages, control: ControlStore, tenant: str) -> list[LedgerEntry]:
    """Give links behind the ledger's tip, oldest first."""
    tip, _ = stages.ledger.tip(tenant)
    links: dict[int, LedgerEntry] = {}
    cursor = ""
    while True:
        page = control.page(tenant, LedgerEntry, cursor=cursor, limit=PAGE)
        links |= {link.sequence: link for link in page.items if link.sequence > tip}
        cursor = page.cursor
        if not cursor or all(link.sequence <= tip for link in page.items):
            return [links[sequence] for sequence in sorted(links)]


def _every(control: ControlStore, tenant: str, kind: type[R]) -> Iterator[R]:
    cursor = ""
    while True:
        page = control.page(tenant, kind, cursor=cursor, limit=PAGE, newest_first=False)
        yield from page.items
        cursor = page.cursor
        if not cursor:
            return
