"""The backend of a real platform: core and warden over their links, the store through its process, control read-only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import msgspec

from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.link.unix import UnixLinkClient
from thingward.apps.server.backend import Health, ProcessHealth
from thingward.model.codec import decode_batch
from thingward.model.errors import ThingwardError, Unavailable
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, Intent
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore
from thingward.ports.enforcer import EnforcerStatus
from thingward.runtime import channels
from thingward.runtime.compose import connect_events, open_control_reader
from thingward.runtime.config import Settings
from thingward.runtime.enforcement import warden_socket
from thingward.runtime.platform_status import read_platform_status

INTENT_S: Final = 20.0
STATUS_S: Final = 1.0
HEALTH_AGE_S: Final = 1.0
LIVE_QUEUE: Final = 256
WAIT_CONTROL_S: Final = 60.0

_core_status = msgspec.msgpack.Decoder(channels.CoreStatus)
_store_status = msgspec.msgpack.Decoder(channels.StoreStatus)


class PlatformBackend:
    """What the server stands on. Make it with `connect`."""

    def __init__(self, settings: Settings, control: ControlStore) -> None:
        self._settings = settings
        self.control = control
        self.events = connect_events(settings, "server")
        self._core = UnixLinkClient(channels.socket_of(settings, "core"), name="server")
        self._store = UnixLinkClient(channels.socket_of(settings, "store"), name="server")
        self._warden: UnixLinkClient | None = None
        if settings.enforce.path != "off":
            self._warden = UnixLinkClient(warden_socket(settings), name="server")
        self._live: set[asyncio.Queue[list[Record]]] = set()
        self._health: tuple[float, Health] | None = None
        self._asking = asyncio.Lock()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def start(self) -> None:
        """Begin to connect to core, store and warden."""
        self._core.subscribe(channels.LIVE, self._take_live)
        for link in (self._core, self._store, self._warden):
            if link is not None:
                await link.start()

    async def close(self) -> None:
        """Close everything."""
        for link in (self._core, self._store, self._warden):
            if link is not None:
                await link.close()
        self.events.close()
        self.control.close()

    async def ask(self, intent: Intent) -> Answer:
        """Hand an intent to core; raises Unavailable if core is away."""
        raw = await self._core.call(channels.INTENT, channels.encode_intent(intent), timeout_s=INTENT_S)
        return channels.decode_answer(raw)

    async def live(self) -> AsyncIterator[Record]:
        """Iterate records as they pass; a reader that is too slow misses batches rather than holding others up."""
        queue: asyncio.Queue[list[Record]] = asyncio.Queue(LIVE_QUEUE)
        self._live.add(queue)
        try:
            while True:
                for record in await queue.get():
                    yield record
        finally:
            self._live.discard(queue)

    async def health(self) -> Health:
        """Tell how the platform is, asked anew at most once a second."""
        async with self._asking:
            now = time.monotonic()
            if self._health is None or now - self._health[0] > HEALTH_AGE_S:
                self._health = (now, await self._ask_health())
            return self._health[1]

    async def _take_live(self, body: bytes) -> None:
        if not self._live:
            return
        records: list[Record] = list(decode_batch(body))
        for queue in self._live:
            with suppress(asyncio.QueueFull):
                queue.put_nowait(records)

    async def _ask_health(self) -> Health:
        core, store, enforcer = await asyncio.gather(self._ask_core(), self._ask_store(), self._ask_warden())
        platform = read_platform_status(self._settings.run_dir)
        processes = tuple(
            ProcessHealth(
                name=row.name,
                state=row.state,
                since=row.since,
                restarts=row.restarts,
                rss_bytes=row.rss_bytes,
                detail=row.detail,
            )
            for row in (platform.processes if platform else ())
        )
        problems = (
            list(core.problems) if core else ["core does not answer: nothing can be changed. It is started again."]
        )
        if store is None:
            problems.append("The event store does not answer: events wait on disk and cannot be shown.")
        elif store.counters.get("shrunk"):
            problems.append(
                f"The event store reached store.events_limit_mb: its {store.counters['shrunk']:.0f} oldest events were "
                "deleted since it started. Allow more, or lower store.retention_days."
            )
        problems += [f"{row.name} failed: {row.detail}" for row in processes if row.state == "failed"]
        return Health(
            core=core is not None,
            store=store is not None,
            started=platform.started if platform else (core.started if core else 0.0),
            processes=processes,
            enforcer=enforcer,
            store_bytes=store.file_bytes + store.wal_bytes if store else 0,
            counters=dict(core.counters) if core else {},
            packs=core.packs if core else (),
            problems=tuple(problems),
        )

    async def _ask_core(self) -> channels.CoreStatus | None:
        with suppress(ThingwardError, msgspec.DecodeError):
            return _core_status.decode(await self._core.call(channels.STATUS, b"", timeout_s=STATUS_S))
        return None

    async def _ask_store(self) -> channels.StoreStatus | None:
        with suppress(ThingwardError, msgspec.DecodeError):
            return _store_status.decode(await self._store.call(channels.STATUS, b"", timeout_s=STATUS_S))
        return None

    async def _ask_warden(self) -> EnforcerStatus | None:
        if self._warden is None:
            return None
        try:
            return await WardenEnforcer(self._warden, timeout_s=STATUS_S).status(DEFAULT_TENANT)
        except ThingwardError:
            return EnforcerStatus(name="nftables", available=False, detail="the warden does not answer")


async def connect(settings: Settings) -> PlatformBackend:
    """Connect to the platform, waiting for core to have made the control database; raises Unavailable if it never does."""
    deadline = time.monotonic() + WAIT_CONTROL_S
    while True:
        try:
            control = await asyncio.to_thread(open_control_reader, settings)
            break
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
    backend = PlatformBackend(settings, control)
    await backend.start()
    return backend
