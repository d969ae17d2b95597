"""The process: reads packets in a thread, and hands what they say to core."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from thingward.adapters.link.spool import file_spool
from thingward.adapters.link.unix import UnixLinkClient
from thingward.adapters.packets.afpacket import AfPacketSource, RingLimits
from thingward.apps.sensor.post import Post
from thingward.model.columns import PacketBatch
from thingward.model.errors import InvalidInput, Unavailable
from thingward.model.record import Record
from thingward.ports.packet_source import PacketSource
from thingward.runtime.capabilities import NET_RAW, keep_capabilities
from thingward.runtime.channels import socket_of
from thingward.runtime.config import Settings
from thingward.sensing.sensor import Sensor, SensorLimits
from thingward.wire.capture_read import CaptureReader
from thingward.wire.packets.scan import scan_ring

READ_S: Final = 0.1
#: The kernel hands over what it has after this time: it is what an attack's packets wait here at most.
RETIRE_MS: Final = 20
TICK_S: Final = 0.25
LOSSES_S: Final = 5.0
REOPEN_S: Final = (0.5, 10.0)
#: A replay is cut into pieces of this much of its own time, in seconds; at once: into batches as they are read.
STEP_S: Final = 0.1
#: A replay at once waits while this much is spooled.
SPOOL_FULL: Final = 16 << 20

_log = structlog.get_logger("sensor")


class Pump:
    """Reads and understands, in a thread of its own; knows nothing of the link."""

    def __init__(self, source: PacketSource, sensor: Sensor) -> None:
        self.packets = 0
        self.dropped = 0
        self._source = source
        self._sensor = sensor
        self._next_tick = 0.0
        self._next_losses = 0.0

    def step(self) -> list[Record]:
        """Take the next packets, or let time pass; raises Unavailable if the source went away."""
        batch = self._source.read(READ_S)
        now, monotonic = time.time(), time.monotonic()
        records: list[Record] = []
        if batch is not None:
            self.packets += len(batch)
            records += self._sensor.feed(batch, now).records
        if monotonic >= self._next_tick:
            self._next_tick = monotonic + TICK_S
            records += self._sensor.tick(now).records
        if monotonic >= self._next_losses:
            self._next_losses = monotonic + LOSSES_S
            self._count_losses()
        return records

    def _count_losses(self) -> None:
        dropped = self._source.losses().dropped
        self.dropped += dropped
        self._sensor.count_dropped("kernel", dropped)


async def watch(settings: Settings, interface: str, stop: asyncio.Event) -> None:
    """Watch an interface until told to stop; one that goes away is opened again."""
    keep_capabilities({NET_RAW})
    started = time.time()
    name = f"sensor:{interface}"
    source = AfPacketSource(
        interface,
        walk=scan_ring,
        uid=f"{name}:{started:.0f}",
        promiscuous=settings.sensor.promiscuous,
        limits=RingLimits(retire_ms=RETIRE_MS),
    ).open()
    sensor = Sensor(
        source=name,
        producer=f"{name}:{started!r}",
        site=settings.site.name,
        limits=SensorLimits.live(),
        seed=secrets.randbits(63),
    )
    link, post = await _connect(settings, name, started)
    pump = Pump(source, sensor)
    await post.start(started)
    _log.info("started", interface=interface)
    try:
        while not stop.is_set():
            try:
                records = await asyncio.to_thread(pump.step)
            except Unavailable as error:
                await _reopen(source, post, str(error), stop)
                continue
            await post.send(records)
            await post.beat(time.time(), {"packets": pump.packets, "dropped": pump.dropped})
    finally:
        await post.send(sensor.finish(time.time()).records)
        await post.tell_drops(time.time())
        await post.tell("stopped", time.time())
        source.close()
        await link.close()


async def replay(settings: Settings, path: Path, speed: float, stop: asyncio.Event) -> None:
    """Send what a capture holds as if it happened now; then wait to be stopped, so that it is not sent twice."""
    keep_capabilities(())
    if not await asyncio.to_thread(path.is_file):  # a pipe could keep this process from being stopped
        raise InvalidInput(f"{path} is no capture file.", hint="Name a file; `thingward guard -` reads a pipe.")
    started = time.time()
    name = f"replay:{path.name}"
    producer = f"{name}:{started!r}" if speed else f"{name}:{_digest(path)}"
    sensor = Sensor(source=name, producer=producer, site=settings.site.name)
    link, post = await _connect(settings, name, started)
    await post.start(started)
    try:
        with path.open("rb") as stream:
            for batch, due_s in paced(CaptureReader(stream, uid=producer), speed, started):
                await _wait_for(due_s, started, link, stop)
                if stop.is_set():
                    return
                records = await asyncio.to_thread(sensor.feed, batch, time.time())
                await post.send(records.records)
        await post.send(sensor.finish(time.time(), file=str(path)).records)
        await post.tell_drops(time.time())
        _log.info("replayed", file=str(path))
        await stop.wait()
    finally:
        await link.close()


def paced(
    batches: Iterator[PacketBatch] | CaptureReader, speed: float, start: float
) -> Iterator[tuple[PacketBatch, float]]:
    """Cut batches into pieces with the time at which each is due, in seconds after the start.

    With a speed above 0 packets get the times at which they are sent, else they keep their own and all are due at once.
    """
    first_ns = -1
    for batch in batches:
        if not len(batch):
            continue
        if not speed:
            yield batch, 0.0
            continue
        if first_ns < 0:
            first_ns = int(batch.ts_ns[0])
        after_ns = np.maximum.accumulate(np.maximum(batch.ts_ns - first_ns, 0)) / speed
        steps = (after_ns // (STEP_S * 1e9)).astype(np.int64)
        cuts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(batch)]
        times = (start * 1e9 + after_ns).astype(np.int64)
        for begin, end in itertools.pairwise(cuts):
            yield moved(batch.part(begin, end), times[begin:end]), float(steps[begin] + 1) * STEP_S


def moved(batch: PacketBatch, ts_ns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> PacketBatch:
    """Give a batch with other times."""
    return PacketBatch(
        data=batch.data,
        offset=batch.offset,
        caplen=batch.caplen,
        wirelen=batch.wirelen,
        ts_ns=ts_ns,
        link=batch.link,
        vlan=batch.vlan,
        uid=batch.uid,
        base=batch.base,
    )


async def _connect(settings: Settings, name: str, started: float) -> tuple[UnixLinkClient, Post]:
    folder = settings.home / "spool" / re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    spool = file_spool(folder, max_bytes=settings.sensor.spool_limit_mb << 20)
    link = UnixLinkClient(socket_of(settings, "core"), name=name, spool=spool)
    await link.start()
    site, alive = settings.site.name, folder / "alive"
    return link, Post(link, spool, source=name, site=site, started=started, alive_path=alive)


async def _reopen(source: AfPacketSource, post: Post, reason: str, stop: asyncio.Event) -> None:
    """Say that nothing is seen, wait until the interface is back, and tell how long that was."""
    _log.warning("interface away", reason=reason)
    lost = time.time()
    await post.tell("stopped", lost, reason)
    pause_s = REOPEN_S[0]
    while not stop.is_set():
        source.close()
        try:
            source.open()
        except Unavailable:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, REOPEN_S[1])
        else:
            now = time.time()
            await post.tell("gap", now, reason, gap_s=max(now - lost, 0.0))
            _log.info("interface back", after_s=round(now - lost, 1))
            return


async def _wait_for(due_s: float, started: float, link: UnixLinkClient, stop: asyncio.Event) -> None:
    while not stop.is_set():
        left = started + due_s - time.time()
        is_full = not due_s and link.spool.pending_bytes > SPOOL_FULL
        if left <= 0 and not is_full:
            return
        await asyncio.sleep(min(max(left, 0.01), 0.5))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
