"""What `guard` learnt from a file is handed to core: its own learning goes on from there, once, also after a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform_processes import Processes, Sender, until
from thingward.inventory.adoption import pack_learnt
from thingward.model.errors import ThingwardError
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import ImportRecords
from thingward.model.observation import Endpoint, FlowData, Observation
from thingward.model.profile import MudProfile
from thingward.ports.control_store import ControlStore
from thingward.runtime.compose import compose_guard, open_control_reader
from thingward.runtime.guard_result import DeviceView, GuardResult, result_batches
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
    time = 1_760_000_000.0 + n * 3600.0
    data = FlowData(
        flow=f"old-{n}", state="whole", first=time, last=time + 1, proto=6, packets_out=5, bytes_out=500, packets_in=5,
        bytes_in=500, flags_out=0x1B, flags_in=0x1B, name="update.example",
    )  # fmt: skip
    return Observation(
        uid=f"o-{n}", tenant=DEFAULT_TENANT, time=time, source="guard:old.pcap",
        src=Endpoint(mac=MAC, ip="192.168.1.15", port=10_000 + n),
        dst=Endpoint(mac="00:11:22:33:55:01", ip="198.51.100.200", port=443), data=data,
    )  # fmt: skip


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
