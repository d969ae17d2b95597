"""The server's backend on a real platform: links to core, store and warden, the control database for reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.link.unix import UnixLinkClient
from thingward.apps.server.backend import Health, ProcessHealth
from thingward.model.codec import AnyRecord, decode_batch
from thingward.model.errors import ThingwardError, Unavailable
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, Intent
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore, Delete, Page, Put, R
from thingward.ports.enforcer import EnforcerStatus
from thingward.ports.event_store import EventStore
from thingward.runtime import channels
from thingward.runtime.compose import connect_events, open_control_reader
from thingward.runtime.config import Settings
from thingward.runtime.platform_status import read_platform_status
from thingward.runtime.supervise import ChildStatus

T = TypeVar("T")

ASK_S: Final = 60.0
STATUS_S: Final = 1.5
#: How long an answer about health is good for, in seconds.
HEALTH_S: Final = 1.0
LIVE_BATCHES: Final = 200

_core_status = msgspec.msgpack.Decoder(channels.CoreStatus)
_store_status = msgspec.msgpack.Decoder(channels.StoreStatus)


class LateControl:
    """The control database, opened for reading with the first question: core may not have made it yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: ControlStore | None = None

    def _open(self) -> ControlStore:
        if self._store is None:
            self._store = open_control_reader(self._settings)
        return self._store

    def get(self, tenant: str, kind: type[R], uid: str) -> R | None:
        """Give one record, None if there is none."""
        return self._open().get(tenant, kind, uid)

    def page(
        self,
        tenant: str,
        kind: type[R],
        *,
        where: Mapping[str, str] | None = None,
        search: str = "",
        cursor: str = "",
        limit: int = 100,
        newest_first: bool = True,
    ) -> Page[R]:
        """List records; see the port."""
        return self._open().page(
            tenant, kind, where=where, search=search, cursor=cursor, limit=limit, newest_first=newest_first
        )

    def count(self, tenant: str, kind: type[Record], *, where: Mapping[str, str] | None = None) -> int:
        """Count records."""
        return self._open().count(tenant, kind, where=where)

    def commit(self, tenant: str, changes: Sequence[Put | Delete]) -> None:
        """Refuse: the server writes nothing."""
        raise Unavailable("the server only reads the control store.")

    def tenants(self) -> tuple[str, ...]:
        """Names of all tenants that have data."""
        return self._open().tenants()

    def close(self) -> None:
        """Release the engine; idempotent."""
        if self._store is not None:
            self._store.close()
            self._store = None


class PlatformBackend:
    """Everything that the server knows of the platform comes through here."""

    def __init__(self, settings: Settings) -> None:
        self.control: ControlStore = LateControl(settings)
        self.events: EventStore = connect_events(settings, "server")
        self._settings = settings
        self._core = UnixLinkClient(channels.socket_of(settings, "core"), name="server")
        self._store = UnixLinkClient(channels.socket_of(settings, "store"), name="server")
        self._warden: UnixLinkClient | None = None
        if settings.enforce.path != "off":
            self._warden = UnixLinkClient(channels.socket_of(settings, "warden"), name="server")
        self._live: asyncio.Queue[list[AnyRecord]] = asyncio.Queue(LIVE_BATCHES)
        self._health: tuple[float, Health] | None = None
        self._asking = asyncio.Lock()

    async def start(self) -> None:
        """Begin to connect; the others may be away."""
        self._core.subscribe(channels.LIVE, self._take_live)
        for link in self._links():
            await link.start()

    async def close(self) -> None:
        """Close all links."""
        for link in self._links():
            await link.close()
        self.events.close()
        self.control.close()

    def _links(self) -> list[UnixLinkClient]:
        return [link for link in (self._core, self._store, self._warden) if link is not None]

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def ask(self, intent: Intent) -> Answer:
        """Hand an intent to core; raises Unavailable if core is away."""
        body = await self._core.call(channels.INTENT, channels.encode_intent(intent), timeout_s=ASK_S)
        return channels.decode_answer(body)

    async def _take_live(self, body: bytes) -> None:
        if self._live.full():
            self._live.get_nowait()
        self._live.put_nowait(decode_batch(body))

    async def live(self) -> AsyncIterator[Record]:
        """Iterate records as they pass; the link reconnects by itself."""
        while True:
            for record in await self._live.get():
                yield record

    async def health(self) -> Health:
        """Ask everybody how they are, at most once a second; never raises."""
        async with self._asking:
            now = time.monotonic()
            if self._health is None or now - self._health[0] > HEALTH_S:
                self._health = (now, await self._ask_health())
            return self._health[1]

    async def _ask_health(self) -> Health:
        core, store, enforcer, database = await asyncio.gather(
            self._quietly(self._core_status()),
            self._quietly(self._store_status()),
            self._quietly(self._enforcer_status()),
            self._quietly(asyncio.to_thread(self.control.tenants)),
        )
        platform = await asyncio.to_thread(read_platform_status, self._settings.run_dir)
        problems = list(core.problems) if core else ["Core does not answer: nothing can be changed. Look at its log."]
        if store is None:
            problems.append("The event store does not answer: events and plots are missing. Look at its log.")
        if database is None:
            problems.append("The control database cannot be read. Core makes it when it starts.")
        return Health(
            core=core is not None and database is not None,
            store=store is not None,
            started=platform.started if platform else (core.started if core else 0.0),
            processes=tuple(_process(row) for row in platform.processes) if platform else (),
            enforcer=enforcer,
            store_bytes=store.file_bytes + store.wal_bytes if store else 0,
            counters=_counters(core, store),
            problems=tuple(problems),
        )

    async def _core_status(self) -> channels.CoreStatus:
        return _core_status.decode(await self._core.call(channels.STATUS, b"", timeout_s=STATUS_S))

    async def _store_status(self) -> channels.StoreStatus:
        return _store_status.decode(await self._store.call(channels.STATUS, b"", timeout_s=STATUS_S))

    async def _enforcer_status(self) -> EnforcerStatus | None:
        if self._warden is None:
            return None
        async with asyncio.timeout(STATUS_S):
            return await WardenEnforcer(self._warden).status(DEFAULT_TENANT)

    async def _quietly(self, asked: Awaitable[T]) -> T | None:
        try:
            return await asked
        except (ThingwardError, TimeoutError, msgspec.MsgspecError):
            return None


def _process(row: ChildStatus) -> ProcessHealth:
    return ProcessHealth(
        name=row.name,
        state=row.state,
        since=row.since,
        restarts=row.restarts,
        rss_bytes=row.rss_bytes,
        detail=row.detail,
    )


def _counters(core: channels.CoreStatus | None, store: channels.StoreStatus | None) -> dict[str, float]:
    rows: dict[str, float] = dict(core.counters) if core else {}
    for name, stage in (core.stages if core else {}).items():
        for field in ("records_in", "records_out", "errors", "seconds"):
            rows[f"stage_{name}_{field}"] = float(getattr(stage, field))
    for name, value in (store.counters if store else {}).items():
        rows[f"store_{name}"] = value
    return rows
