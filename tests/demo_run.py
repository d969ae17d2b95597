"""A running demo for tests and benchmarks: started, asked over its sockets, ended."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.link.unix import UnixLinkClient
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, Intent, IntentBody
from thingward.model.principal import Role
from thingward.ports.enforcer import EnforcerStatus
from thingward.runtime import channels
from thingward.runtime.config import Settings
from thingward.runtime.enforcement import warden_socket
from thingward.runtime.simulated import (
    CHANNEL,
    SimulatorRequest,
    SiteReport,
    simulator_socket,
)

START_S = 120.0


class DemoRun:
    """One demo in a folder; use it with `async with`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "demo.log"
        self.settings = Settings(data_dir=str(folder / "data"))
        self._command = [
            sys.executable, "-m", "thingward.apps.demo", "--port", "0", "--data-dir", self.settings.data_dir, *arguments,
        ]  # fmt: skip
        self.core = UnixLinkClient(channels.socket_of(self.settings, "core"), name="test")
        self.simulator = UnixLinkClient(simulator_socket(self.settings), name="test")
        self._warden_link = UnixLinkClient(warden_socket(self.settings), name="test")
        self.warden = WardenEnforcer(self._warden_link)
        self.process: subprocess.Popen[bytes]

    async def __aenter__(self) -> DemoRun:
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
                self._command, stdout=stream, stderr=subprocess.STDOUT
            )
        return self

    async def __aexit__(self, *exception: object) -> None:
        for link in (self.core, self.simulator, self._warden_link):
            await link.close()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(40)
        finally:
            self.process.kill()
            self.process.wait()

    def text(self) -> str:
        """What it said so far."""
        return self.log.read_text(errors="replace")

    async def until(self, words: str, wait_s: float = START_S) -> str:
        """Wait until it has said something; raises TimeoutError with what it said instead."""
        end = time.monotonic() + wait_s
        while words not in self.text():
            if time.monotonic() > end or self.process.poll() is not None:
                raise TimeoutError(f"it never said {words!r} but: {self.text()[-2000:]}")
            await asyncio.sleep(0.05)
        return self.text()

    async def site(self, step: str = "report", device: str = "") -> SiteReport:
        """Ask the simulator."""
        body = msgspec.msgpack.encode(SimulatorRequest(step=step, device=device))  # type: ignore[arg-type]
        return msgspec.msgpack.decode(await self.simulator.call(CHANNEL, body, timeout_s=30), type=SiteReport)

    async def intend(self, body: IntentBody) -> Answer:
        """Ask core as an admin."""
        intent = Intent(
            uid=secrets.token_hex(16), tenant=DEFAULT_TENANT, principal="test", role=Role.ADMIN, time=time.time(), body=body
        )  # fmt: skip
        answer = await self.core.call(channels.INTENT, channels.encode_intent(intent), timeout_s=30)
        return channels.decode_answer(answer)

    async def enforced(self, wanted: object, wait_s: float = 15.0, every_s: float = 0.02) -> EnforcerStatus:
        """Wait until `wanted(status)` of the warden; gives the last status either way.

        While the warden answers, which takes some 10 ms, it does nothing else: who measures it asks seldom.
        """
        end = time.monotonic() + wait_s
        while True:
            status = await self.warden.status(DEFAULT_TENANT)
            if wanted(status) or time.monotonic() > end:  # type: ignore[operator]
                return status
            await asyncio.sleep(every_s)

    def listing(self) -> str:
        """The kernel's rules inside, without what counts or runs out."""
        command = ["nsenter", "--net", "--target", str(self.process.pid), "nft", "-s", "list", "ruleset"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
