"""A store that is away for longer than the spool holds: telemetry goes first, findings stay, and what went is said."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.e2e.platform_processes import Processes, Sender, event_uid, flow, stored
from thingward.model.codec import encode_batch
from thingward.model.event import Event
from thingward.model.ids import DEFAULT_TENANT, Uid, hashed_uid
from thingward.model.intent import ImportPack
from thingward.model.observation import Endpoint, FlowData, Observation, StatusData
from thingward.runtime import channels
from thingward.runtime.compose import connect_events

pytestmark = pytest.mark.servers

BOUND = 2_000_000
WITH_A_SMALL_SPOOL = f"""
import sys
from thingward.apps.core import process
from thingward.runtime.child import run_child
process.SPOOL_LIMIT_BYTES = {BOUND}
sys.exit(run_child("core", process.serve))
"""


class SmallSpool(Processes):
    """Core with a spool that is soon full."""

    def start(self, *names: str) -> None:
        super().start(*(name for name in names if name != "core"))
        if "core" in names:
            command = [sys.executable, "-c", WITH_A_SMALL_SPOOL, "--data-dir", str(self.home)]
            environment = {**os.environ, "THINGWARD_ENFORCE__PATH": "off"}
            with (self.home.parent / "core.log").open("ab") as log:
                self.running["core"] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[SmallSpool]:
    made = SmallSpool(tmp_path / "home")
    yield made
    made.kill_all()


def bad_flow(n: int) -> Observation:
    """Give a flow to the address that the list names."""
    now = time.time()
    seen = flow(1000 + n)
    assert isinstance(seen.data, FlowData)
    data = msgspec.structs.replace(seen.data, flow=hashed_uid("bad", str(n)), first=now, last=now, name="")
    dst = Endpoint(mac="00:11:22:33:55:01", ip="45.33.32.156", port=443)
    return msgspec.structs.replace(seen, uid=Uid(f"bad-{n}"), time=now, dst=dst, data=data)


def stored_findings(processes: Processes) -> int:
    """Count the findings that the store has."""
    store = connect_events(processes.settings, "test")
    try:
        return store.counts(DEFAULT_TENANT).get("finding", 0)
    finally:
        store.close()


def test_the_spool_holds_its_bound_keeps_findings_and_counts_what_it_drops(processes: SmallSpool) -> None:
    async def scenario() -> None:
        processes.start("core")
        sender = Sender(processes)
        await sender.link.start()
        assert (await sender.ask(ImportPack(name="bad", text=b"45.33.32.156\n"), "pack", timeout_s=30)).ok
        number = await sender.link.send(
            channels.OBSERVATIONS, encode_batch([bad_flow(n) for n in range(24)]), priority=1
        )
        sender.sent[number] = []
        await sender.drained()
        sizes = []
        for _ in range(30):
            await sender.send(500)
            await sender.drained()
            sizes.append((await sender.status()).counters["spool_bytes"])
        assert max(sizes) <= BOUND
        assert sizes[-1] > BOUND / 4, "it is in use up to its bound"
        processes.kill("core")  # also what a killed core had spooled is within the bound, and in order
        processes.start("core")
        await sender.send(500)
        await sender.drained()
        assert (await sender.status()).counters["spool_bytes"] <= BOUND
        newest = {event_uid(o) for o in list(sender.sent.values())[-1]}
        processes.start("store")
        events = await stored(processes.settings, newest)
        while not drops_of(events):
            events = await stored(processes.settings, set())
        kept = {event.uid for event in events}
        numbers = [n for n, batch in sender.sent.items() if batch and kept >= {event_uid(o) for o in batch}]
        gone = [n for n, batch in sender.sent.items() if batch and not kept & {event_uid(o) for o in batch}]
        assert gone, "it was more than the spool holds"
        assert max(gone) < min(numbers), "the oldest telemetry went, the newest stayed"
        assert sum(drops_of(events).values()) > 0
        assert set(drops_of(events)) == {"priority_0"}, "nothing but telemetry"
        assert await asyncio.to_thread(stored_findings, processes) > 0, "findings are older than all of it, and stay"
        await sender.link.close()

    asyncio.run(asyncio.wait_for(scenario(), 120))
    processes.stop()


def drops_of(events: list[Event]) -> dict[str, int]:
    """Add up what core says that the spool dropped."""
    total: dict[str, int] = {}
    for event in events:
        if isinstance(event.data, StatusData) and event.data.status == "drops":
            for name, count in dict(event.data.counts).items():
                total[name] = total.get(name, 0) + count
    return total
