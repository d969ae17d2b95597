"""Listen for syslog over UDP and TCP: bounded in connections, message size and what waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from thingward.model.errors import InvalidInput, Unavailable
from thingward.wire.syslog_frames import SyslogFramer

MAX_CONNECTIONS: Final = 256
MAX_WAITING: Final = 20_000
MAX_WAITING_BYTES: Final = 16 << 20
IDLE_S: Final = 900.0


class SyslogListener:
    """Takes messages until somebody fetches them with `take`.

    Attributes:
        dropped: reason to count of messages and connections that a bound refused.
    """

    def __init__(self, address: str) -> None:
        self.dropped: dict[str, int] = {}
        self.arrived = asyncio.Event()
        self._host, self._port = parse_address(address)
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen on both; gives the port. Raises Unavailable if the address is taken or not ours."""
        loop = asyncio.get_running_loop()
        try:
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(self._host, self._port)
            )
            port = int(self._datagrams.get_extra_info("sockname")[1])
            self._server = await asyncio.start_server(self._welcome, self._host, port)
        except OSError as error:
            await self.close()
            raise Unavailable(
                f"cannot listen for syslog on {self._host}:{self._port}: {error.strerror}.",
                hint="See sensor.syslog_listen.",
            ) from error
        return port

    def take(self, most: int) -> list[tuple[str, bytes]]:
        """Give (sender's address, message) in the order of arrival."""
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._bytes -= sum(len(message) for _, message in taken)
        if not self._waiting:
            self.arrived.clear()
        return taken

    def put(self, sender: str, message: bytes) -> None:
        """Keep one message; the newest is refused when too much waits."""
        if len(self._waiting) >= MAX_WAITING or self._bytes + len(message) > MAX_WAITING_BYTES:
            self.drop("messages")
            return
        self._waiting.append((sender, message))
        self._bytes += len(message)
        self.arrived.set()

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what was refused."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    async def close(self) -> None:
        """Stop listening."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            self.drop("connections")
            writer.close()
            return
        self._connections.add(task)
        framer = SyslogFramer()
        sender = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await self._converse(reader, framer, sender)
        finally:
            if framer.dropped:
                self.drop("long messages", framer.dropped)
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, framer: SyslogFramer, sender: str) -> None:
        while True:
            async with asyncio.timeout(IDLE_S):
                data = await reader.read(65536)
            for message in framer.feed(data) if data else framer.finish():
                self.put(sender, message)
            if not data:
                return


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, listener: SyslogListener) -> None:
        self._listener = listener

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._listener.put(str(addr[0]), data)


def parse_address(address: str) -> tuple[str, int]:
    """Read `host:port` or `[host]:port`; raises InvalidInput."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"sensor.syslog_listen: {address!r} is no address.", hint="For example 127.0.0.1:5514.")
    return host.strip("[]"), int(port)
