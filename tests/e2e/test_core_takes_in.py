"""What `guard` learnt from a file is handed to core: its own learning goes on from there, once, also after a kill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.e2e.platform_processes import Processes, Sender, until
from thingward.inventory.adoption import pack_learnt
from thingward.model.codec import encode_batch
from thingward.model.errors import ThingwardError
from thingward.model.finding import Finding
from thingward.model.ids import DEFAULT_TENANT, Uid, hashed_uid
from thingward.model.intent import ImportPack, ImportRecords, LoadPacks, RemovePack
from thingward.model.observation import Endpoint, FlowData, Observation
from thingward.model.profile import MudProfile
from thingward.ports.control_store import ControlStore
from thingward.runtime import channels
from thingward.runtime.compose import compose_guard, open_control_reader
from thingward.runtime.guard_result import DeviceView, GuardResult, result_batches
from thingward.runtime.packs import import_pack, read_pack
from thingward.runtime.stages import RoadPlan

pytestmark = pytest.mark.servers

DAY = 86_400.0
MAC = "00:11:22:33:44:05"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "home")
    yield made
    made.kill_all()


def old_flow(n: int) -> Observation:
    """Give a flow of last year's capture: the device calls a server of its maker every hour."""
    at = 1_760_000_000.0 + n * 3600.0
    data = FlowData(
        flow=f"old-{n}", state="whole", first=at, last=at + 1, proto=6, packets_out=5, bytes_out=500, packets_in=5,
        bytes_in=500, flags_out=0x1B, flags_in=0x1B, name="update.example",
    )  # fmt: skip
    return Observation(
        uid=f"o-{n}", tenant=DEFAULT_TENANT, time=at, source="guard:old.pcap",
        src=Endpoint(mac=MAC, ip="192.168.1.15", port=10_000 + n),
        dst=Endpoint(mac="00:11:22:33:55:01", ip="198.51.100.200", port=443), data=data,
    )  # fmt: skip


def bad_flow(n: int) -> Observation:
    """Give a flow of now to an address that a list may name."""
    now = time.time()
    seen = old_flow(n)
    assert isinstance(seen.data, FlowData)
    data = msgspec.structs.replace(seen.data, flow=hashed_uid("bad", str(n)), first=now, last=now, name="")
    dst = Endpoint(mac="00:11:22:33:55:01", ip="45.33.32.156", port=443)
    return msgspec.structs.replace(seen, uid=Uid(f"bad-{n}"), time=now, dst=dst, data=data)


def saved() -> tuple[str, list[bytes]]:
    """Give the device and what `guard --save` would send."""
    road, stages = compose_guard(RoadPlan(producer="guard", maker_of=lambda mac: ""))
    road.feed([old_flow(n) for n in range(48)], 1_760_200_000.0)
    (device,) = [device for device in stages.inventory.devices() if MAC in device.macs]
    kept = stages.learning.kept(device.uid)
    assert kept is not None
    learnt = pack_learnt(kept, tenant=DEFAULT_TENANT, site="home", source="guard")
    view = DeviceView(device=device, profile=stages.learning.profile(device.uid))
    result = GuardResult(site="home", tenant=DEFAULT_TENANT, version="0", views=(view,), learnt=(learnt,))
    return device.uid, list(result_batches(result))


def newest(control: ControlStore, device: str) -> MudProfile | None:
    page = control.page(DEFAULT_TENANT, MudProfile, where={"device": device}, limit=1)
    return page.items[0] if page.items else None


async def opened(processes: Processes) -> ControlStore:
    while True:
        try:
            return open_control_reader(processes.settings)
        except ThingwardError:
            await asyncio.sleep(0.1)


def test_live_learning_goes_on_from_what_was_saved(processes: Processes) -> None:
    device, batches = saved()

    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        control = await opened(processes)
        for number, batch in enumerate(batches):
            answer = await sender.ask(ImportRecords(source="old.pcap", batch=batch), f"import-{number}")
            assert answer.ok, answer.message
        taken = newest(control, device)
        assert taken is not None, "it is there when the answer comes"
        assert taken.settled.flows == 48
        assert [(item.source, item.flows) for item in taken.adopted] == [("import:old.pcap", 48)]
        processes.kill("core")  # what was taken over is in the journal
        processes.start("core")
        for number, batch in enumerate(batches):  # another person saves the same file
            assert (await sender.ask_until_answered(ImportRecords(source="again", batch=batch), f"twice-{number}")).ok
        await sender.send(120)
        await sender.drained()
        processes.stop()
        processes.start("core", "store")  # a stop leaves a checkpoint, and with it whatever waited for its minute
        await sender.send(120)
        await sender.drained()
        await until(lambda: (found := newest(control, device)) is not None and found.settled.flows > 48)
        live = newest(control, device)
        assert live is not None
        assert len(live.adopted) == 1
        assert {acl.value for acl in live.acls} >= {"update.example"}, "what only the file showed is still known"
        assert live.settled.observed_s > 30 * DAY
        assert live.settled.flows <= 48 + 240
        control.close()
        await sender.link.close()

    asyncio.run(asyncio.wait_for(scenario(), 120))
    processes.stop()


def test_packs_are_used_at_once_and_gone_at_once(processes: Processes) -> None:
    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        control = await opened(processes)

        async def matched() -> int:
            numbers = iter(range(len(sender.sent) * 100, 10_000))
            batch = [bad_flow(next(numbers)) for _ in range(3)]
            await sender.link.send(channels.OBSERVATIONS, encode_batch(batch), priority=1)
            sender.sent[len(sender.sent) + 1] = batch
            await sender.drained()
            return control.count(DEFAULT_TENANT, Finding, where={"rule": "indicator.match"})

        assert await matched() == 0
        assert (await sender.status()).packs == ()
        refused = await sender.ask(ImportPack(name="bad", text=b"nothing at all to look for"))
        assert not refused.ok
        taken = await sender.ask_until_answered(ImportPack(name="bad", text=b"45.33.32.156\n"), "pack")
        assert taken.ok, taken.message
        (info,) = (await sender.status()).packs
        assert (info.name, info.count) == ("bad", 1)
        await matched()
        await until(lambda: control.count(DEFAULT_TENANT, Finding, where={"rule": "indicator.match"}) > 0)
        processes.kill("core")
        processes.start("core")
        assert (await sender.ask_until_answered(RemovePack(name="bad"), "gone")).ok
        assert (await sender.status()).packs == ()
        assert not list((processes.home / "packs").glob("*.pack"))
        folder, listed = processes.home / "packs", processes.home.parent / "list.txt"
        listed.write_text("198.51.100.4\n")
        pack, digest = read_pack(listed)
        import_pack(processes.home, pack, digest, now=time.time())
        assert folder.is_dir()
        assert (await sender.ask(LoadPacks())).ok
        assert [info.name for info in (await sender.status()).packs] == ["list"]
        control.close()
        await sender.link.close()

    asyncio.run(asyncio.wait_for(scenario(), 120))
    processes.stop()
