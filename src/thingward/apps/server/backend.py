"""What the server stands on: two stores to read, one way to ask core, one stream of what passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from thingward.model.action import Limits
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, Intent
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore
from thingward.ports.enforcer import EnforcerStatus
from thingward.ports.event_store import EventStore
from thingward.runtime.pack_info import PackInfo

State = Literal["running", "starting", "stopped", "failed", "unknown"]


class ProcessHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the platform; `since` in seconds since 1970, 0 if not known."""

    name: str
    state: State = "unknown"
    since: float = 0.0
    restarts: int = 0
    rss_bytes: int = 0
    detail: str = ""


class SourceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One source of observations and how long nothing was seen through it.

    Attributes:
        last_seen: last proof of life, seconds since 1970.
        blind_s: how long it was blind within the window that was asked for, in seconds.
        gaps: how many gaps that is. dropped: observations that bounds threw away.
    """

    name: str
    site: str = ""
    state: State = "unknown"
    last_seen: float = 0.0
    blind_s: float = 0.0
    gaps: int = 0
    dropped: int = 0
    detail: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """State of the platform as the server knows it.

    Attributes:
        core, store: they answered.
        started: when the platform started, seconds since 1970.
        enforcer: what the warden holds; None if there is none.
        counters: counters of core for /metrics, name to value.
        packs: indicator packs in use.
        problems: what is wrong now, one plain line each, with what to do.
    """

    core: bool
    store: bool
    started: float = 0.0
    processes: tuple[ProcessHealth, ...] = ()
    sources: tuple[SourceHealth, ...] = ()
    enforcer: EnforcerStatus | None = None
    store_bytes: int = 0
    counters: dict[str, float] = {}
    packs: tuple[PackInfo, ...] = ()
    problems: tuple[str, ...] = ()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is told when it starts.

    Attributes:
        data_dir: the platform's folder; captures and bundles lie in it.
        demo: the site is simulated and the attack button exists.
        demo_note: how the demo is run, one line for the banner.
        secure: served over TLS: cookies are marked so.
        certificate_note: what to tell people about the certificate, empty if it was given.
        metrics_open: /metrics needs no token (loopback only).
        interfaces: what the sensors watch.
        networks: the site's ranges in CIDR form, beside private ones.
        file_settings: settings as read at start, for display: (name, value, description).
        guard_command: how a dropped capture is judged, `{capture}` and `{output}` filled in; empty is off.
    """

    data_dir: Path
    version: str = "0"
    tenant: str = DEFAULT_TENANT
    site: str = "home"
    demo: bool = False
    demo_note: str = ""
    secure: bool = False
    certificate_note: str = ""
    metrics_open: bool = True
    interfaces: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    limits: Limits = Limits()
    file_settings: tuple[tuple[str, str, str], ...] = ()
    guard_command: tuple[str, ...] = ()
    upload_limit_bytes: int = 512 * 2**20
    capture_time_limit_s: int = 600
    capture_memory_bytes: int = 4096 * 2**20


class Backend(Protocol):
    """The rest of the platform, as the server sees it."""

    control: ControlStore
    events: EventStore

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    async def ask(self, intent: Intent) -> Answer:
        """Hand an intent to core; raises Unavailable if core is away."""
        ...

    def live(self) -> AsyncIterator[Record]:
        """Iterate records as they pass; ends or raises Unavailable when the other side goes away."""
        ...

    async def health(self) -> Health:
        """Tell how the platform is; never raises."""
        ...
