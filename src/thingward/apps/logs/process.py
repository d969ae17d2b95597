"""Ask each source in turn, hand what it says to core through a spool on disk, and keep how far it got."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from thingward.adapters.link.spool import Spool, file_spool
from thingward.adapters.link.unix import UnixLinkClient
from thingward.adapters.log_source.follow import Position
from thingward.adapters.log_source.syslog_listen import SyslogListener
from thingward.apps.logs.sources import FileSource, Pulse
from thingward.model.codec import encode_batch
from thingward.model.observation import Endpoint, Observation
from thingward.ports.link import LinkClient
from thingward.runtime.capabilities import keep_capabilities
from thingward.runtime.channels import OBSERVATIONS, socket_of
from thingward.runtime.config import Settings
from thingward.sensing.log_files import LogContext
from thingward.sensing.syslog_source import SyslogSource

POLL_S: Final = 1.0
BATCH: Final = 500
SYSLOG_BATCH: Final = 2000

_positions = msgspec.json.Decoder(dict[str, Position])
_log = structlog.get_logger("logs")


class SyslogInput:
    """A listener and what its messages mean."""

    def __init__(self, listener: SyslogListener, context: LogContext, now: float) -> None:
        self.listener = listener
        self._pulse = Pulse(context, now)
        # Messages have no place in a file: the start's time keeps the uids of two runs apart.
        self._source = SyslogSource(context, f"syslog@{now:.3f}")
        self._told: dict[str, int] = {}

    def poll(self, now: float) -> list[Observation]:
        """Give what arrived."""
        observations: list[Observation] = []
        for sender, message in self.listener.take(SYSLOG_BATCH):
            observations += self._source.feed(message, now, Endpoint(ip=sender.removeprefix("::ffff:")))
        new = {key: count - self._told.get(key, 0) for key, count in self.listener.dropped.items()}
        new = {key: count for key, count in new.items() if count}
        if new:
            self._told = dict(self.listener.dropped)
            observations.append(self._pulse.say(now, "drops", "too much at once", counts=new))
        return [*observations, *self._pulse.beat(now, "", {"messages": self._source.tally.lines})]

    def start(self, now: float) -> Observation:
        """Say that it listens from now on: what was sent before was heard by nobody."""
        return self._pulse.say(now, "started", "listening")


class Feeder:
    """Moves observations from the sources to the link.

    Files wait on their own disk while core is away and the spool is half full; syslog has nowhere to wait.
    """

    def __init__(
        self,
        files: Sequence[FileSource],
        syslog: SyslogInput | None,
        link: LinkClient,
        spool: Spool,
        *,
        spool_bytes: int,
        state: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._syslog = syslog
        self._link = link
        self._spool = spool
        self._spool_bytes = spool_bytes
        self._state = state
        self._clock = clock
        self._saved: dict[str, Position] = {}

    async def step(self) -> bool:
        """Ask every source once; tells whether one has more already."""
        now = self._clock()
        is_behind = False
        if self._syslog is not None:
            await self._send(self._syslog.poll(now))
            is_behind = self._syslog.listener.arrived.is_set()
        for source in self._files:
            if self._spool.pending_bytes > self._spool_bytes // 2:
                break
            await self._send(await asyncio.to_thread(source.poll, now))
            is_behind |= source.is_behind
        self._save()
        return is_behind

    async def _send(self, observations: list[Observation]) -> None:
        for start in range(0, len(observations), BATCH):
            await self._link.send(OBSERVATIONS, encode_batch(observations[start : start + BATCH]))

    def _save(self) -> None:
        """Keep the positions after what was read is in the spool: a crash between reads lines again, same uids."""
        found: dict[str, Position] = {}
        for source in self._files:
            found.update(source.positions())
        if found == self._saved:
            return
        write_positions(self._state, {**self._saved, **found})
        self._saved = found


def read_positions(path: Path) -> dict[str, Position]:
    """Give what an earlier run left, nothing if it left nothing that can be read."""
    try:
        return _positions.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}


def write_positions(path: Path, positions: dict[str, Position]) -> None:
    """Replace the file; a disk that refuses costs no more than reading lines again."""
    draft = path.with_suffix(".new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(msgspec.json.encode(positions))
        os.replace(draft, path)
    except OSError as error:
        _log.warning("positions not kept", reason=error.strerror)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until told to stop."""
    folder = settings.home / "logs"
    for needed in (settings.home, folder):
        needed.mkdir(parents=True, exist_ok=True, mode=0o700)
    now, sensor = time.time(), settings.sensor
    syslog: SyslogInput | None = None
    if sensor.syslog_listen:
        listener = SyslogListener(sensor.syslog_listen)
        await listener.start()  # before capabilities go: a port below 1024 needs one
        syslog = SyslogInput(listener, _context(settings, f"syslog:{sensor.syslog_listen}"), now)
    keep_capabilities(())
    positions = read_positions(folder / "positions.json")
    files = [
        FileSource(Path(path), kind, _context(settings, f"{kind}:{path}"), positions=positions, now=now)
        for kind, paths in (("zeek", sensor.zeek_folders), ("eve", sensor.eve_files))
        for path in paths
    ]
    limit = sensor.spool_limit_mb << 20
    spool = file_spool(folder / "spool", max_bytes=limit)
    link = UnixLinkClient(socket_of(settings, "core"), name="logs", spool=spool)
    feeder = Feeder(files, syslog, link, spool, spool_bytes=limit, state=folder / "positions.json")
    await link.start()
    if syslog is not None:
        await link.send(OBSERVATIONS, encode_batch([syslog.start(now)]))
    _log.info("started", files=len(files), syslog=sensor.syslog_listen)
    try:
        await _run(feeder, syslog, stop)
    finally:
        for source in files:
            source.close()
        if syslog is not None:
            await syslog.listener.close()
        await link.close()


async def _run(feeder: Feeder, syslog: SyslogInput | None, stop: asyncio.Event) -> None:
    while not stop.is_set():
        if await feeder.step():
            await asyncio.sleep(0)
            continue
        waits = {asyncio.ensure_future(stop.wait())}
        if syslog is not None:
            waits.add(asyncio.ensure_future(syslog.listener.arrived.wait()))
        _, pending = await asyncio.wait(waits, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()


def _context(settings: Settings, source: str) -> LogContext:
    return LogContext(source=source, site=settings.site.name)
