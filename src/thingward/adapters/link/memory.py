"""The link within one process: same promises, no bytes on any wire; the twin for tests."""

from __future__ import annotations

import asyncio

from thingward.adapters.link.frames import LENGTH, decode_frame
from thingward.adapters.link.spool import Spool, memory_spool
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.ports.link import Frame, Handler, Listener


class MemoryLinkServer:
    """Takes what clients that were made with it send, while it is started."""

    def __init__(self, *, name: str = "memory") -> None:
        self.name = name
        self.running = asyncio.Event()
        self.clients: list[MemoryLinkClient] = []
        self._handlers: dict[str, Handler] = {}

    def serve(self, channel: str, handler: Handler) -> None:
        """Register the handler for a channel."""
        self._handlers[channel] = handler

    async def push(self, channel: str, body: bytes) -> int:
        """Send to every client that subscribed."""
        takers = [c.listeners[channel] for c in self.clients if c.is_started and channel in c.listeners]
        if self.running.is_set():
            for listener in takers:
                await listener(body)
            return len(takers)
        return 0

    def cut(self, peer: str) -> None:
        """Let a peer send again what was not acknowledged."""
        for client in self.clients:
            if client.peer == peer:
                client.send_again()

    async def start(self) -> None:
        """Listen."""
        self.running.set()

    async def close(self) -> None:
        """Stop listening."""
        self.running.clear()
        for client in self.clients:
            client.send_again()

    async def handle(self, peer: str, frame: Frame) -> Frame | None:
        """Hand a frame to its channel's handler."""
        if not self.running.is_set():
            raise Unavailable("the other side is away.", hint="Try again.")
        handler = self._handlers.get(frame.channel)
        if handler is None:
            raise InvalidInput(f"nobody serves the channel {frame.channel[:40]!r} here.")
        return await handler(peer, frame)


class MemoryLinkClient:
    """Sends to a server in the same process, at least once and in order."""

    def __init__(self, server: MemoryLinkServer, *, name: str, spool: Spool | None = None) -> None:
        self.listeners: dict[str, Listener] = {}
        self.is_started = False
        self.refused = 0
        self.refusal = ""
        self.spool = spool or memory_spool()
        self._server = server
        self.peer = f"{name}#{self.spool.stream}"
        self._sent = 0
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        server.clients.append(self)

    def subscribe(self, channel: str, listener: Listener) -> None:
        """Hand every push of a channel to this listener."""
        self.listeners[channel] = listener

    async def start(self) -> None:
        """Begin to deliver."""
        if self._task is None:
            self.is_started = True
            self._task = asyncio.create_task(self._deliver(), name=f"link {self.peer}")

    async def send(self, channel: str, body: bytes, *, priority: int = 1) -> int:
        """Spool a batch for delivery."""
        number = self.spool.put(channel, body, priority)
        self._work.set()
        return number

    async def call(self, channel: str, body: bytes, *, timeout_s: float = 10.0) -> bytes:
        """Ask and wait for the answer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._server.running.wait()
                answer = await self._server.handle(self.peer, Frame(kind="call", channel=channel, body=body))
        except TimeoutError:
            raise Unavailable(f"no answer on {channel} within {timeout_s:g} s.", hint="Try again.") from None
        return answer.body if answer else b""

    async def acknowledged(self) -> int:
        """Highest number that the other side holds."""
        return self.spool.acknowledged

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self.is_started = False
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.spool.close()

    def send_again(self) -> None:
        """Begin anew after what was acknowledged."""
        self._sent = 0
        self._work.set()

    async def _deliver(self) -> None:
        while True:
            await self._server.running.wait()
            entry = self.spool.next(max(self.spool.acknowledged, self._sent))
            if entry is None:
                self._work.clear()
                await self._work.wait()
                continue
            try:
                answer = await self._server.handle(self.peer, decode_frame(entry[1][LENGTH.size :]))
                if answer and answer.kind == "seen":
                    self._sent = entry[0]
                    continue
            except ThingwardError as error:
                if error.retryable:
                    await asyncio.sleep(0.01)
                    continue
                self.refused += 1
                self.refusal = f"{error.code}: {error}"
            self.spool.acknowledge(entry[0])
