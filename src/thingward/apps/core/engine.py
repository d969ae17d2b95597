"""The heart of core: what comes in goes to the journal, then onto the road; what comes out is kept, then acted on.

One round: everything that waits goes into the journal and onto the road, the decisions into the journal behind it; one
fsync for both; what came is acknowledged, what was decided is carried out, the rest goes into the stores. While the
journal cannot be written nothing is acknowledged; the road goes on deciding from memory.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import structlog

from thingward.apps.core.commits import Commits
from thingward.apps.core.entries import Decided, Done, Entry, Fed, Ticked, command_uid, decisions_of, encode_entry
from thingward.apps.core.keeper import Keeper, Show
from thingward.apps.core.outbox import EventOutbox
from thingward.model.codec import encode_batch
from thingward.model.errors import Unavailable
from thingward.model.flow import Command, Output
from thingward.model.record import Record
from thingward.ports.clock import Clock
from thingward.ports.journal import Journal
from thingward.runtime.checkpoint import Checkpoint, write_checkpoint
from thingward.runtime.flow import Road
from thingward.runtime.roadtime import RoadTime

TICK_S: Final = 0.2
#: A journal that cannot be written is tried again this often, in seconds.
RETRY_S: Final = 1.0
#: Batches taken in one round: bounds how long the road keeps everything else waiting.
ROUND: Final = 64
CHECKPOINT_S: Final = 600.0
CHECKPOINT_RECORDS: Final = 30_000
MAX_STREAMS: Final = 1000
#: A sender that was cut off and begins with something new after this time has nothing to repeat, in seconds.
GAP_S: Final = 5.0

Dispatch = Callable[[int, Sequence[Command]], None]
#: Places of decisions with their commands.
Acting = list[tuple[int, list[Command]]]
#: Gives records, as of a road time, when it is their turn.
Prepare = Callable[[float], Sequence[Record]]

_log = structlog.get_logger("core")


class Submission(msgspec.Struct, eq=False):
    """A batch that waits for its round. `taken` becomes True when it is durable, False when it is only in memory."""

    records: Sequence[Record]
    taken: asyncio.Future[bool]
    stream: str = ""
    sequence: int = 0
    finishes: tuple[int, Command] | None = None
    prepare: Prepare | None = None
    position: int = 0


class Counters(msgspec.Struct):
    """What the engine did since its start."""

    batches: int = 0
    repeats: int = 0
    records: int = 0
    ticks: int = 0
    decisions: int = 0
    commands: int = 0
    checkpoints: int = 0
    failed_syncs: int = 0
    replayed: int = 0


@dataclass
class Parts:
    """What the engine works with."""

    road: Road
    journal: Journal
    commits: Commits
    outbox: EventOutbox
    clock: Clock
    checkpoint_path: Path
    show: Show
    tell_jump: Callable[[float], None]
    marks: OrderedDict[str, int] = field(default_factory=OrderedDict)
    fed: dict[str, int] = field(default_factory=dict)
    commands: dict[int, list[Command]] = field(default_factory=dict)


class Engine:
    """Drives the road and keeps every promise about what survives.

    Attributes:
        unsafe_since: road time since when the journal cannot be written, 0 if it can.
        commands: decisions' places to their commands that were not carried out yet.
    """

    def __init__(self, parts: Parts) -> None:
        self.unsafe_since = 0.0
        self.counters = Counters()
        self.commands = parts.commands
        self.time = RoadTime(parts.clock)
        self._parts = parts
        self._road = parts.road
        self._journal = parts.journal
        self._clock = parts.clock
        self._keeper = Keeper(parts.commits, parts.outbox, parts.show)
        self._inbox: deque[Submission] = deque()
        self._work = asyncio.Event()
        self._durable = parts.marks
        self._appended: dict[str, int] = dict(parts.marks)
        self._fed: dict[str, int] = {**parts.marks, **parts.fed}
        self._gaps: dict[str, float] = {}
        self._is_refused = False
        self._is_dirty = False
        self._position = 0
        self._next_tick = 0.0
        self._next_try = 0.0
        self._next_checkpoint = parts.clock.monotonic() + CHECKPOINT_S
        self._since_checkpoint = 0
        self._dispatch: Dispatch = lambda of, commands: None
        self._on_safe: Callable[[float], None] = lambda seconds: None

    def connect(self, dispatch: Dispatch, on_safe: Callable[[float], None]) -> None:
        """Say who carries commands out, and who is told when the journal can be written again (after seconds)."""
        self._dispatch = dispatch
        self._on_safe = on_safe

    def is_durable(self, stream: str, sequence: int) -> bool:
        """Tell whether the journal has this batch of a sender on disk already."""
        if sequence <= self._durable.get(stream, 0):
            self.counters.repeats += 1
            return True
        return False

    def submit(
        self,
        records: Sequence[Record],
        *,
        stream: str = "",
        sequence: int = 0,
        finishes: tuple[int, Command] | None = None,
    ) -> asyncio.Future[bool]:
        """Put a batch onto the road.

        Args:
            finishes: the command (and its decision's place) that this is the outcome of.
        Returns:
            True once it is durable, False if it was taken into memory only.
        """
        return self._put(records, stream=stream, sequence=sequence, finishes=finishes)

    def submit_prepared(self, prepare: Prepare) -> asyncio.Future[bool]:
        """Put onto the road what `prepare` gives when everything before it has been decided and kept."""
        return self._put((), prepare=prepare)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then finish what waits and leave a checkpoint."""
        for of, commands in list(self.commands.items()):
            self._dispatch(of, list(commands))
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._wait(stopping)
                await self.round()
            while self._inbox:
                await self.round()
            await self.checkpoint()
        finally:
            stopping.cancel()
            await self._keeper.close()

    async def round(self) -> None:
        """Do everything that waits, once."""
        self._work.clear()
        now = self.time.now()
        if jump := self.time.take_jump():
            self._parts.tell_jump(jump)
        taken = [self._inbox.popleft() for _ in range(min(len(self._inbox), ROUND))]
        plain = [submission for submission in taken if submission.prepare is None]
        await self._feed(plain, now)
        for submission in taken:
            if submission.prepare is not None:
                await self._feed_prepared(submission, now)
        if self._clock.monotonic() >= self._next_tick:
            await self._tick(now)
        if self._since_checkpoint >= CHECKPOINT_RECORDS or self._clock.monotonic() >= self._next_checkpoint:
            await self.checkpoint()
        if not self._inbox:
            await self._keeper.linger(self._work, self._next_tick - self._clock.monotonic())

    async def checkpoint(self) -> bool:
        """Write down the state of everything, and forget the journal up to here; False if the disk refuses."""
        self._next_checkpoint = self._clock.monotonic() + CHECKPOINT_S
        await self._keeper.settle()
        await self._parts.outbox.flush()
        if not await self._sync() or not await self._parts.commits.flush():
            return False
        position = self._position
        checkpoint = Checkpoint(
            position=position,
            time=self.time.now(),
            marks=dict(self._durable),
            fed=dict(self._fed),
            road=self._road.snapshot(),
            commands={of: list(commands) for of, commands in self.commands.items()},
        )
        try:
            await asyncio.to_thread(self._write_checkpoint, checkpoint)
        except Unavailable as error:
            _log.warning("no checkpoint", reason=str(error))
            return False
        self._since_checkpoint = 0
        self.counters.checkpoints += 1
        return True

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._parts.outbox.force()
        write_checkpoint(self._parts.checkpoint_path, checkpoint)
        self._journal.truncate(checkpoint.position)

    def _put(
        self,
        records: Sequence[Record],
        *,
        stream: str = "",
        sequence: int = 0,
        finishes: tuple[int, Command] | None = None,
        prepare: Prepare | None = None,
    ) -> asyncio.Future[bool]:
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._inbox.append(Submission(records, taken, stream, sequence, finishes, prepare))
        self._work.set()
        return taken

    async def _wait(self, stopping: asyncio.Task[bool]) -> None:
        left = self._next_tick - self._clock.monotonic()
        if self._inbox or left <= 0:
            await asyncio.sleep(0)
            return
        working = asyncio.create_task(self._work.wait())
        ticking = asyncio.create_task(self._clock.sleep(left))
        try:
            await asyncio.wait((working, ticking, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            ticking.cancel()

    async def _feed(self, submissions: Sequence[Submission], now: float) -> None:
        """Journal, feed, decide; then make all of it durable at once, acknowledge it and act."""
        if not submissions:
            return
        fed = [submission for submission in submissions if self._append_submission(submission, now)]
        outputs = []
        for submission in fed:
            self.counters.batches += 1
            self.counters.records += len(submission.records)
            self._since_checkpoint += len(submission.records)
            outputs.append((submission.position, self._road.feed(submission.records, now)))
            if len(submission.records) > 200:
                await asyncio.sleep(0)
        acting = self._append_decisions(outputs)
        is_safe = await self._sync()
        for submission in submissions:
            if submission.prepare is None:
                self._settle(submission, is_safe=is_safe)
        self._carry_out(outputs, acting)

    async def _feed_prepared(self, submission: Submission, now: float) -> None:
        assert submission.prepare is not None
        try:
            if self.unsafe_since or not await self._parts.commits.flush():
                raise Unavailable("the platform cannot write to its disk.", hint="Free some space and try again.")
            submission.records = submission.prepare(now)
        except Exception as error:  # noqa: BLE001 - the one who asked gets it
            _refuse(submission, error)
            return
        if submission.records:
            await self._feed([submission], now)
            await self._keeper.settle()
            self._settle(submission, is_safe=not self.unsafe_since)  # kept in the stores too: whoever asked can read it
        elif not submission.taken.done():
            submission.taken.set_result(True)

    async def _tick(self, now: float) -> None:
        self._next_tick = self._clock.monotonic() + TICK_S
        self.counters.ticks += 1
        position = self._append(Ticked(now=now))
        if self.unsafe_since and self._clock.monotonic() >= self._next_try:
            self._next_try = self._clock.monotonic() + RETRY_S
            await self._sync()
        output = self._road.tick(now)
        if output.records or output.commands:
            outputs = [(position, output)]
            acting = self._append_decisions(outputs)
            if acting:
                await self._sync()
            self._carry_out(outputs, acting)
        await self._parts.outbox.flush()
        self._keeper.add(())

    def _append_decisions(self, outputs: Sequence[tuple[int, Output]]) -> Acting:
        """Journal what was decided; gives the commands by their decision's place."""
        acting: Acting = []
        for position, output in outputs:
            decisions = decisions_of(output.records)
            if decisions or output.commands:
                self.counters.decisions += len(decisions)
                self._append(Decided(of=position, records=decisions, commands=output.commands))  # type: ignore[arg-type]
                acting.append((position, output.commands))
        return acting

    def _carry_out(self, outputs: Sequence[tuple[int, Output]], acting: Acting) -> None:
        """Act on what was decided and is in the journal, then put everything into the stores."""
        for position, commands in acting:
            if commands:
                self.counters.commands += len(commands)
                self.commands.setdefault(position, []).extend(commands)
                self._dispatch(position, commands)
        records = [record for _, output in outputs for record in output.records]
        if records:
            self._keeper.add(records)

    def _append_submission(self, submission: Submission, now: float) -> bool:
        """Journal a batch unless it is there already; tells whether the road has not seen it yet."""
        stream, sequence = submission.stream, submission.sequence
        if not stream or (sequence > self._appended.get(stream, 0) and self._may_append(stream, sequence)):
            batch = encode_batch(submission.records)  # type: ignore[arg-type]
            submission.position = self._append(Fed(now=now, batch=batch, stream=stream, sequence=sequence))
            if stream and submission.position:
                self._appended[stream] = sequence
            elif stream:
                self._gaps[stream] = self._clock.monotonic()
        if submission.finishes is not None:
            self._finish(*submission.finishes)
        if stream and sequence <= self._fed.get(stream, 0):
            self.counters.repeats += 1
            return False
        if stream:
            self._fed[stream] = sequence
        return True

    def _may_append(self, stream: str, sequence: int) -> bool:
        """Tell whether this batch is the next one that the journal lacks of its stream.

        After the journal refused a batch nothing later of its sender is journalled, until the sender, cut off when the
        disk was well again, begins anew behind what it knows to be durable.
        """
        if stream not in self._gaps:
            return True
        is_repeat = sequence <= self._fed.get(stream, 0)
        if self.unsafe_since or not (is_repeat or self._clock.monotonic() - self._gaps[stream] > GAP_S):
            return False
        del self._gaps[stream]
        return True

    def _finish(self, of: int, command: Command) -> None:
        uid = command_uid(command)
        waiting = [other for other in self.commands.get(of, []) if command_uid(other) != uid]
        if waiting:
            self.commands[of] = waiting
        else:
            self.commands.pop(of, None)
        self._append(Done(of=of, command=uid))

    def _append(self, entry: Entry) -> int:
        """Append to the journal; 0 if a bound refuses."""
        try:
            self._position = self._journal.append(encode_entry(entry))
        except Unavailable as error:
            self._is_refused = True
            self._next_checkpoint = 0.0
            self._become_unsafe(str(error))
            return 0
        self._is_refused = False
        self._is_dirty = True
        return self._position

    async def _sync(self) -> bool:
        """Make everything appended durable; False, and unsafe, if the disk refuses."""
        if self._is_dirty:
            self._is_dirty = False
            try:
                await asyncio.to_thread(self._journal.sync)
            except Unavailable as error:
                self._is_dirty = True
                self._become_unsafe(str(error))
                return False
            self._note_durable()
        if self.unsafe_since and not self._is_refused:
            self._become_safe()
        return not self._is_refused

    def _note_durable(self) -> None:
        for stream, sequence in self._appended.items():
            if self._durable.get(stream, 0) < sequence:
                self._durable[stream] = sequence
                self._durable.move_to_end(stream)
        while len(self._durable) > MAX_STREAMS:
            gone, _ = self._durable.popitem(last=False)
            for table in (self._appended, self._fed, self._gaps):
                table.pop(gone, None)

    def _become_unsafe(self, reason: str) -> None:
        self.counters.failed_syncs += 1
        if not self.unsafe_since:
            self.unsafe_since = self.time.now()
            _log.error("the journal cannot be written: nothing is acknowledged", reason=reason)

    def _become_safe(self) -> None:
        seconds = self.time.now() - self.unsafe_since
        self.unsafe_since = 0.0
        self._gaps = dict.fromkeys(self._gaps, self._clock.monotonic())
        _log.warning("the journal can be written again", after_s=round(seconds, 1))
        self._on_safe(seconds)

    def _settle(self, submission: Submission, *, is_safe: bool) -> None:
        if not submission.taken.done():
            is_known = bool(submission.stream) and submission.sequence <= self._durable.get(submission.stream, 0)
            submission.taken.set_result(is_known or (is_safe and submission.position > 0))


def _refuse(submission: Submission, error: Exception) -> None:
    if not submission.taken.done():
        submission.taken.set_exception(error)
