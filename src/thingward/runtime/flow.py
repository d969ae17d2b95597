"""The one road: every record passes the stages from top to bottom, in the platform and in `guard` alike.

    bytes -> Observation | normalise -> inventory -> detection -> learning -> judge -> triage -> response -> ledger

`runtime.stages` builds that list; this module only drives it. A road does no I/O: records and commands come out, and
whoever drives it stores the one and carries out the other.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence

import msgspec

from thingward.model import ocsf
from thingward.model.errors import InvalidInput, ThingwardError
from thingward.model.event import Event
from thingward.model.flow import Command, Output, Stage
from thingward.model.ids import DEFAULT_TENANT, Tenant, hashed_uid
from thingward.model.observation import StatusData
from thingward.model.packed import UNREADABLE, unpack
from thingward.model.record import Record

#: Records of one batch that a stage failed on and that get an event of their own; the rest is only counted.
DEAD_LETTERS_PER_BATCH = 16

_snapshots = msgspec.msgpack.Decoder(dict[str, bytes])


class StageMetrics(msgspec.Struct):
    """What one stage did since the start; `seconds` is the time spent in it."""

    records_in: int = 0
    records_out: int = 0
    commands: int = 0
    errors: int = 0
    seconds: float = 0.0


class Road:
    """Drives the stages in order. A stage that raises has a bug: its record goes round it, and an event says so."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        source: str = "core",
        tenant: Tenant = DEFAULT_TENANT,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        names = [stage.name for stage in stages]
        if len(set(names)) != len(names):
            raise InvalidInput(f"stages share a name: {names}.")
        self.stages = tuple(stages)
        self.metrics = {name: StageMetrics() for name in names}
        self._source = source
        self._tenant = tenant
        self._timer = timer

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Send a batch down the whole road; gives what came out at the end and all stages' commands, in order."""
        commands: list[Command] = []
        for stage in self.stages:
            if not batch:
                break
            output = self._step(stage, batch, now)
            batch = output.records
            commands += output.commands
        return Output(records=list(batch), commands=commands)

    def tick(self, now: float) -> Output:
        """Let time pass in every stage; what a stage says then goes down the rest of the road."""
        batch: list[Record] = []
        commands: list[Command] = []
        for stage in self.stages:
            if batch:
                output = self._step(stage, batch, now)
                batch = output.records
                commands += output.commands
            late = self._tick(stage, now)
            batch = [*batch, *late.records]
            commands += late.commands
        return Output(records=batch, commands=commands)

    def snapshot(self) -> bytes:
        """Give the state of all stages; meaningful between two calls of `feed` or `tick`."""
        return msgspec.msgpack.encode({stage.name: stage.snapshot() for stage in self.stages})

    def restore(self, state: bytes) -> tuple[str, ...]:
        """Take the state that `snapshot` gave.

        Returns:
            Names of stages that start empty: they are new, or cannot read their state (after an upgrade).
        Raises:
            InvalidInput: this is no snapshot at all.
        """
        parts = unpack(_snapshots, state, "a snapshot")
        empty = []
        for stage in self.stages:
            try:
                stage.restore(parts[stage.name])
            except (KeyError, ThingwardError, *UNREADABLE):
                empty.append(stage.name)
        return tuple(empty)

    def _step(self, stage: Stage, batch: Sequence[Record], now: float) -> Output:
        metrics = self.metrics[stage.name]
        started = self._timer()
        try:
            output = stage.feed(batch, now)
        except Exception:  # noqa: BLE001 - whatever a stage raises must not stop the road
            output = self._step_singly(stage, batch, now)
        metrics.seconds += self._timer() - started
        metrics.records_in += len(batch)
        metrics.records_out += len(output.records)
        metrics.commands += len(output.commands)
        return output

    def _step_singly(self, stage: Stage, batch: Sequence[Record], now: float) -> Output:
        """Find the records that a stage cannot take; the others may count twice in it, but none is lost."""
        records: list[Record] = []
        commands: list[Command] = []
        letters: list[Record] = []
        for record in batch:
            try:
                output = stage.feed([record], now)
            except Exception as error:  # noqa: BLE001
                self.metrics[stage.name].errors += 1
                records.append(record)
                if len(letters) < DEAD_LETTERS_PER_BATCH:
                    letters.append(self._dead_letter(stage, error, now, record))
            else:
                records += output.records
                commands += output.commands
        return Output(records=records + letters, commands=commands)

    def _tick(self, stage: Stage, now: float) -> Output:
        metrics = self.metrics[stage.name]
        started = self._timer()
        try:
            output = stage.tick(now)
        except Exception as error:  # noqa: BLE001
            metrics.errors += 1
            output = Output(records=[self._dead_letter(stage, error, now, None)])
        metrics.seconds += self._timer() - started
        metrics.records_out += len(output.records)
        metrics.commands += len(output.commands)
        return output

    def _dead_letter(self, stage: Stage, error: Exception, now: float, record: Record | None) -> Event:
        """Say that a stage failed: where in the code, and on which record; never the error's text (it may quote)."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        about = record.uid if record else f"tick {now:.3f}"
        where = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        return Event(
            uid=hashed_uid("dead-letter", stage.name, about),
            tenant=record.tenant if record else self._tenant,
            time=now,
            source=self._source,
            parents=(record.uid,) if record else (),
            class_uid=ocsf.SOURCE_STATUS,
            activity_id=99,
            severity=3,
            data=StatusData(status="dead_letter", detail=f"{stage.name}: {type(error).__name__} at {where}"),
            message=f"stage {stage.name} failed on {about}: {type(error).__name__} at {where}",
        )
