"""A store that is away, a full disk, hostile peers: core goes on as docs/operations.md says."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.e2e.platform_processes import Processes, Sender, event_uid, flow, stored
from thingward.adapters.link.blocking import BlockingLink
from thingward.adapters.link.frames import LENGTH, MAX_FRAME_BYTES, Hello, encode_frame, encode_hello
from thingward.model.codec import encode_batch
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.intent import PutUser
from thingward.model.observation import StatusData
from thingward.model.principal import AuditEntry, Role
from thingward.ports.link import Frame
from thingward.runtime import channels

pytestmark = pytest.mark.servers


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "home")
    yield made
    made.kill_all()


def run(scenario: object) -> None:
    asyncio.run(asyncio.wait_for(scenario, 90))  # type: ignore[arg-type]


def test_while_the_store_is_away_core_acknowledges_and_says_so(processes: Processes) -> None:
    async def scenario() -> None:
        processes.start("core")
        sender = Sender(processes)
        await sender.link.start()
        await sender.send(100)
        await sender.drained()
        while not (await sender.status()).store_away_since:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert any("event store" in line for line in (await sender.status()).problems)
        await sender.send(100)
        await sender.drained()
        processes.kill("core")
        processes.start("core", "store")
        events = await stored(processes.settings, {event_uid(o) for o in sender.acknowledged()})
        assert len({event.uid for event in events}) == len(events)
        while (await sender.status()).store_away_since:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        words = {event.data.status for event in events if isinstance(event.data, StatusData)}
        assert "store_away" in words
        await sender.link.close()

    run(scenario())
    processes.stop()


@pytest.mark.root
def test_on_a_full_disk_nothing_is_acknowledged_and_the_road_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(home)], check=True)
    processes = Processes(home)

    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        await sender.send(200)
        await sender.drained()
        filler = home / "filler"
        fill(filler)
        first_refused = await sender.send(200)
        before = (await sender.status()).stages["inventory"].records_in
        while not (await sender.status()).unsafe_since:
            await sender.send(200)
            await asyncio.sleep(0.05)
        for _ in range(100):
            await sender.send(100)
        while (await sender.status()).stages["inventory"].records_in < before + 10_000:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert sender.link.spool.acknowledged < max(sender.sent)
        refused = await sender.ask(PutUser(name="late", role=Role.VIEWER))
        assert (refused.ok, refused.code) == (False, "engine.unavailable")
        filler.unlink()
        await sender.drained()
        assert first_refused <= sender.link.spool.acknowledged
        assert not (await sender.status()).unsafe_since
        answer = await sender.ask(PutUser(name="late", role=Role.VIEWER))
        assert answer.ok, answer.message
        processes.kill("core")
        processes.start("core")
        events = await stored(processes.settings, {event_uid(o) for o in sender.acknowledged()})
        assert len({event.uid for event in events}) == len(events)
        while not any(said_journal_back(event) for event in events):  # core's own word may come a batch later
            await asyncio.sleep(0.2)
            events = await stored(processes.settings, set())
        await sender.link.close()

    try:
        run(scenario())
    finally:
        processes.kill_all()
        subprocess.run(["umount", str(home)], check=True)


def said_journal_back(event: Event) -> bool:
    """Tell whether core says here for how long the journal could not be written."""
    return isinstance(event.data, StatusData) and event.data.status == "journal_back" and event.data.gap_s > 0


def fill(path: Path) -> None:
    """Take all the space that is left."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    os.write(fd, b"x" * size)
            except OSError:
                continue
    finally:
        os.close(fd)


HOSTILE = {
    "nothing": b"",
    "half a length": b"\0\0",
    "a huge frame": LENGTH.pack(MAX_FRAME_BYTES + 1),
    "no MessagePack": LENGTH.pack(4) + b"\xc1\xc1\xc1\xc1",
    "another type": LENGTH.pack(1) + b"\x90",
    "an unknown kind": encode_frame(Frame(kind="boom")),
    "no greeting": encode_frame(Frame(kind="batch", sequence=1, channel="observations", body=b"\x90")),
    "another version": encode_frame(encode_hello(Hello(version=99))),
    "a server's frame": encode_frame(encode_hello(Hello(name="x"))) + encode_frame(Frame(kind="ack", sequence=1)),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


def test_hostile_peers_are_shut_out_and_others_do_not_notice(processes: Processes) -> None:
    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        await sender.send(50)
        await sender.drained()
        path = channels.socket_of(processes.settings, "core")
        for name, data in HOSTILE.items():
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(10)
            sock.connect(str(path))
            sock.sendall(data)
            if name in ("nothing", "half a length"):
                sock.shutdown(socket.SHUT_WR)
            while await asyncio.to_thread(sock.recv, 4096):
                pass
            sock.close()
        await sender.send(50)
        await sender.drained()
        assert (await sender.status()).counters["link_hostile"] >= len(HOSTILE) - 3
        await sender.link.close()

    run(scenario())


def test_only_observations_get_onto_the_road_from_sensors(processes: Processes) -> None:
    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        forged = AuditEntry(uid="a", tenant="default", time=1.0, source="x", principal="p", action="a")  # type: ignore[arg-type]
        for body in (encode_batch([forged]), encode_batch([flow(1), forged]), b"\xc1", b"", b"\x81\xa1a\x01"):
            await sender.link.send(channels.OBSERVATIONS, body)
        await sender.link.send("no such channel", b"\x90")
        await sender.send(5)
        await sender.drained()
        assert sender.link.refused == 6
        status = await sender.status()
        assert status.counters["batches_refused"] == 5
        events = await stored(processes.settings, {event_uid(o) for o in list(sender.sent.values())[-1]})
        assert event_uid(flow(1)) in {event.uid for event in events}, "the fifth batch holds it"
        await sender.link.close()

    run(scenario())


def test_calls_that_cannot_be_read_get_an_error(processes: Processes) -> None:
    processes.start("core", "store")
    link = BlockingLink(channels.socket_of(processes.settings, "core"), name="test")

    async def wait() -> None:
        sender = Sender(processes)
        await sender.link.call(channels.PING, b"", timeout_s=20)
        await sender.link.close()

    run(wait())
    for body in (b"", b"\xc1", msgspec.msgpack.encode({"uid": 1})):
        with pytest.raises(InvalidInput):
            link.call(channels.INTENT, body)
    store = BlockingLink(channels.socket_of(processes.settings, "store"), name="test")
    for body in (b"", msgspec.msgpack.encode({"type": "drop_table"})):
        with pytest.raises(InvalidInput):
            store.call(channels.QUERY, body)
    link.close()
    store.close()
    processes.stop()
