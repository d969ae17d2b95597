"""The demo as a user starts it: live on namespaces, an attack, the block, the undo, approval of everything, the end."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.demo_run import DemoRun
from thingward.adapters.control_store.sql import open_reader
from thingward.model.action import Approval
from thingward.model.device import Device
from thingward.model.intent import ApproveProfiles, ReleaseDevice, StartAttack

pytestmark = [pytest.mark.root, pytest.mark.slow]

SITE = "Sample site (simulated)"


def devices(demo: DemoRun) -> dict[str, Device]:
    reader = open_reader(f"sqlite:///{demo.settings.home / 'control.db'}")
    try:
        found = reader.page("default", Device, limit=100).items
    finally:
        reader.close()
    return {name: device for device in found for name in device.names[:1]}


def in_force(demo: DemoRun) -> list[Approval]:
    reader = open_reader(f"sqlite:///{demo.settings.home / 'control.db'}")
    try:
        return [held for held in reader.page("default", Approval, limit=100).items if held.state == "in_force"]
    finally:
        reader.close()


def test_an_attack_is_shut_out_and_the_undo_restores_the_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoRun(tmp_path, "--skip-past") as demo:
            text = await demo.until("simulated devices live behind")
            assert text.index("Console: http://127.0.0.1:") < text.index("is simulated; packets, rules")
            await asyncio.sleep(6)
            before = demo.listing()
            answer = await demo.intend(StartAttack())
            assert answer.ok, answer.message
            said = await demo.until("is shut out", 30)
            assert "turns bad (simulated)" in said
            held = await demo.enforced(lambda status: status.quarantined)
            assert "3c:33:00:5a:10:21" in held.quarantined
            await demo.site("calm")
            camera = devices(demo)["ipcam-porch"]
            assert camera.simulated
            undone = await demo.intend(ReleaseDevice(device=camera.uid, reason="test"))
            assert undone.ok, undone.message
            await demo.enforced(lambda status: not status.quarantined)
            assert demo.listing() == before

    asyncio.run(scenario())
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert left == "", "nothing of the demo is left running"


def test_with_every_profile_in_force_the_devices_go_on_working(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoRun(tmp_path) as demo:
            await demo.until("simulated devices live behind")
            await asyncio.sleep(5)
            answer = await demo.intend(ApproveProfiles(scope="site", target=SITE, include_unsettled=True))
            assert answer.ok, answer.message
            status = await demo.enforced(lambda status: len(status.devices) >= 13)
            assert len(status.devices) == 13
            await asyncio.sleep(3)  # dnsmasq starts anew with the names
            before = await demo.site()
            await asyncio.sleep(25)
            after = await demo.site()
            failed = {key: count for key, count in after.failed.items() if count != before.failed.get(key)}
            assert failed == {}, after.reasons
            worked = {key for key in after.done if after.done[key] != before.done[key]}
            assert len(worked) >= 8
            approvals = in_force(demo)
            assert len(approvals) == 13
            assert {(held.scope, held.target) for held in approvals} == {("site", SITE)}
            assert {held.by for held in approvals} == {"test"}, "who approved is recorded"
            camera = devices(demo)["ipcam-porch"]
            quiet = (await demo.enforced(lambda _: True)).refused.get(camera.uid, 0)
            assert (await demo.intend(StartAttack())).ok
            status = await demo.enforced(lambda status: status.refused.get(camera.uid, 0) > quiet, 30)
            assert status.refused.get(camera.uid, 0) > quiet, "what it never needed is refused by its profile"

    asyncio.run(scenario())


def test_where_namespaces_are_forbidden_a_recording_is_replayed_and_it_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DemoRun(tmp_path, "--replay", "--skip-past") as demo:
            text = await demo.until("a recorded simulated site is replayed")
            assert "Nothing can be shut out here" in text
            await asyncio.sleep(4)
            assert (await demo.intend(StartAttack())).ok
            await demo.until("found:", 60)

    asyncio.run(scenario())
