"""Records on their way into the stores: in order, beside the rounds, and nothing that fails goes unnoticed."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from tests.unit.apps.core.test_engine import Rig, decision, observations
from thingward.adapters.control_store.memory import MemoryControlStore
from thingward.adapters.control_store.tables import INDEXED
from thingward.adapters.link.memory import MemoryLinkClient, MemoryLinkServer
from thingward.apps.core.commits import Commits
from thingward.apps.core.keeper import Keeper
from thingward.apps.core.outbox import EventOutbox
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.principal import AuditEntry
from thingward.model.record import Record
from thingward.ports.control_store import Delete, Put


class SlowControl(MemoryControlStore):
    """Commits when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.asked = threading.Event()
        self.order: list[str] = []

    def commit(self, tenant: str, changes: Sequence[Put | Delete]) -> None:
        self.asked.set()
        assert self.free.wait(20)
        self.order += [change.record.action for change in changes if isinstance(change, Put)]  # type: ignore[attr-defined]
        super().commit(tenant, changes)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))  # type: ignore[arg-type]


def outbox() -> EventOutbox:
    link = MemoryLinkClient(MemoryLinkServer(), name="core")
    return EventOutbox(link, link.spool)


def version(text: str) -> AuditEntry:
    return msgspec.structs.replace(decision(1, 0.0), action=text)


def test_a_batch_is_taken_and_acted_on_while_an_earlier_commit_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(tmp_path)
        control = rig.control = SlowControl()
        engine = await rig.start()
        engine.submit(observations(0, 10))
        first = asyncio.create_task(engine.round())
        await asyncio.to_thread(control.asked.wait)
        taken = engine.submit(observations(10, 10), stream="s#1", sequence=1)
        await first
        await engine.round()
        assert taken.result()
        assert [getattr(command, "uid", "") for _, command in rig.dispatched] == ["m10", "m20"]
        assert rig.shown == []
        assert not rig.audits()
        control.free.set()
        assert await engine.checkpoint()
        assert rig.audits() == {"a10", "a20"}
        assert len(rig.shown) == 22

    run(scenario)


def test_the_newer_of_two_versions_is_committed_last() -> None:
    async def scenario() -> None:
        control = SlowControl()
        commits = Commits(control, INDEXED)
        commits.add([version("old")])
        older = asyncio.create_task(commits.flush())
        await asyncio.to_thread(control.asked.wait)
        commits.add([version("new")])
        newer = asyncio.create_task(commits.flush())
        await asyncio.sleep(0)
        control.free.set()
        assert await older
        assert await newer
        assert control.order == ["old", "new"]
        assert control.page(DEFAULT_TENANT, AuditEntry, limit=10).items[0].action == "new"

    run(scenario)


def test_what_fails_beside_the_rounds_is_raised_in_the_next_one() -> None:
    async def show(records: Sequence[Record]) -> None:
        raise RuntimeError("a bug")

    async def scenario() -> None:
        keeper = Keeper(Commits(MemoryControlStore(), INDEXED), outbox(), show)
        keeper.add([version("x")])
        with pytest.raises(RuntimeError, match="a bug"):
            await keeper.settle()
        with pytest.raises(RuntimeError, match="a bug"):
            keeper.add([])
        await keeper.close()

    run(scenario)


def test_lingering_ends_with_new_work_and_with_the_time() -> None:
    async def show(records: Sequence[Record]) -> None:
        pass

    async def scenario() -> None:
        control = SlowControl()
        keeper = Keeper(Commits(control, INDEXED), outbox(), show)
        work = asyncio.Event()
        keeper.add([version("x")])
        await keeper.linger(work, 0.0)
        work.set()
        await keeper.linger(work, 20.0)
        assert control.order == []
        control.free.set()
        await keeper.settle()
        assert control.order == ["x"]
        await keeper.close()

    run(scenario)
