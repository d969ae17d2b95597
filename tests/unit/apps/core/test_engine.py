"""The engine in memory: what is acknowledged, what is decided, what a restart brings back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from thingward.adapters.clock.memory import MemoryClock
from thingward.adapters.control_store.memory import MemoryControlStore
from thingward.adapters.control_store.tables import INDEXED
from thingward.adapters.journal.memory import MemoryJournal
from thingward.adapters.link.memory import MemoryLinkClient, MemoryLinkServer
from thingward.apps.core.commits import Commits
from thingward.apps.core.engine import Engine, Parts
from thingward.apps.core.entries import Decided, decode_entry
from thingward.apps.core.outbox import EventOutbox
from thingward.apps.core.recover import Recovered, Recovery
from thingward.model.errors import Conflict, Unavailable
from thingward.model.flow import Command, Notify, Output
from thingward.model.ids import DEFAULT_TENANT, Uid, record_uid
from thingward.model.observation import Observation, StatusData
from thingward.model.principal import AuditEntry
from thingward.model.record import Record
from thingward.runtime.flow import Road


class Counting:
    """Counts observations; every tenth is a decision and a message."""

    name = "counting"

    def __init__(self) -> None:
        self.count = 0

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        records, commands = list(batch), []
        for record in batch:
            if isinstance(record, Observation):
                self.count += 1
                if self.count % 10 == 0:
                    records.append(decision(self.count, now))
                    commands.append(message(self.count))
        return Output(records=records, commands=list[Command](commands))

    def tick(self, now: float) -> Output:
        return Output()

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.count)

    def restore(self, state: bytes) -> None:
        self.count = msgspec.msgpack.decode(state, type=int)


def decision(n: int, now: float) -> AuditEntry:
    return AuditEntry(uid=Uid(f"a{n}"), tenant=DEFAULT_TENANT, time=now, source="t", principal="p", action="decide")


def message(n: int) -> Notify:
    return Notify(uid=f"m{n}", tenant=DEFAULT_TENANT, key=f"m{n}", title="t", text="t")


def observations(first: int, count: int) -> list[Observation]:
    return [
        Observation(
            uid=record_uid("t", n), tenant=DEFAULT_TENANT, time=1.0, source="t", data=StatusData(status="alive")
        )
        for n in range(first, first + count)
    ]


class Rig:
    """One core's disk, and engines that come and go over it."""

    def __init__(self, folder: Path) -> None:
        self.clock = MemoryClock()
        self.journal = MemoryJournal()
        self.control = MemoryControlStore()
        self.path = folder / "checkpoint"
        self.dispatched: list[tuple[int, Command]] = []
        self.safe_after: list[float] = []
        self.jumps: list[float] = []
        self.shown: list[Record] = []
        self.stage = Counting()
        self.found = Recovered()

    async def start(self) -> Engine:
        self.stage = Counting()
        road = Road([self.stage])
        commits = Commits(self.control, INDEXED)
        link = MemoryLinkClient(MemoryLinkServer(), name="core")
        outbox = EventOutbox(link, link.spool)
        recovery = Recovery(road, self.journal, commits, outbox, self.path, lambda empty: None)
        self.found = await recovery.run()
        engine = Engine(
            Parts(
                road=road,
                journal=self.journal,
                commits=commits,
                outbox=outbox,
                clock=self.clock,
                checkpoint_path=self.path,
                show=self._show,
                tell_jump=self.jumps.append,
                marks=self.found.marks,
                fed=self.found.fed,
                commands=self.found.commands,
            )
        )
        engine.connect(lambda of, commands: self.dispatched.extend((of, c) for c in commands), self.safe_after.append)
        return engine

    async def _show(self, records: Sequence[Record]) -> None:
        self.shown += records

    def audits(self) -> set[str]:
        return {entry.uid for entry in self.control.page(DEFAULT_TENANT, AuditEntry, limit=1000).items}


def run(folder: Path, scenario: Callable[[Rig], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(Rig(folder)), 20))  # type: ignore[arg-type]


def test_a_batch_is_taken_once_durable_and_a_repeat_is_not_fed_again(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = await rig.start()
        first = engine.submit(observations(0, 5), stream="s#1", sequence=7)
        again = engine.submit(observations(0, 5), stream="s#1", sequence=7)
        assert not first.done()
        await engine.round()
        assert (first.result(), again.result()) == (True, True)
        assert rig.stage.count == 5
        assert engine.is_durable("s#1", 7)
        assert not engine.is_durable("s#1", 8)
        assert not engine.is_durable("other", 7)

    run(tmp_path, scenario)


def test_a_decision_is_in_the_journal_before_it_is_acted_on(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = await rig.start()
        seen: list[bool] = []

        def dispatch(of: int, commands: Sequence[Command]) -> None:
            entries = [decode_entry(data) for _, data in rig.journal.read(0)]
            seen.append(any(isinstance(entry, Decided) and entry.of == of for entry in entries))

        engine.connect(dispatch, rig.safe_after.append)
        engine.submit(observations(0, 10))
        await engine.round()
        assert seen == [True]
        assert rig.audits() == {"a10"}

    run(tmp_path, scenario)


def test_a_crash_brings_everything_back_and_open_commands_again(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = await rig.start()
        engine.submit(observations(0, 15), stream="s#1", sequence=1)
        await engine.round()
        assert await engine.checkpoint()
        engine.submit(observations(15, 20), stream="s#1", sequence=2)
        await engine.round()
        of, command = rig.dispatched[0]
        engine.submit([], finishes=(of, command))
        await engine.round()
        rig.control = MemoryControlStore()  # nothing was committed after the checkpoint, say
        rig.control.commit(DEFAULT_TENANT, [])
        engine = await rig.start()
        assert rig.stage.count == 35
        assert engine.is_durable("s#1", 2)
        assert rig.audits() == {"a20", "a30"}
        left = [c.uid for commands in engine.commands.values() for c in commands if isinstance(c, Notify)]
        assert sorted(left) == ["m20", "m30"]

    run(tmp_path, scenario)


def test_while_the_disk_is_full_it_goes_on_from_memory_and_acknowledges_later(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = await rig.start()
        rig.journal.full = True
        first = engine.submit(observations(0, 10), stream="s#1", sequence=1)
        second = engine.submit(observations(10, 10), stream="s#1", sequence=2)
        await engine.round()
        assert (first.result(), second.result()) == (False, False)
        assert engine.unsafe_since > 0
        assert rig.stage.count == 20
        assert len(rig.dispatched) == 2
        asked = engine.submit_prepared(lambda now: [])
        await engine.round()
        with pytest.raises(Unavailable):
            asked.result()
        rig.journal.full = False
        rig.clock.advance(5.0)
        await engine.round()
        assert engine.unsafe_since == 0.0
        assert len(rig.safe_after) == 1
        assert engine.is_durable("s#1", 2)
        repeat = engine.submit(observations(0, 10), stream="s#1", sequence=1)
        await engine.round()
        assert repeat.result()
        assert rig.stage.count == 20

    run(tmp_path, scenario)


def test_what_the_journal_refused_is_journalled_when_it_comes_again_and_never_out_of_turn(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.journal = MemoryJournal(max_bytes=1200)
        engine = await rig.start()
        taken = [engine.submit(observations(n, 1), stream="s#1", sequence=n) for n in range(1, 31)]
        await engine.round()
        results = [future.result() for future in taken]
        durable = results.count(True)
        assert results == [True] * durable + [False] * (30 - durable)
        assert durable < 30
        assert rig.stage.count == 30
        rig.journal._max_bytes = 1 << 20
        rig.clock.advance(5.0)
        await engine.round()
        stray = engine.submit(observations(40, 1), stream="s#1", sequence=40)
        await engine.round()
        assert stray.result() is False, "those before it are not in the journal yet"
        repeats = [engine.submit(observations(n, 1), stream="s#1", sequence=n) for n in range(durable + 1, 31)]
        repeats.append(engine.submit(observations(40, 1), stream="s#1", sequence=40))
        await engine.round()
        assert all(future.result() for future in repeats)
        await rig.start()
        assert rig.stage.count == 31

    run(tmp_path, scenario)


def test_an_intent_is_answered_when_the_stores_have_it_and_its_error_is_its_own(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = await rig.start()

        def refuse(now: float) -> list[Record]:
            raise Conflict("it changed.")

        good = engine.submit_prepared(lambda now: [decision(1, now)])
        bad = engine.submit_prepared(refuse)
        await engine.round()
        assert good.result()
        assert rig.audits() == {"a1"}
        with pytest.raises(Conflict):
            bad.result()

    run(tmp_path, scenario)


def test_a_clock_jump_is_told(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = await rig.start()
        rig.clock.jump(3600.0)
        await engine.round()
        rig.clock.jump(-7200.0)
        await engine.round()
        assert rig.jumps == [3600.0, -7200.0]

    run(tmp_path, scenario)


def test_a_damaged_checkpoint_is_kept_aside_and_said(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        engine = await rig.start()
        engine.submit(observations(0, 3))
        await engine.round()
        await engine.checkpoint()
        rig.path.write_bytes(rig.path.read_bytes()[:-1] + b"\xff")
        await rig.start()
        assert "damaged" in rig.found.lost_checkpoint
        assert rig.found.empty == ("counting",)
        assert rig.path.with_suffix(".damaged").exists()

    run(tmp_path, scenario)
