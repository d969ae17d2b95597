"""The composition root: settings in, adapters and stages out. Everything is made here by hand, and only here.

Imports stand inside the functions: a process that needs no database does not import one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from thingward.model.action import Limits
from thingward.model.errors import InvalidInput
from thingward.model.ids import DEFAULT_TENANT, Tenant
from thingward.runtime.channels import socket_of
from thingward.runtime.config import NotifySettings, Settings
from thingward.runtime.flow import Road
from thingward.runtime.stages import RoadPlan, Stages, build_stages

if TYPE_CHECKING:
    from thingward.adapters.event_store.duckdb import DuckdbEventStore
    from thingward.detection.rules import Content
    from thingward.identity.enrolment import EnrolmentRules
    from thingward.ports.authority import Authority
    from thingward.ports.control_store import ControlStore
    from thingward.ports.event_store import EventStore
    from thingward.ports.journal import Journal
    from thingward.ports.notifier import Notifier
    from thingward.runtime.desk import Desk

SPOOL_LIMIT_BYTES = 512 << 20


def compose_guard(plan: RoadPlan) -> tuple[Road, Stages]:
    """Make the road of a run on files: the same stages, in memory, in this process."""
    stages = build_stages(plan)
    return Road(stages.guard(), source=plan.producer, tenant=Tenant(plan.tenant)), stages


def compose_core(settings: Settings, content: Content) -> tuple[Road, Stages]:
    """Make the road of a platform from its settings and what detection looks for."""
    stages = build_stages(road_plan(settings, content))
    return Road(stages.road(), source="core"), stages


def road_plan(settings: Settings, content: Content) -> RoadPlan:
    """Say what a platform's stages are told."""
    from thingward.adapters.maker.oui import maker_of

    return RoadPlan(
        tenant=DEFAULT_TENANT,
        site=settings.site.name,
        networks=settings.site.networks,
        maker_of=maker_of,
        limits=limits_of(settings),
        content=content,
        simulated=settings.site.simulated,
    )


def limits_of(settings: Settings) -> Limits:
    """Give the limits that hold until a person sets others."""
    return Limits(
        fleet_share_per_hour=settings.limits.fleet_share_per_hour,
        min_devices_per_hour=settings.limits.min_devices_per_hour,
        max_ttl_s=settings.limits.max_ttl_hours * 3600.0,
        never_block=settings.enforce.never_block,
    )


def open_journal(settings: Settings) -> Journal:
    """Open core's journal; raises Unavailable if another core holds it."""
    from thingward.adapters.journal.file import FileJournal

    return FileJournal(settings.home / "journal", max_bytes=settings.store.journal_limit_mb << 20)


def control_url(settings: Settings) -> str:
    """Give the URL of the control database."""
    return settings.store.control_url or f"sqlite:///{settings.home / 'control.db'}"


def open_control(settings: Settings) -> ControlStore:
    """Open the control store for writing, which only core does."""
    from thingward.adapters.control_store.sql import open_store

    return open_store(control_url(settings))


def open_control_reader(settings: Settings) -> ControlStore:
    """Open the control store for reading; raises Unavailable until core has made it."""
    from thingward.adapters.control_store.sql import open_reader

    return open_reader(control_url(settings))


def open_events(settings: Settings) -> DuckdbEventStore:
    """Open the event store itself, which only the store process does."""
    from thingward.adapters.event_store.duckdb import DuckdbEventStore

    if settings.store.events_url:
        raise InvalidInput(f"store.events_url: {settings.store.events_url!r} names no engine that is known here.")
    return DuckdbEventStore(events_file(settings), memory_mb=settings.store.events_memory_mb)


def events_file(settings: Settings) -> Path:
    """Where the event store's file is."""
    return settings.home / "events" / "events.duckdb"


def connect_events(settings: Settings, name: str) -> EventStore:
    """Reach the event store through its process; connects with the first question."""
    from thingward.adapters.event_store.link import LinkEventStore
    from thingward.adapters.link.blocking import BlockingLink

    return LinkEventStore(BlockingLink(socket_of(settings, "store"), name=name))


def build_desk(settings: Settings, stages: Stages) -> Desk:
    """Make the desk that decides intents."""
    from thingward import __version__
    from thingward.adapters.signer.ed25519_file import Ed25519FileSigner
    from thingward.assurance.service import EvidenceService
    from thingward.runtime.desk import Desk
    from thingward.runtime.desk_enrolment import enrolment_handlers
    from thingward.runtime.desk_identity import identity_handlers
    from thingward.runtime.desk_packs import pack_handlers
    from thingward.runtime.desk_records import record_handlers
    from thingward.runtime.desk_response import response_handlers

    evidence = EvidenceService(Ed25519FileSigner(settings.home / "evidence.key"), version=__version__)
    handlers = {
        **identity_handlers(),
        **enrolment_handlers(enrolment_rules(settings)),
        **response_handlers(stages.response.situation),
        **pack_handlers(settings.home),
        **record_handlers(evidence, settings.home / "bundles", demo=settings.site.simulated),
    }
    return Desk(handlers, session_ttl_s=settings.server.session_hours * 3600.0)


def enrolment_rules(settings: Settings) -> EnrolmentRules:
    """Say how long certificates last, and for how long they bring a device back."""
    from thingward.identity.enrolment import DAY_S, EnrolmentRules

    given = settings.registrar
    return EnrolmentRules(lifetime_s=given.certificate_days * DAY_S, grace_s=given.grace_days * DAY_S)


def open_authority(settings: Settings, now: float) -> Authority:
    """Open the CA, which only the registrar does; it is made at its first start."""
    from thingward.adapters.authority.file import FileAuthority

    passphrase = _read_secret(settings.registrar.passphrase_file, "registrar.passphrase_file")
    return FileAuthority(
        settings.home / "registrar" / "ca", site=settings.site.name, passphrase=passphrase.encode(), now=now
    )


def build_notifiers(settings: NotifySettings) -> list[Notifier]:
    """Make the ways out that are set up; raises InvalidInput for one that cannot work."""
    ways: list[Notifier] = []
    if settings.webhook.url:
        from thingward.adapters.notifier.webhook import WebhookNotifier

        secret = _read_secret(settings.webhook.secret_file, "notify.webhook.secret_file")
        ways.append(WebhookNotifier(settings.webhook.url, secret.encode(), time.time))
    if settings.email.host:
        ways.append(_build_email(settings))
    if settings.syslog.address:
        from thingward.adapters.notifier.syslog import SyslogNotifier

        ways.append(SyslogNotifier(settings.syslog.address, time.time, tls_ca=settings.syslog.tls_ca))
    if settings.ocsf_file:
        from thingward.adapters.notifier.ocsf_file import OcsfFileNotifier
        from thingward.wire.ocsf_json import to_ocsf

        ways.append(OcsfFileNotifier(Path(settings.ocsf_file), to_ocsf))
    return ways


def _build_email(settings: NotifySettings) -> Notifier:
    from thingward.adapters.notifier.email import EmailNotifier

    email = settings.email
    password = _read_secret(email.password_file, "notify.email.password_file") if email.user else ""
    return EmailNotifier(
        email.host,
        email.port,
        sender=email.sender,
        to=email.to,
        security=email.security,
        user=email.user,
        password=password,
        console=settings.console_url,
    )


def _read_secret(path: str, setting: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise InvalidInput(f"{setting}: cannot read {path}: {error.strerror}.") from error
