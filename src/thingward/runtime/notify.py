"""What goes out to people and other systems: severity threshold, daily budget, digest, retries, all bounded."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from thingward.model.errors import NotFound, ThingwardError, Unavailable
from thingward.model.flow import Notify
from thingward.model.ids import hashed_uid
from thingward.model.record import Record
from thingward.ports.notifier import Notifier

QUEUE_LIMIT = 1000
DIGEST_LIMIT = 200
ATTEMPTS = 5
#: A message with the same key is not sent again within this time.
REPEAT_S = 3600.0
DAY_S = 86400.0


class NotifySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What may change at run time: see the settings of the same names."""

    min_severity: int = 4
    daily_budget: int = 20
    digest_hour: int = 7


class OutboxState(msgspec.Struct, kw_only=True):
    """What the outbox must still know after a restart: a new start is no new budget.

    Attributes:
        waiting: messages for the digest; `overflow`: older ones that no longer fitted.
        day: the day (UTC) that `sent_today` counts; `digest_day`: that of the last digest.
        last_sent: message key to the time when it last went out or was put aside, oldest first.
    """

    waiting: list[Notify] = []
    overflow: int = 0
    day: str = ""
    sent_today: int = 0
    last_sent: dict[str, float] = {}
    digest_day: str = ""


class Outbox:
    """Decides, purely, what is sent now, what waits for the digest, and when the digest is due.

    Attributes:
        changes: grows with each change of the state.
    """

    def __init__(self, settings: NotifySettings, state: OutboxState | None = None) -> None:
        state = state or OutboxState()
        self.settings = settings
        self.waiting: deque[Notify] = deque(state.waiting, maxlen=DIGEST_LIMIT)
        self.overflow = state.overflow
        self._sent_today = state.sent_today
        self._day = state.day
        self._last_sent = dict(state.last_sent)
        self._digest_day = state.digest_day
        self.changes = 0

    def state(self) -> OutboxState:
        """Give what a restart has to know."""
        return OutboxState(
            waiting=list(self.waiting),
            overflow=self.overflow,
            day=self._day,
            sent_today=self._sent_today,
            last_sent=self._last_sent,
            digest_day=self._digest_day,
        )

    def offer(self, message: Notify, now: float) -> Notify | None:
        """Give the message if it may go out now, None if it waits for the digest or repeats another."""
        self._new_day(now)
        last = self._last_sent.get(message.key)
        if last is not None and 0 <= now - last < REPEAT_S:
            return None
        self._remember(message.key, now)
        self.changes += 1
        if message.urgency < self.settings.min_severity or self._sent_today >= self.settings.daily_budget:
            self.overflow += len(self.waiting) == DIGEST_LIMIT
            self.waiting.append(message)
            return None
        self._sent_today += 1
        return message

    def digest(self, now: float) -> Notify | None:
        """Give the digest once a day at its hour, if anything waits."""
        day = datetime.fromtimestamp(now, UTC)
        name = _day_of(now)
        is_told = self._digest_day == name or _is_day_before(self._digest_day, now)
        if day.hour < self.settings.digest_hour or is_told or not self.waiting:
            return None
        self._digest_day = name
        self.changes += 1
        lines = [f"- {message.title}" for message in self.waiting]
        if self.overflow:
            lines.append(f"- and {self.overflow} older ones that did not fit")
        count = len(self.waiting) + self.overflow
        text = "These did not go out at once (below the threshold, or beyond the day's budget):\n" + "\n".join(lines)
        tenant = self.waiting[0].tenant
        self.waiting.clear()
        self.overflow = 0
        uid = hashed_uid("digest", tenant, name)
        return Notify(
            uid=uid, tenant=tenant, key=f"digest:{name}", title=f"{count} quieter messages", text=text, urgency=1
        )

    def _new_day(self, now: float) -> None:
        day = _day_of(now)
        if day != self._day and not _is_day_before(self._day, now):
            self._day, self._sent_today = day, 0

    def _remember(self, key: str, now: float) -> None:
        self._last_sent.pop(key, None)
        self._last_sent[key] = now
        while len(self._last_sent) > QUEUE_LIMIT:
            del self._last_sent[next(iter(self._last_sent))]


class OutboxFile:
    """Keeps the outbox's state on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = 0

    def load(self) -> OutboxState:
        """Give the kept state, an empty one if there is none; what cannot be read was counted for nothing."""
        try:
            return _states.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return OutboxState()

    def save(self, outbox: Outbox) -> None:
        """Replace the file if the state changed since; raises Unavailable if the disk refuses."""
        if outbox.changes == self._saved:
            return
        draft = self._path.with_suffix(".new")
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as stream:
                stream.write(msgspec.msgpack.encode(outbox.state()))
            os.replace(draft, self._path)
        except OSError as error:
            raise Unavailable(
                f"what was sent today cannot be kept: {error.strerror}.", hint="Free some space."
            ) from error
        self._saved = outbox.changes


def _day_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def _is_day_before(counted: str, now: float) -> bool:
    """Tell whether a clock that was set back leads into the day before: no new budget, and no second one later."""
    return _day_of(now + DAY_S) == counted


_states = msgspec.msgpack.Decoder(OutboxState)


class Dispatcher:
    """Carries messages and records to every channel, each with a queue of its own, so that a dead one stops no other."""

    def __init__(
        self, channels: Sequence[Notifier], outbox: Outbox, clock: Callable[[], float], retry_s: float = 2.0
    ) -> None:
        self._channels = {channel.name: channel for channel in channels}
        self._outbox = outbox
        self._clock = clock
        self._retry_s = retry_s
        self._queues: dict[str, asyncio.Queue[Notify | tuple[str, Record]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped: dict[str, int] = {}
        self.failed: dict[str, str] = {}

    def start(self) -> None:
        """Start one worker per channel; needs a running loop."""
        for name in self._channels:
            self._queues[name] = asyncio.Queue(QUEUE_LIMIT)
            self._tasks.append(asyncio.create_task(self._work(name), name=f"notify-{name}"))

    async def close(self) -> None:
        """Stop the workers; what is still queued is lost and counted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name, queue in self._queues.items():
            if queue.qsize():
                self.dropped[name] = self.dropped.get(name, 0) + queue.qsize()

    def notify(self, message: Notify) -> bool:
        """Queue a message for all channels if the outbox lets it pass; tells whether it did."""
        passed = self._outbox.offer(message, self._clock())
        if passed is not None:
            self._put(passed)
        return passed is not None

    def export(self, tenant: str, records: Sequence[Record]) -> None:
        """Queue records for the channels that take records."""
        for record in records:
            self._put((tenant, record))

    def tick(self) -> None:
        """Send the digest when it is due."""
        message = self._outbox.digest(self._clock())
        if message is not None:
            self._put(message)

    async def test(self, channel: str, message: Notify) -> None:
        """Send one message through one channel now, past budget and queue; raises what the channel raises."""
        notifier = self._channels.get(channel)
        if notifier is None:
            known = ", ".join(self._channels) or "none is set up"
            raise NotFound(f"there is no channel {channel}.", hint=f"Channels: {known}.")
        await notifier.notify(message.tenant, message)

    def _put(self, item: Notify | tuple[str, Record]) -> None:
        for name, queue in self._queues.items():
            try:
                queue.put_nowait(item)
            except asyncio.QueueFull:
                self.dropped[name] = self.dropped.get(name, 0) + 1

    async def _work(self, name: str) -> None:
        queue, channel = self._queues[name], self._channels[name]
        while True:
            item = await queue.get()
            for attempt in range(ATTEMPTS):
                try:
                    await (channel.notify(item.tenant, item) if isinstance(item, Notify) else channel.export(*item))
                    self.failed.pop(name, None)
                    break
                except Unavailable as error:
                    self.failed[name] = str(error)
                    await asyncio.sleep(self._retry_s * 2**attempt)
                except ThingwardError as error:
                    self.failed[name] = str(error)
                    break
            else:
                self.dropped[name] = self.dropped.get(name, 0) + 1
