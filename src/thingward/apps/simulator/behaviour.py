"""What a simulated device does while it is itself: it takes an address, announces itself, and calls whom it knows."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from thingward.apps.simulator import messages
from thingward.apps.simulator.cloud import listen, serve_http
from thingward.apps.simulator.network import SampleNetwork
from thingward.apps.simulator.site import ROUTER, Listen, SimDevice, Talk

ANSWER_S: Final = 3.0
ANNOUNCE_S: Final = 300.0
LEAST_S: Final = 1.0
TELNET_PAIR: Final = (b"root", b"xc3511")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class DeviceLife:
    """Runs one device.

    Attributes:
        done: what worked. failed: what did not: calls by their peer. reasons: why the last one did not.
    """

    def __init__(
        self, device: SimDevice, network: SampleNetwork, authority: str, *, speed: float, draw: random.Random
    ) -> None:
        self.device = device
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._network = network
        self._namespace = network.devices[device.key]
        self._context = ssl.create_default_context(cadata=authority)
        self._speed = speed
        self._draw = draw
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._sessions: dict[Talk, Streams] = {}

    async def start(self) -> None:
        """Get an address, then begin to live."""
        await self._take_address()
        for service in self.device.listens:
            self._servers.append(await listen(self._namespace, service.port, _serve(service)))
        self._spawn(self._announce())
        for talk in self.device.talks:
            self._spawn(self._repeat(talk))

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            server.close()
        for _, writer in self._sessions.values():
            writer.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _take_address(self) -> None:
        try:
            await self._ask_dhcp()
            self.done["dhcp"] += 1
        except (OSError, TimeoutError):
            self.failed["dhcp"] += 1
        self._network.give_address(self.device.key, self.device.address)

    async def _ask_dhcp(self) -> None:
        sock = self._namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            sock.bind(("0.0.0.0", 68))
            number = self._draw.getrandbits(32)
            for kind, expected in (
                (messages.DHCP_DISCOVER, messages.DHCP_OFFER),
                (messages.DHCP_REQUEST, messages.DHCP_ACK),
            ):
                sock.sendto(messages.dhcp_request(self.device, kind, number, ROUTER), ("255.255.255.255", 67))
                async with asyncio.timeout(ANSWER_S):
                    while messages.dhcp_kind(await asyncio.get_running_loop().sock_recv(sock, 2048)) != expected:
                        pass
        finally:
            sock.close()

    async def _repeat(self, talk: Talk) -> None:
        period_s = max(LEAST_S, talk.every_s / self._speed)
        await asyncio.sleep(self._draw.uniform(0.2, 0.2 + min(period_s, 8.0)))
        while True:
            try:
                await self._call(talk)
                self.done[talk.peer] += 1
            except (OSError, TimeoutError, EOFError) as error:
                self.failed[talk.peer] += 1
                self.reasons[talk.peer] = f"{type(error).__name__}: {error}"[:200]
                self._hang_up(talk)
            await asyncio.sleep(period_s * self._draw.uniform(0.8, 1.2))

    async def _call(self, talk: Talk) -> None:
        async with asyncio.timeout(4 * ANSWER_S):
            address = await self._locate(talk.peer)
            if talk.way in ("ntp", "udp"):
                await self._ask_datagram(talk, address)
            elif talk.way in ("mqtt", "mqtts"):
                await self._publish(talk, address)
            else:
                await self._ask_stream(talk, address)

    async def _locate(self, peer: str) -> str:
        if peer.startswith("device:"):
            found = self._network.site.device(peer.removeprefix("device:"))
            return found.address if found else ROUTER
        query = messages.dns_query(self._draw.getrandbits(16), peer)
        found_addresses = messages.dns_addresses(await self._exchange(ROUTER, 53, query))
        if not found_addresses:
            raise OSError(f"{peer} does not resolve")
        return found_addresses[0]

    async def _exchange(self, address: str, port: int, data: bytes) -> bytes:
        sock = self._namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.connect((address, port))
            sock.send(data)
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.get_running_loop().sock_recv(sock, 2048)
        finally:
            sock.close()

    async def _ask_datagram(self, talk: Talk, address: str) -> None:
        data = messages.ntp_packet(time.time()) if talk.way == "ntp" else b"simulated".ljust(talk.up, b"\0")
        await self._exchange(address, talk.port, data)

    async def _connect(self, talk: Talk, address: str) -> Streams:
        sock = self._namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, talk.port))
        except BaseException:
            sock.close()
            raise
        if talk.way in ("tls", "mqtts"):
            return await asyncio.open_connection(sock=sock, ssl=self._context, server_hostname=talk.peer)
        return await asyncio.open_connection(sock=sock)

    async def _ask_stream(self, talk: Talk, address: str) -> None:
        reader, writer = await self._connect(talk, address)
        try:
            if talk.way == "http":
                writer.write(messages.http_request(self.device, talk.peer.removeprefix("device:"), talk.path))
                await reader.read()
            elif talk.way == "tls":
                writer.write(b"%d %d\n" % (talk.up, talk.down) + bytes(talk.up))
                await reader.readexactly(talk.down)
            elif talk.port == 554:
                writer.write(b"OPTIONS rtsp://camera/live RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: dvr\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
            else:
                writer.write(b'{"system":{"get_sysinfo":null}}\n')
                await reader.readline()
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()

    async def _publish(self, talk: Talk, address: str) -> None:
        if talk not in self._sessions:
            reader, writer = await self._connect(talk, address)
            writer.write(messages.mqtt_connect(self.device.hostname, self.device.key))
            await reader.readexactly(4)
            self._sessions[talk] = reader, writer
        reader, writer = self._sessions[talk]
        writer.write(messages.mqtt_publish(f"site/{self.device.key}/state", b"simulated".ljust(talk.up, b".")))
        writer.write(b"\xc0\x00")
        async with asyncio.timeout(ANSWER_S):
            await reader.readexactly(2)

    def _hang_up(self, talk: Talk) -> None:
        session = self._sessions.pop(talk, None)
        if session is not None:
            session[1].close()

    async def _announce(self) -> None:
        groups: list[tuple[bytes, str, int]] = []
        if self.device.mdns:
            groups.append((messages.mdns_announcement(self.device), "224.0.0.251", 5353))
        if self.device.ssdp[0]:
            groups.append((messages.ssdp_notify(self.device), "239.255.255.250", 1900))
        while groups:
            await asyncio.sleep(self._draw.uniform(0.2, 1.5))
            for data, group, port in groups:
                with contextlib.suppress(OSError):
                    self._tell(data, group, port)
            await asyncio.sleep(max(5.0, ANNOUNCE_S / self._speed))

    def _tell(self, data: bytes, group: str, port: int) -> None:
        sock = self._namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
            sock.bind((self.device.address, port))
            sock.sendto(data, (group, port))
        finally:
            sock.close()


def _serve(service: Listen) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(service.banner.encode() + b"\n")
            await writer.drain()

    async def rtsp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE\r\n\r\n")
        await writer.drain()

    async def telnet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            writer.write(service.banner.encode())
            user = (await reader.readline()).strip()
            writer.write(b"Password: ")
            password = (await reader.readline()).strip()
            if (user, password) == TELNET_PAIR:
                writer.write(b"\r\nBusyBox v1.16.1 built-in shell (ash)\r\n# ")
                await reader.readline()
                return
            writer.write(b"\r\nLogin incorrect\r\n")
            await writer.drain()

    if service.what == "http":
        return serve_http(service.banner)
    return {"lines": lines, "rtsp": rtsp, "telnet": telnet}[service.what]
