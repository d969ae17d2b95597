"""The sample site in motion: network, cloud, router services, devices, and the attack when somebody asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from thingward.apps.simulator.attack import MiraiLike
from thingward.apps.simulator.behaviour import DeviceLife
from thingward.apps.simulator.cloud import Cloud
from thingward.apps.simulator.network import SampleNetwork
from thingward.apps.simulator.resolver import router_services
from thingward.apps.simulator.site import SampleSite, SimDevice
from thingward.model.errors import NotFound
from thingward.runtime.simulated import AttackReport, BeatReport, SiteReport

HEARTBEAT_S: Final = 0.002
NEWS_MAX: Final = 200

Tell = Callable[[float, str], None]


class LiveSite:
    """Runs a sample site in the namespace in which this process is; `tell` hears what happens."""

    def __init__(
        self, site: SampleSite, folder: Path, snippet: Path, tell: Tell, *, speed: float = 12.0, stand_in: bool = False
    ) -> None:
        self.site = site
        self.news: deque[tuple[float, str]] = deque(maxlen=NEWS_MAX)
        self._tell = tell
        self._network = SampleNetwork(site)
        self._cloud = Cloud(site, self._network.cloud)
        self._router = router_services(site, folder, snippet, stand_in=stand_in)
        self._speed = speed
        self._lives: dict[str, DeviceLife] = {}
        self._attack: MiraiLike | None = None
        self._attacking: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._beats = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def build(self) -> None:
        """Lay the wires and start cloud and router; raises UnsupportedHere where the machine does not let us."""
        self._network.build()
        await self._cloud.start()
        await self._router.start()

    async def begin(self) -> None:
        """Let everybody live; nothing happens if they do."""
        if self._lives:
            return
        for device in self.site.devices:
            draw = random.Random(f"{self.site.seed}/{device.key}")  # noqa: S311 - a simulation must repeat itself
            self._lives[device.key] = DeviceLife(
                device, self._network, self._cloud.authority, speed=self._speed, draw=draw
            )
        await asyncio.gather(*(life.start() for life in self._lives.values()))
        self.tell(f"{len(self._lives)} simulated devices live behind {self._router.name}")

    async def close(self) -> None:
        """Stop everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(life.close() for life in self._lives.values()))
        await self._router.close()
        await self._cloud.close()
        self._network.close()

    def attack(self, key: str = "") -> SimDevice:
        """Let a device turn bad (the site's rogue if none is named); while one attacks, that one goes on.

        Raises:
            NotFound: there is no such simulated device.
        """
        if self._attack is not None and self._attack.phase not in ("over", "waiting"):
            return self._attack.device
        device = self._named(key)
        draw = random.Random(f"{self.site.seed}/attack/{time.time_ns()}")  # noqa: S311
        self._attack = MiraiLike(self.site, device, self._network.devices[device.key], draw=draw, tell=self.tell)
        self.tell(f"{device.hostname} turns bad (simulated)")
        self._attacking = self._spawn(self._attack.run())
        return device

    def calm(self) -> None:
        """End an attack and a heartbeat."""
        for task in (self._attacking, self._beating):
            if task is not None:
                task.cancel()
        if self._attack is not None:
            self._attack.phase = "over"

    def beat(self, key: str = "") -> None:
        """Let a device send small packets at a steady rate until `calm`; raises NotFound."""
        if self._beating is not None:
            self._beating.cancel()
        self._beats = self._cloud.sink.packets = 0
        self._cloud.sink.last = 0.0
        self._beating = self._spawn(self._beat(self._named(key)))

    def _named(self, key: str) -> SimDevice:
        device = self.site.device(key) if key else self.site.rogue
        if device is None:
            raise NotFound(f"there is no simulated device {key}.")
        return device

    def background(self, packets_per_s: float) -> None:
        """Let the hub stream to the cloud at this rate, as load."""
        self._spawn(self._stream(packets_per_s))

    def tell(self, text: str) -> None:
        """Take note of something."""
        now = time.time()
        self.news.append((now, text))
        self._tell(now, text)

    def report(self) -> SiteReport:
        """Tell how the site is."""
        attack = self._attack
        sink = self._cloud.sink
        return SiteReport(
            devices={device.key: device.address for device in self.site.devices},
            resolver=self._router.name,
            done={key: dict(life.done) for key, life in self._lives.items()},
            failed={key: dict(life.failed) for key, life in self._lives.items() if life.failed},
            reasons={key: dict(life.reasons) for key, life in self._lives.items() if life.reasons},
            news=tuple(self.news),
            attack=AttackReport(
                device=attack.device.address,
                phase=attack.phase,
                began=attack.began,
                sent=attack.sent,
            )
            if attack
            else None,
            beat=BeatReport(sent=self._beats, arrived=sink.packets, ended=sink.last) if self._beats else None,
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _beat(self, device: SimDevice) -> None:
        sock = self._network.devices[device.key].socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            while True:
                with contextlib.suppress(OSError):
                    sock.sendto(b"beat", (next(iter(self.site.names.values()))[0], 9))
                    self._beats += 1
                await asyncio.sleep(HEARTBEAT_S)
        finally:
            sock.close()

    async def _stream(self, packets_per_s: float) -> None:
        sock = self._network.devices["hub"].socket(socket.AF_INET, socket.SOCK_DGRAM)
        target = (next(iter(self.site.names.values()))[0], 32100)
        loop, sent, began = asyncio.get_running_loop(), 0, asyncio.get_running_loop().time()
        try:
            while True:
                due = int((loop.time() - began) * packets_per_s)
                for _ in range(min(due - sent, 100)):
                    with contextlib.suppress(OSError):
                        sock.sendto(bytes(200), target)
                sent = due
                await asyncio.sleep(0.004)
        finally:
            sock.close()
