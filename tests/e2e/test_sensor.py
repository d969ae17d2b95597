"""The process `sensor` for real: on an interface of its own, over a core that is away or killed, and killed itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform_processes import Processes, stored
from thingward.adapters.link.unix import UnixLinkServer
from thingward.model.codec import decode_batch
from thingward.model.ids import event_uid
from thingward.model.observation import DnsData, FlowData, Observation, StatusData
from thingward.ports.link import Frame
from thingward.runtime.channels import OBSERVATIONS
from thingward.runtime.netns import NetworkNamespace, new_namespace

pytestmark = pytest.mark.servers

PATIENCE_S = 90.0
NET_RAW_ONLY = f"{1 << 13:016x}"
DEVICE, ROUTER = "02:00:5e:00:00:17", "02:00:5e:00:00:01"


class NotedCore:
    """Takes what a sensor sends, in its order; with `deaf` it acknowledges nothing."""

    def __init__(self, home: Path, *, deaf: bool = False) -> None:
        self.frames: list[Frame] = []
        self.records: dict[str, Observation] = {}
        self._deaf = deaf
        self.server = UnixLinkServer(home / "run" / "core.sock", name="core")
        self.server.serve(OBSERVATIONS, self.take)

    async def take(self, peer: str, frame: Frame) -> Frame | None:
        self.frames.append(frame)
        for record in decode_batch(frame.body):
            assert isinstance(record, Observation)
            self.records[record.uid] = record
        return Frame(kind="seen") if self._deaf else None

    def bodies(self, kind: type) -> list:
        return [record.data for record in self.records.values() if isinstance(record.data, kind)]

    def statuses(self) -> list[str]:
        return [body.status for body in self.bodies(StatusData)]

    async def until(self, condition) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.05)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def frame_of(body: bytes, *, sport: int, dport: int, mac: str = DEVICE, host: int = 23) -> bytes:
    """One datagram from a device to the router."""
    udp = struct.pack("!HHHH", sport, dport, 8 + len(body), 0) + body
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes([192, 168, 9, host]), bytes([192, 168, 9, 1])
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    ends = bytes.fromhex((ROUTER + mac).replace(":", ""))
    return ends + b"\x08\x00" + head + udp


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"


def write_capture(path: Path, frames: list[bytes], *, start: float | None = None) -> None:
    """A millisecond between packets."""
    begun = time.time() - len(frames) / 1000 if start is None else start
    with path.open("wb") as stream:
        stream.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, frame in enumerate(frames):
            second, micro = divmod(round((begun + number / 1000) * 1e6), 1_000_000)
            stream.write(struct.pack("<IIII", second, micro, len(frame), len(frame)) + frame)


def mixed(flows: int, *, names: int = 20) -> list[bytes]:
    """Many flows that say nothing, and a few questions for names among them; fewer than are taken for a flood."""
    frames = [frame_of(b"x", sport=1024 + n, dport=9000) for n in range(flows)]
    for n in range(names):
        frames.insert(n * flows // names, frame_of(question(f"n{n}.example"), sport=500 + n, dport=53))
    return frames


@contextlib.contextmanager
def sensor(home: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process until the block ends."""
    home.mkdir(exist_ok=True)
    with (home.parent / "sensor.log").open("ab") as log:
        command = [sys.executable, "-m", "thingward.apps.sensor", "--data-dir", str(home), *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(home: Path) -> str:
    return (home.parent / "sensor.log").read_text()


async def until_said(home: Path, words: str, times: int = 1) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while said(home).count(words) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def run(scenario: object) -> None:
    asyncio.run(asyncio.wait_for(scenario, 2 * PATIENCE_S))  # type: ignore[arg-type]


class Wire:
    """Two ends of a cable in a network of its own: the sensor is on one, the test sends on the other."""

    def __init__(self) -> None:
        self.where: NetworkNamespace = new_namespace()
        self.plug_in()

    def ip(self, command: str) -> None:
        self.where.run("ip", *command.split())

    def plug_in(self) -> None:
        self.ip("link add v0 type veth peer name v1")
        self.ip("link set v0 up")
        self.ip("link set v1 up")

    def send(self, name: str) -> None:
        """A question for a name passes."""
        with self.where.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("v1", 0))
            sender.send(frame_of(question(name), sport=40000, dport=53))

    @contextlib.contextmanager
    def sensor(self, home: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        with contextlib.ExitStack() as stack:
            with self.where.inside():
                process = stack.enter_context(sensor(home, "--interface", "v0", **environment))
            yield process


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.where.close()


async def seen(core: NotedCore, wire: Wire, name: str) -> None:
    """Ask for a name until the sensor has told of it."""
    async with asyncio.timeout(PATIENCE_S):
        while name not in {body.qname for body in core.bodies(DnsData)}:
            wire.send(name)
            await asyncio.sleep(0.2)


@pytest.mark.root
def test_what_passes_an_interface_reaches_core_with_one_capability_left(tmp_path: Path, wire: Wire) -> None:
    async def scenario() -> None:
        home = tmp_path / "data"
        core = NotedCore(home)
        await core.server.start()
        with wire.sensor(home) as process:
            await seen(core, wire, "first.example")
            (asked,) = {r.src.mac for r in core.records.values() if isinstance(r.data, DnsData) and r.src}
            assert asked == DEVICE
            status = status_of(process.pid)
            for which in ("CapEff", "CapPrm", "CapBnd"):
                assert re.search(rf"{which}:\s*{NET_RAW_ONLY}$", status, re.MULTILINE), status
            assert re.search(r"CapInh:\s*0+$", status, re.MULTILINE)
            assert re.search(r"NoNewPrivs:\s*1$", status, re.MULTILINE)
            process.terminate()
            assert process.wait(30) == 0
        await core.until(lambda: "stopped" in core.statuses())
        assert core.bodies(FlowData), "open flows are told at the end"
        await core.server.close()

    run(scenario())


@pytest.mark.root
def test_an_interface_that_goes_down_or_vanishes_is_said_and_taken_up_again(tmp_path: Path, wire: Wire) -> None:
    async def scenario() -> None:
        home = tmp_path / "data"
        core = NotedCore(home)
        await core.server.start()
        with wire.sensor(home):
            await seen(core, wire, "before.example")
            wire.ip("link set v0 down")
            await core.until(lambda: "stopped" in core.statuses())
            await asyncio.sleep(1.5)
            assert core.statuses() == ["started", "stopped"], "said once while it lasts"
            wire.ip("link set v0 up")
            await seen(core, wire, "between.example")
            wire.ip("link del v0")
            await core.until(lambda: core.statuses().count("stopped") == 2)
            wire.plug_in()
            await seen(core, wire, "after.example")
        gaps = [body for body in core.bodies(StatusData) if body.status == "gap"]
        assert [body.detail for body in gaps] == ["v0: Network is down."] * 2
        assert all(body.gap_s > 0 for body in gaps)
        assert gaps[0].gap_s > 1.5
        await core.server.close()

    run(scenario())


@pytest.mark.root
def test_a_killed_sensor_says_how_long_it_was_away_and_sends_what_it_had_spooled(tmp_path: Path, wire: Wire) -> None:
    async def scenario() -> None:
        home = tmp_path / "data"
        deaf = NotedCore(home, deaf=True)
        await deaf.server.start()
        with wire.sensor(home) as process:
            await seen(deaf, wire, "spooled.example")
            process.send_signal(signal.SIGKILL)
            process.wait()
        await deaf.server.close()
        await asyncio.sleep(1)
        core = NotedCore(home)
        await core.server.start()
        with wire.sensor(home):
            await core.until(lambda: "gap" in core.statuses())
            await core.until(lambda: deaf.records.keys() <= core.records.keys())
        (gap,) = [body for body in core.bodies(StatusData) if body.status == "gap"]
        assert gap.gap_s > 1
        await core.server.close()

    run(scenario())


@pytest.mark.root
def test_no_such_interface_is_said(tmp_path: Path, wire: Wire) -> None:
    with wire.where.inside(), sensor(tmp_path / "data", "--interface", "none9") as process:
        assert process.wait(PATIENCE_S) == 1
    assert "there is no interface none9. See `ip link`." in said(tmp_path / "data")


@pytest.mark.parametrize("what", ["missing", "pipe"])
def test_what_is_no_capture_file_is_said(tmp_path: Path, what: str) -> None:
    path = tmp_path / "source"
    if what == "pipe":
        os.mkfifo(path)
    with sensor(tmp_path / "data", "--replay", str(path)) as process:
        assert process.wait(PATIENCE_S) == 1
    assert f"{path} is no capture file." in said(tmp_path / "data")
    assert "Traceback" not in said(tmp_path / "data")


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_while_core_is_away_the_spool_is_bounded_and_drops_flows_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        home, capture = tmp_path / "data", tmp_path / "many.pcap"
        write_capture(capture, mixed(12_000))
        with sensor(home, "--replay", str(capture), "--speed", "0", THINGWARD_SENSOR__SPOOL_LIMIT_MB="1") as process:
            await until_said(home, "event=replayed")
            (spool,) = (home / "spool").iterdir()
            assert folder_bytes(spool) < 3 << 20, "1 MiB waits; a segment that is not all used up may lie beside it"
            core = NotedCore(home)
            await core.server.start()
            await core.until(lambda: "drops" in core.statuses())
            process.terminate()
            assert process.wait(30) == 0
        numbers = [frame.sequence for frame in core.frames]
        assert numbers == sorted(set(numbers)), "each once, in order"
        assert {body.qname for body in core.bodies(DnsData)} == {f"n{n}.example" for n in range(20)}
        (drops,) = [body for body in core.bodies(StatusData) if body.status == "drops"]
        assert set(drops.counts) == {"priority_0"}
        missing = set(range(1, max(numbers) + 1)) - set(numbers)
        assert len(missing) == drops.counts["priority_0"] > 0
        assert core.statuses()[0] == "started"
        await core.server.close()

    run(scenario())


def test_after_a_kill_the_spool_goes_on_where_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        home, capture = tmp_path / "data", tmp_path / "some.pcap"
        write_capture(capture, mixed(3000))
        with sensor(home, "--replay", str(capture), "--speed", "0") as process:
            await until_said(home, "event=replayed")
            process.send_signal(signal.SIGKILL)
            process.wait()
        write_capture(capture, [])  # what arrives now can only come out of the spool
        core = NotedCore(home)
        await core.server.start()
        with sensor(home, "--replay", str(capture), "--speed", "0"):
            await core.until(lambda: "gap" in core.statuses())
            await core.until(lambda: len(core.bodies(FlowData)) >= 3000)
        numbers = [frame.sequence for frame in core.frames]
        assert numbers == sorted(set(numbers))
        assert {body.qname for body in core.bodies(DnsData)} == {f"n{n}.example" for n in range(20)}
        await core.server.close()

    run(scenario())


@pytest.mark.slow
def test_kill_9_of_sensor_core_and_store_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The same capture gives the same observations: after all the kills every one of them is stored, once."""

    async def expected(capture: Path) -> set[str]:
        home = tmp_path / "calm" / "data"
        home.parent.mkdir()
        core = NotedCore(home)
        await core.server.start()
        with sensor(home, "--replay", str(capture), "--speed", "0"):
            await until_said(home, "event=replayed")
            await core.until(lambda: len(core.bodies(FlowData)) >= 15_000)
        await core.server.close()
        return {event_uid(r.uid) for r in core.records.values() if not isinstance(r.data, StatusData)}

    async def scenario() -> None:
        capture = tmp_path / "much.pcap"
        write_capture(capture, mixed(15_000, names=300), start=time.time() - 60)
        wanted = await expected(capture)
        processes = Processes(tmp_path / "home")
        try:
            processes.start("core", "store")
            arguments = ("--replay", str(capture), "--speed", "0")
            for victim in ("core", "store", "sensor", "core"):
                with sensor(processes.home, *arguments) as process:
                    await asyncio.sleep(1.5)
                    if victim == "sensor":
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                    else:
                        processes.kill(victim)
                        processes.start(victim)
                        await asyncio.sleep(0.5)
            with sensor(processes.home, *arguments):
                events = await stored(processes.settings, wanted)
            uids = [event.uid for event in events]
            assert len(uids) == len(set(uids))
        finally:
            processes.kill_all()

    run(scenario())
