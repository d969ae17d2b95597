"""After a crash: the last checkpoint, then the journal once more, and the same records come out again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from thingward.apps.core.commits import Commits
from thingward.apps.core.entries import (
    Decided,
    Done,
    Fed,
    Ticked,
    command_uid,
    decisions_of,
    decode_entry,
    encode_entry,
    with_decisions,
)
from thingward.apps.core.outbox import EventOutbox
from thingward.model.codec import decode_batch
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.model.flow import Command, Output
from thingward.model.record import Record
from thingward.ports.journal import Journal
from thingward.runtime.checkpoint import Checkpoint, read_checkpoint
from thingward.runtime.flow import Road

FLUSH_RECORDS: Final = 5000

#: Lets stages take over what the control store holds: those named have no state of their own.
Adopt = Callable[[Sequence[str]], None]

_log = structlog.get_logger("core")


class Recovered(msgspec.Struct):
    """Where core goes on.

    Attributes:
        marks: stream to the highest sequence number in the journal.
        fed: stream to the highest sequence number that the road has seen.
        commands: decisions' places to what was not carried out.
        replayed: entries fed again; `unreadable`: entries that could not be (a bug, or damage).
        lost_checkpoint: why there is none although there was one.
        empty: stages that began without a state.
    """

    marks: OrderedDict[str, int] = msgspec.field(default_factory=OrderedDict)
    fed: dict[str, int] = {}
    commands: dict[int, list[Command]] = {}
    replayed: int = 0
    unreadable: int = 0
    lost_checkpoint: str = ""
    empty: tuple[str, ...] = ()


class Recovery:
    """Brings road, control store and outbox to where the journal ends."""

    def __init__(
        self, road: Road, journal: Journal, commits: Commits, outbox: EventOutbox, checkpoint_path: Path, adopt: Adopt
    ) -> None:
        self._road = road
        self._journal = journal
        self._commits = commits
        self._outbox = outbox
        self._path = checkpoint_path
        self._adopt = adopt
        self._decided: dict[int, Decided] = {}
        self._done: set[tuple[int, str]] = set()
        self._found = Recovered()

    async def run(self) -> Recovered:
        """Do it; raises Unavailable if the control store or the journal cannot be written."""
        checkpoint = self._restore()
        self._scan(checkpoint.position)
        for decided in self._decided.values():
            self._commits.add(decided.records)
        self._flush()
        self._adopt(self._found.empty)
        fresh = await self._replay(checkpoint.position)
        self._flush()
        await self._outbox.flush()
        for decided in fresh:
            self._journal.append(encode_entry(decided))
        self._journal.sync()
        self._collect_commands(checkpoint, fresh)
        return self._found

    def _restore(self) -> Checkpoint:
        try:
            checkpoint = read_checkpoint(self._path)
            if checkpoint is not None:
                self._found.empty = self._road.restore(checkpoint.road)
                self._found.marks.update(checkpoint.marks)
                self._found.fed = dict(checkpoint.fed)
                return checkpoint
        except InvalidInput as error:
            self._path.rename(self._path.with_suffix(".damaged"))
            self._found.lost_checkpoint = str(error)
            _log.error("checkpoint lost", reason=str(error))
        self._found.empty = tuple(stage.name for stage in self._road.stages)
        return Checkpoint()

    def _scan(self, after: int) -> None:
        """Find what was decided and done; the road is fed in a second reading."""
        for _, data in self._journal.read(after):
            try:
                entry = decode_entry(data)
            except InvalidInput:
                self._found.unreadable += 1
                continue
            if isinstance(entry, Decided):
                self._decided[entry.of] = entry
            elif isinstance(entry, Done):
                self._done.add((entry.of, entry.command))

    async def _replay(self, after: int) -> list[Decided]:
        """Feed the road; gives decisions that the crash kept from being written."""
        fresh: list[Decided] = []
        waiting = 0
        for position, data in self._journal.read(after):
            output = self._feed(data)
            if output is None:
                continue
            known = self._decided.get(position)
            records = with_decisions(output.records, known.records) if known else output.records
            decisions = decisions_of(records)
            if known is None and (decisions or output.commands):
                fresh.append(Decided(of=position, records=decisions, commands=output.commands))  # type: ignore[arg-type]
            self._commits.add(records)
            await self._outbox.add(records)
            waiting += len(records)
            if waiting > FLUSH_RECORDS:
                self._flush()
                waiting = 0
        return fresh

    def _feed(self, data: bytes) -> Output | None:
        try:
            entry = decode_entry(data)
            if isinstance(entry, Ticked):
                return self._road.tick(entry.now)
            if not isinstance(entry, Fed):
                return None
            if entry.stream:
                self._found.marks[entry.stream] = max(entry.sequence, self._found.marks.get(entry.stream, 0))
                self._found.marks.move_to_end(entry.stream)
                if entry.sequence <= self._found.fed.get(entry.stream, 0):
                    return None  # the snapshot contains it: it came before the checkpoint and was journalled after it
                self._found.fed[entry.stream] = entry.sequence
            batch: Sequence[Record] = decode_batch(entry.batch)
        except InvalidInput:
            self._found.unreadable += 1
            return None
        self._found.replayed += 1
        return self._road.feed(batch, entry.now)

    def _flush(self) -> None:
        if not self._commits.flush_now():
            raise Unavailable(f"the control store refuses: {self._commits.trouble}")

    def _collect_commands(self, checkpoint: Checkpoint, fresh: Sequence[Decided]) -> None:
        decided = {of: list(commands) for of, commands in checkpoint.commands.items()}
        for entry in (*self._decided.values(), *fresh):
            decided[entry.of] = list(entry.commands)
        for of, commands in decided.items():
            left = [command for command in commands if (of, command_uid(command)) not in self._done]
            if left:
                self._found.commands[of] = left


def adopt_safely(adopt: Callable[[], None], stage: str) -> None:
    """Let a stage take over what the control store holds; a stage that cannot says so and begins empty."""
    try:
        adopt()
    except ThingwardError as error:
        _log.error("stage begins empty", stage=stage, reason=str(error))
