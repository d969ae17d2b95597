"""Core and store as real processes with a data folder of their own, and a sensor's side of the link."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from thingward.adapters.link.spool import file_spool
from thingward.adapters.link.unix import UnixLinkClient
from thingward.model.codec import encode_batch
from thingward.model.errors import Unavailable
from thingward.model.event import Event
from thingward.model.ids import DEFAULT_TENANT, hashed_uid, record_uid
from thingward.model.ids import event_uid as event_uid_of
from thingward.model.intent import Answer, Intent, IntentBody
from thingward.model.observation import Endpoint, FlowData, IdentityData, Observation
from thingward.model.principal import Role
from thingward.ports.event_store import EventQuery
from thingward.runtime import channels
from thingward.runtime.compose import connect_events
from thingward.runtime.config import Settings, load_settings

DEVICES = 12


class Processes:
    """Starts and kills `core` and `store`."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.settings: Settings = load_settings(overrides={"data_dir": str(home)}, environ={})
        self._environment = {**os.environ, "THINGWARD_ENFORCE__PATH": "off", **environment}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start processes that do not run."""
        for name in names:
            log = (self.home.parent / f"{name}.log").open("ab")
            command = [sys.executable, "-m", f"thingward.apps.{name}", "--data-dir", str(self.home)]
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
            log.close()

    def kill(self, *names: str) -> None:
        """Kill them as `kill -9` does."""
        for name in names:
            self.running[name].kill()
            self.running.pop(name).wait()

    def stop(self) -> None:
        """Stop all, politely."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            assert process.wait(30) == 0
        self.running.clear()

    def kill_all(self) -> None:
        """Leave nothing behind."""
        self.kill(*self.running)


class Sender:
    """A sensor's side: a spool on disk and a link to core."""

    def __init__(self, processes: Processes, name: str = "sensor:test") -> None:
        spool = file_spool(processes.home.parent / name, max_bytes=64 << 20)
        self.settings = processes.settings
        self.link = UnixLinkClient(
            channels.socket_of(processes.settings, "core"), name=name, spool=spool, retry_s=(0.02, 0.2)
        )
        self.sent: dict[int, list[Observation]] = {}
        self._count = 0

    async def send(self, count: int) -> int:
        """Send a batch of flows."""
        batch = [flow(self._count + n) for n in range(count)]
        self._count += count
        number = await self.link.send(channels.OBSERVATIONS, encode_batch(batch), priority=1)
        self.sent[number] = batch
        return number

    def acknowledged(self) -> list[Observation]:
        """Give the observations that core has said to be durable."""
        upto = self.link.spool.acknowledged
        return [o for number, batch in self.sent.items() if number <= upto for o in batch]

    async def drained(self) -> None:
        """Wait until everything is acknowledged."""
        await until(lambda: not self.link.spool.pending)

    async def ask(self, body: IntentBody, uid: str = "", *, timeout_s: float = 10.0) -> Answer:
        """Hand an intent to core, as an admin."""
        intent = Intent(
            uid=uid or hashed_uid("intent", str(random.random())),
            tenant=DEFAULT_TENANT,
            principal="tester",
            role=Role.ADMIN,
            time=time.time(),
            body=body,
        )
        answer = await self.link.call(channels.INTENT, channels.encode_intent(intent), timeout_s=timeout_s)
        return channels.decode_answer(answer)

    async def ask_until_answered(self, body: IntentBody, uid: str) -> Answer:
        """Ask, and again with the same uid while core is away: once is done once."""
        while True:
            try:
                return await self.ask(body, uid)
            except Unavailable:
                await asyncio.sleep(0.05)

    async def status(self) -> channels.CoreStatus:
        """Ask core how it is."""
        return msgspec.msgpack.decode(await self.link.call(channels.STATUS, b""), type=channels.CoreStatus)


def flow(n: int) -> Observation:
    """Give the n-th flow: a device talks to a server on the internet; every device also says its name."""
    now = time.time()
    device = n % DEVICES
    src = Endpoint(mac=f"00:11:22:33:44:{device:02x}", ip=f"192.168.1.{10 + device}", port=10_000 + n % 50_000)
    if n < DEVICES:
        data = IdentityData(protocol="dhcp", attributes=(("dhcp.hostname", f"device-{device}"),))
        return _observation(n, now, src, None, data)
    dst = Endpoint(mac="00:11:22:33:55:01", ip=f"198.51.100.{n % 5}", port=443)
    data = FlowData(
        flow=hashed_uid("flow", str(n)),
        state="whole",
        first=now - 0.5,
        last=now,
        proto=6,
        packets_out=5,
        bytes_out=500,
        packets_in=6,
        bytes_in=900,
        flags_out=0x1B,
        flags_in=0x1B,
        app="tls",
        name=f"cloud{n % 5}.example",
    )
    return _observation(n, now, src, dst, data)


def event_uid(observation: Observation) -> str:
    """Give the uid of the event that an observation becomes."""
    return event_uid_of(observation.uid)


def stored_events(settings: Settings) -> list[Event]:
    """Read all events that the store has, page by page; raises Unavailable if it is away."""
    store = connect_events(settings, "test")
    found: list[Event] = []
    cursor = ""
    while True:
        page = store.query(DEFAULT_TENANT, EventQuery(limit=1000, cursor=cursor))
        found += page.items
        cursor = page.cursor
        if not cursor:
            store.close()
            return found


async def stored(settings: Settings, wanted: set[str]) -> list[Event]:
    """Wait until the store has these events, and give all that it has."""
    while True:
        try:
            events = await asyncio.to_thread(stored_events, settings)
        except Unavailable:
            events = []
        if wanted <= {event.uid for event in events}:
            return events
        await asyncio.sleep(0.3)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _observation(n: int, now: float, src: Endpoint, dst: Endpoint | None, data: FlowData | IdentityData) -> Observation:
    uid = record_uid("test", n)
    return Observation(uid=uid, tenant=DEFAULT_TENANT, time=now, source="sensor:test", src=src, dst=dst, data=data)
