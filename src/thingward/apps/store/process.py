"""Take batches, acknowledge them when they are durable, answer questions, write checkpoints when nobody waits."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from thingward.adapters.event_store.duckdb import SCHEMA_VERSION, WAL_LIMIT_BYTES, DuckdbEventStore
from thingward.adapters.event_store.link import question_handler
from thingward.adapters.link.unix import UnixLinkServer
from thingward.model.errors import InvalidInput, ThingwardError
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.packed import unpack
from thingward.ports.link import Frame
from thingward.runtime import channels
from thingward.runtime.capabilities import keep_capabilities
from thingward.runtime.compose import events_file, open_events
from thingward.runtime.config import Settings

#: A checkpoint is written when the log is this large and nothing came for a moment.
IDLE_WAL_BYTES: Final = 4 << 20
IDLE_S: Final = 5.0
WATCH_S: Final = 2.0

#: How often the size of the store is looked at, in seconds.
SHRINK_S: Final = 60.0
_batches = msgspec.msgpack.Decoder(list[Event | Finding])
_log = structlog.get_logger("store")


class StoreShell:
    """The handlers of the store's channels, and its housekeeping."""

    def __init__(self, store: DuckdbEventStore, path: Path, limit_bytes: int) -> None:
        self._store = store
        self._path = path
        self._limit_bytes = limit_bytes
        self._next_shrink = time.monotonic() + SHRINK_S
        self._last_append = 0.0
        self._counters = {
            "batches": 0.0,
            "events": 0.0,
            "repeats": 0.0,
            "checkpoints": 0.0,
            "refused": 0.0,
            "shrunk": 0.0,
        }

    async def take_events(self, peer: str, frame: Frame) -> None:
        """Acknowledge when durable; a batch may hold several tenants' events."""
        try:
            events = unpack(_batches, frame.body, "a batch of events")
        except InvalidInput:
            self._counters["refused"] += 1
            raise
        by_tenant: dict[str, list[Event | Finding]] = {}
        for event in events:
            by_tenant.setdefault(event.tenant, []).append(event)
        for tenant, group in by_tenant.items():
            new = await asyncio.to_thread(self._store.append, tenant, group)
            self._counters["events"] += new
            self._counters["repeats"] += len(group) - new
        self._counters["batches"] += 1
        self._last_append = time.monotonic()

    async def tell_status(self, peer: str, frame: Frame) -> Frame:
        """Tell sizes and counters."""
        size = self._path.stat().st_size if self._path.exists() else 0
        status = channels.StoreStatus(
            file_bytes=size,
            wal_bytes=self._store.wal_bytes,
            counters=dict(self._counters),
            schema_version=SCHEMA_VERSION,
        )
        return Frame(kind="answer", body=msgspec.msgpack.encode(status))

    async def watch(self) -> None:
        """Write a checkpoint while nothing comes, or before the log gets too long.

        Raises Unavailable when the engine has given up: the process then ends, and the supervisor starts it anew.
        """
        while True:
            await asyncio.sleep(WATCH_S)
            await asyncio.to_thread(self._store.verify_usable)
            size = self._store.wal_bytes
            is_idle = time.monotonic() - self._last_append > IDLE_S
            if size > WAL_LIMIT_BYTES or (is_idle and size > IDLE_WAL_BYTES):
                try:
                    await asyncio.to_thread(self._store.checkpoint)
                    self._counters["checkpoints"] += 1
                except ThingwardError as error:
                    _log.warning("no checkpoint", reason=str(error))
            if time.monotonic() >= self._next_shrink:
                self._next_shrink = time.monotonic() + SHRINK_S
                await self._shrink()

    async def _shrink(self) -> None:
        """Keep the store below its limit: rather the newest events than none at all on a full disk."""
        try:
            gone = await asyncio.to_thread(self._store.shrink, self._limit_bytes)
        except ThingwardError as error:
            _log.warning("cannot shrink", reason=str(error))
            return
        if gone:
            self._counters["shrunk"] += gone
            _log.warning("the event store reached its limit: the oldest events are deleted", events=gone)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the store until told to stop."""
    keep_capabilities(())
    store = open_events(settings)
    shell = StoreShell(store, events_file(settings), settings.store.events_limit_mb << 20)
    server = UnixLinkServer(channels.socket_of(settings, "store"), name="store")
    server.serve(channels.EVENTS, shell.take_events)
    server.serve(channels.QUERY, question_handler(store))
    server.serve(channels.STATUS, shell.tell_status)
    server.serve(channels.PING, _pong)
    await server.start()
    watching = asyncio.create_task(shell.watch())
    _log.info("started", wal_bytes=store.wal_bytes)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
    finally:
        for task in (watching, stopping):
            task.cancel()
        await asyncio.gather(watching, stopping, return_exceptions=True)
        await server.close()
        await asyncio.to_thread(store.close)


async def _pong(peer: str, frame: Frame) -> None:
    """Answer a ping with nothing."""
