"""The smallest shell that can be put around the MQTT machine: asyncio streams in a thread, for tests alone."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from thingward.model.topic_access import AccessSnapshot, TopicDecision
from thingward.policy.topics import Buckets, Rulebook, TopicGate
from thingward.wire.mqtt_commands import (
    Admission,
    Arrived,
    Close,
    Command,
    Judged,
    Opened,
    Pause,
    ProxyLimits,
    Resume,
    Side,
    ToBroker,
    ToClient,
)
from thingward.wire.mqtt_packets import Connect
from thingward.wire.mqtt_proxy import MqttProxy


class Pump:
    """Listens on a port of its own and proxies to a broker, by a snapshot that can be exchanged.

    Attributes:
        told: every command that is neither bytes nor a pause, of all connections.
    """

    def __init__(self, broker_port: int, snapshot: AccessSnapshot, limits: ProxyLimits | None = None) -> None:
        self.broker_port, self.limits = broker_port, limits
        self.book, self.buckets = Rulebook(snapshot), Buckets(snapshot, 0.0)
        self.told: list[Command] = []
        self.sessions: dict[str, Session] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pump:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(task)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await Session(self, reader, writer).run()

    def judged(self) -> list[tuple[str, str, str]]:
        """What was told so far: operation, topic, reason."""
        return [
            (each.request.operation.value, each.request.topic, each.decision.reason)
            for each in self.told
            if isinstance(each, Judged)
        ]

    def adopt(self, snapshot: AccessSnapshot) -> None:
        """Give all connections new rules."""
        self._ask(self._adopt(snapshot))

    def kick(self, client_id: str, reason: str) -> None:
        """End one connection."""
        session = self.sessions[client_id]
        self._ask(session.carry_out(session.proxy.kick(reason)))

    async def _adopt(self, snapshot: AccessSnapshot) -> None:
        self.book = Rulebook(snapshot)
        for session in self.sessions.values():
            rules = self.book.rules(session.device)
            session.gate.adopt(rules, self.buckets, self._loop.time())

    def _ask(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class Session:
    """One client's connection; its client id is taken for the device."""

    def __init__(self, pump: Pump, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pump, self.reader, self.writer = pump, reader, writer
        self.upstream: asyncio.StreamWriter | None = None
        self.proxy = MqttProxy(self.admit, pump.limits)
        self.loop = asyncio.get_running_loop()
        self.may_read = {side: asyncio.Event() for side in Side}
        for event in self.may_read.values():
            event.set()
        self.tasks: list[asyncio.Task[None]] = []
        self.device = ""

    def admit(self, connect: Connect, now: float) -> Admission:
        self.device = connect.client_id
        self.gate = TopicGate(self.pump.book.rules(self.device, connect.client_id), self.pump.buckets, now)
        return Admission(decision=TopicDecision(True, "granted"), gate=self.gate, device=self.device)

    async def run(self) -> None:
        await self.read(self.reader, Side.CLIENT)
        for task in self.tasks:
            task.cancel()

    async def read(self, reader: asyncio.StreamReader, side: Side) -> None:
        feed = self.proxy.feed_client if side is Side.CLIENT else self.proxy.feed_broker
        while True:
            await self.may_read[side].wait()
            try:
                data = await reader.read(65_536)
            except ConnectionError:
                data = b""
            await self.carry_out(feed(data, self.loop.time()) if data else self.proxy.lost(side))
            if not data:
                return

    async def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case ToClient(data):
                    self.writer.write(data)
                case ToBroker(data):
                    assert self.upstream is not None
                    self.upstream.write(data)
                case Pause(side, seconds):
                    self.may_read[side].clear()
                    if seconds:
                        self.tasks.append(asyncio.create_task(self.resume(seconds)))
                case Resume(side):
                    self.may_read[side].set()
                case _:
                    self.pump.told.append(command)
                    await self.turn(command)
        for writer in (self.writer, self.upstream):
            if writer is not None and not writer.is_closing():
                with contextlib.suppress(ConnectionError):
                    await writer.drain()

    async def turn(self, command: Command) -> None:
        if isinstance(command, Arrived) and not command.decision.refuses:
            reader, self.upstream = await asyncio.open_connection("127.0.0.1", self.pump.broker_port)
            self.tasks.append(asyncio.create_task(self.read(reader, Side.BROKER)))
        elif isinstance(command, Opened):
            self.pump.sessions[command.client_id] = self
        elif isinstance(command, Close):
            self.writer.close()
            if self.upstream is not None:
                self.upstream.close()

    async def resume(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.carry_out(self.proxy.resume(self.loop.time()))
