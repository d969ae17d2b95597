"""Records as they pass, handed to any number of streams: each with a bounded queue, so that nobody slow stops others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

import structlog

from thingward.apps.server.backend import Backend
from thingward.apps.server.metrics import Metrics
from thingward.apps.server.present import encode_public
from thingward.model.device import Device
from thingward.model.errors import LimitExceeded, ThingwardError
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.record import Record

QUEUE_LIMIT: Final = 500
REPLAY_LIMIT: Final = 256
STREAM_LIMIT: Final = 64
BEAT_S: Final = 15.0
RETRY_S: Final = 2.0
#: Never sent to streams: they hold digests of secrets.
PRIVATE: Final = frozenset({"principal", "token", "session", "claim", "observation", "audit", "ledger", "setting"})

_log = structlog.get_logger("server")


class Listener:
    """One stream: a queue that forgets its oldest record when it is full."""

    def __init__(self) -> None:
        self.queue: deque[Record] = deque(maxlen=QUEUE_LIMIT)
        self.dropped = 0
        self.closed = False
        self._ready = asyncio.Event()

    def put(self, record: Record) -> None:
        """Add a record."""
        self.dropped += len(self.queue) == QUEUE_LIMIT
        self.queue.append(record)
        self._ready.set()

    def close(self) -> None:
        """Wake the stream up and end it."""
        self.closed = True
        self._ready.set()

    async def take(self, wait_s: float) -> list[Record]:
        """Give what came; empty after `wait_s` seconds of silence."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), wait_s)
        self._ready.clear()
        taken = list(self.queue)
        self.queue.clear()
        return taken


class Broadcaster:
    """Reads the live stream of the platform once and hands it to all listeners."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._listeners: set[Listener] = set()
        self._recent: deque[Record] = deque(maxlen=REPLAY_LIMIT)
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    async def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop reading and end all streams."""
        for listener in self._listeners:
            listener.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                async for record in self._backend.live():
                    self.connected = True
                    self.publish(record)
            except ThingwardError as error:
                _log.warning("live stream away", reason=str(error))
            self.connected = False
            await asyncio.sleep(RETRY_S)

    def publish(self, record: Record) -> None:
        """Hand one record to every listener."""
        if record.__struct_config__.tag in PRIVATE:
            return
        self._recent.append(record)
        for listener in self._listeners:
            listener.put(record)

    def listen(self, after: str = "") -> Listener:
        """Open a listener, beginning after the record with this uid if it is still remembered.

        Raises:
            LimitExceeded: 64 streams are open.
        """
        if len(self._listeners) >= STREAM_LIMIT:
            raise LimitExceeded(f"{STREAM_LIMIT} streams are open.", hint="Close one.")
        listener = Listener()
        uids = [str(record.uid) for record in self._recent]
        if after in uids:
            for record in list(self._recent)[uids.index(after) + 1 :]:
                listener.put(record)
        self._listeners.add(listener)
        self._metrics.put("stream_clients", len(self._listeners))
        return listener

    def forget(self, listener: Listener) -> None:
        """Close a listener; idempotent."""
        self._listeners.discard(listener)
        self._metrics.put("stream_clients", len(self._listeners))
        if listener.dropped:
            self._metrics.count("stream_dropped_total", listener.dropped)
            listener.dropped = 0


def is_wanted(record: Record, *, kind: str = "", device: str = "", min_severity: int = 0) -> bool:
    """Tell whether a stream with these filters wants a record.

    Args:
        kind: tag of the record (`finding`, `case` ...) or of an event's body (`flow`, `dns` ...).
    """
    tag = str(record.__struct_config__.tag)
    if kind and kind != tag and not (isinstance(record, Event) and record.data.__struct_config__.tag == kind):
        return False
    if device and device not in _devices(record):
        return False
    return not min_severity or getattr(record, "severity", 0) >= min_severity


def _devices(record: Record) -> tuple[str, ...]:
    if isinstance(record, Event):
        return tuple(end.device for end in (record.src, record.dst) if end is not None)
    if isinstance(record, Finding):
        return (record.device, record.target)
    return (record.uid,) if isinstance(record, Device) else (str(getattr(record, "device", "")),)


def sse_frame(data: bytes, *, event: str = "", uid: str = "") -> bytes:
    """Write one frame of an event stream; line breaks in data are kept as further data lines."""
    lines = [b"data: " + line for line in data.splitlines() or [b""]]
    if event:
        lines.insert(0, b"event: " + event.encode())
    if uid:
        lines.insert(0, b"id: " + uid.encode())
    return b"\n".join(lines) + b"\n\n"


def json_frame(record: Record) -> bytes:
    """Write a record as a named frame with its JSON."""
    return sse_frame(encode_public(record), event=str(record.__struct_config__.tag), uid=record.uid)


async def stream(
    broadcaster: Broadcaster,
    listener: Listener,
    *,
    wanted: Callable[[Record], bool],
    write: Callable[[Record], bytes],
    allowed: Callable[[], bool],
    beat_s: float = BEAT_S,
) -> AsyncIterator[bytes]:
    """Give the frames of one stream until the client goes, or may no longer listen.

    Args:
        wanted: filter. write: frame of a record. allowed: asked at every beat: a revoked session ends its stream.
        beat_s: a comment is sent after this many seconds of silence, so that proxies keep the line open.
    """
    try:
        yield b": listening\n\n"
        clock = asyncio.get_running_loop().time
        last = clock()
        while not listener.closed:
            records = await listener.take(beat_s)
            if not allowed():
                return
            frames = [write(record) for record in records if wanted(record)]
            if frames or clock() - last >= beat_s:
                yield b"".join(frames) or b": beat\n\n"
                last = clock()
    finally:
        broadcaster.forget(listener)
