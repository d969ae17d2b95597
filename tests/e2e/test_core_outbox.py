"""Messages to people from a running core: the budget of the settings holds over a restart."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from tests.e2e.platform_processes import Processes, Sender, flow, until
from thingward.model.codec import encode_batch
from thingward.model.finding import Case
from thingward.model.ids import DEFAULT_TENANT, Uid, hashed_uid
from thingward.model.intent import ImportPack, PutSetting
from thingward.model.observation import Endpoint, FlowData, Observation
from thingward.ports.control_store import ControlStore
from thingward.runtime import channels
from thingward.runtime.compose import open_control_reader
from thingward.runtime.notify import OutboxFile

pytestmark = pytest.mark.servers

BUDGET = 3


@pytest.fixture
def titles() -> Iterator[tuple[list[str], str]]:
    """A webhook's receiver: the titles that came, and its address."""
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            came.append(body["message"]["title"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield came, f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def bad_flow(n: int, device: int) -> Observation:
    """Give a flow of a device to the address that the list names."""
    now = time.time()
    seen = flow(1000 + n)
    assert isinstance(seen.data, FlowData)
    data = msgspec.structs.replace(seen.data, flow=hashed_uid("bad", str(n)), first=now, last=now, name="")
    return msgspec.structs.replace(
        seen, uid=Uid(f"bad-{n}"), time=now, data=data,
        src=Endpoint(mac=f"00:11:22:33:44:{device:02x}", ip=f"192.168.1.{10 + device}", port=20_000 + n),
        dst=Endpoint(mac="00:11:22:33:55:01", ip="45.33.32.156", port=443),
    )  # fmt: skip


def cases(control: ControlStore) -> int:
    return control.count(DEFAULT_TENANT, Case)


def test_the_budget_of_the_settings_holds_over_a_restart(tmp_path: Path, titles: tuple[list[str], str]) -> None:
    came, url = titles
    environment = {"THINGWARD_NOTIFY__DAILY_BUDGET": str(BUDGET), "THINGWARD_NOTIFY__WEBHOOK__URL": url}
    # Late, so that the digest seldom comes within this test; where it does, it tells how many it holds.
    processes = Processes(tmp_path / "home", THINGWARD_NOTIFY__DIGEST_HOUR="23", **environment)
    numbers = iter(range(10_000))

    async def misbehave(sender: Sender, devices: range) -> None:
        batch = [bad_flow(next(numbers), device) for device in devices for _ in range(3)]
        number = await sender.link.send(channels.OBSERVATIONS, encode_batch(batch), priority=1)
        sender.sent[number] = batch
        await sender.drained()

    def immediate() -> list[str]:
        return [title for title in came if "quieter messages" not in title]

    def put_aside(file: OutboxFile) -> int:
        told = (re.search(r"(\d+) quieter messages", title) for title in came)
        return len(file.load().waiting) + sum(int(found[1]) for found in told if found)

    async def scenario() -> None:
        processes.start("core", "store")
        sender = Sender(processes)
        await sender.link.start()
        assert (await sender.ask(ImportPack(name="bad", text=b"45.33.32.156\n"), "pack", timeout_s=30)).ok
        control = open_control_reader(processes.settings)
        await misbehave(sender, range(6))
        await until(lambda: cases(control) >= 6 and len(immediate()) >= BUDGET)
        file = OutboxFile(tmp_path / "home" / "people")
        await until(lambda: file.load().sent_today == BUDGET and put_aside(file) >= 6 - BUDGET)
        processes.kill("core")  # not told to stop: what was kept while it ran is what counts
        processes.start("core")
        await misbehave(sender, range(6, 12))
        await until(lambda: cases(control) >= 12)
        await until(lambda: put_aside(file) >= 12 - BUDGET or len(immediate()) > BUDGET)
        assert len(immediate()) == BUDGET
        answer = await sender.ask(PutSetting(name="notify.daily_budget", value=str(BUDGET + 2)), "more")
        assert answer.ok, answer.message
        await misbehave(sender, range(12, 18))
        await until(lambda: cases(control) >= 18 and len(immediate()) >= BUDGET + 2)
        processes.stop()
        processes.start("core", "store")  # a setting that was changed while it ran holds after a restart too
        await misbehave(sender, range(18, 20))
        await until(lambda: cases(control) >= 20)
        await until(lambda: put_aside(file) >= 20 - BUDGET - 2 or len(immediate()) > BUDGET + 2)
        assert len(immediate()) == BUDGET + 2
        control.close()
        await sender.link.close()

    try:
        asyncio.run(asyncio.wait_for(scenario(), 120))
        processes.stop()
    finally:
        processes.kill_all()
