"""kill -9 at any moment: nothing acknowledged is lost, nothing is stored twice, no decision is forgotten."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform_processes import Processes, Sender, event_uid, stored, until
from thingward.assurance.ledger import verify_chain
from thingward.assurance.service import read_ledger
from thingward.model.action import Action, Approval
from thingward.model.device import Device
from thingward.model.errors import ThingwardError, Unavailable
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import ApproveProfiles, PutUser, QuarantineDevice
from thingward.model.principal import AuditEntry, Principal, Role
from thingward.model.profile import MudProfile
from thingward.runtime.compose import open_control_reader

pytestmark = pytest.mark.servers

ROUNDS = 10


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "home")
    yield made
    made.kill_all()


async def decide(sender: Sender, kept: dict[str, str], number: int) -> None:
    """Ask for something; what was answered with yes must be there at the end."""
    try:
        answer = await sender.ask(
            PutUser(name=f"user{number}", role=Role.VIEWER), uid=f"put-user-{number}", timeout_s=3
        )
        if answer.ok:
            kept[f"put-user-{number}"] = f"user{number}"
    except Unavailable:
        pass  # core was killed before it answered: nothing was promised


def test_kill_rounds(processes: Processes) -> None:
    chance = random.Random(20261122)

    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        kept: dict[str, str] = {}
        for round_number in range(ROUNDS):
            sending = asyncio.create_task(send_for_a_while(sender, chance.uniform(0.2, 1.5)))
            asking = asyncio.create_task(decide(sender, kept, round_number))
            await asyncio.sleep(chance.uniform(0.0, 1.2) if round_number else 2.0)
            victims = chance.choice([("core",), ("core",), ("store",), ("core", "store")])
            processes.kill(*victims)
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            processes.start(*victims)
            await asyncio.gather(sending, asking)
        await sender.send(20)
        await sender.drained()
        sent = {event_uid(o) for o in sender.acknowledged()}
        assert len(sent) == sum(len(batch) for batch in sender.sent.values())
        events = await stored(processes.settings, sent)
        counts = Counter(event.uid for event in events)
        assert max(counts.values()) == 1
        assert sent <= set(counts)
        await sender.link.close()
        assert kept, "no decision was made in any round: the test shows nothing"
        control = open_control_reader(processes.settings)
        names = {user.name for user in control.page(DEFAULT_TENANT, Principal, limit=1000).items}
        assert set(kept.values()) <= names
        audited = {entry.request for entry in control.page(DEFAULT_TENANT, AuditEntry, limit=1000).items}
        assert set(kept) <= audited
        ledger = read_ledger(DEFAULT_TENANT, control)
        assert [link.sequence for link in ledger] == list(range(1, len(ledger) + 1))
        verify_chain(ledger)
        control.close()

    asyncio.run(asyncio.wait_for(scenario(), 200))
    processes.stop()


async def send_for_a_while(sender: Sender, seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await sender.send(25)
        await asyncio.sleep(0.02)


def test_actions_and_approvals_survive_the_moment_after_their_answer(processes: Processes) -> None:
    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        await sender.send(600)
        await sender.drained()
        control = None
        while control is None:
            try:
                control = open_control_reader(processes.settings)
            except ThingwardError:
                await asyncio.sleep(0.1)
        await until(lambda: control.count(DEFAULT_TENANT, MudProfile) > 0)
        device = control.page(DEFAULT_TENANT, MudProfile, limit=1).items[0].device
        approve = ApproveProfiles(scope="device", target=device, include_unsettled=True)
        approved = await sender.ask_until_answered(approve, "approve")
        assert approved.ok, approved.message
        processes.kill("core")
        processes.start("core")
        shut_out = await sender.ask_until_answered(QuarantineDevice(device=device, reason="test"), "shut-out")
        assert shut_out.ok, shut_out.message
        processes.kill("core")
        assert [a.device for a in control.page(DEFAULT_TENANT, Approval, where={"state": "in_force"}).items] == [device]
        actions = control.page(DEFAULT_TENANT, Action, where={"device": device, "kind": "quarantine"}).items
        assert len(actions) == 1
        processes.start("core")
        again = await sender.ask_until_answered(QuarantineDevice(device=device, reason="test"), "other")
        known = control.get(DEFAULT_TENANT, Device, device)
        assert known is not None
        # There is no warden here: the outcome is "failed" wherever the kill came, and the action is not forgotten.
        await until(
            lambda: (
                {a.state.value for a in control.page(DEFAULT_TENANT, Action, where={"device": device}).items}
                == {"failed"}
            )
        )
        assert again.ok or again.status in (409, 429), again.message
        await sender.link.close()
        control.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    processes.stop()
