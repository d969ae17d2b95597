"""The link protocol over any pair of byte streams: who connects, who listens, nothing about sockets.

`unix.py` brings Unix sockets; mutual TLS between machines needs a `Connect`, a `Listen` and an `Identify` of its own.

A connection: hello both ways; then batches up and acks down in order, calls and answers paired by number, pushes down.
A frame that is too long or cannot be read ends the connection: nobody knows where the next one would begin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from thingward.adapters.link.frames import (
    MAX_FRAME_BYTES,
    Hello,
    decode_error,
    decode_hello,
    encode_error,
    encode_frame,
    encode_hello,
    read_frame,
)
from thingward.adapters.link.spool import Spool, memory_spool
from thingward.model.errors import Forbidden, InvalidInput, LimitExceeded, ThingwardError, Unavailable
from thingward.ports.link import Frame, Handler, Listener

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
Welcome = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[[Welcome], Awaitable[asyncio.AbstractServer]]
#: Gives the name that the transport vouches for, or "" if the peer may name itself; raises Forbidden.
Identify = Callable[[asyncio.StreamWriter], str]

HELLO_TIMEOUT_S: Final = 5.0
MAX_PEERS: Final = 64
MAX_CALLS: Final = 64
WINDOW: Final = 64
WINDOW_BYTES: Final = 8 << 20
PUSH_BUFFER_BYTES: Final = 1 << 20
ANSWER_BUFFER_BYTES: Final = 64 << 20
RETRY_S: Final = (0.05, 2.0)


class StreamLinkClient:
    """The side that connects.

    Attributes:
        refused: batches that the other side will never take, with its last reason; they left the spool.
        connected: set while the greeting is done and the connection stands.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        name: str,
        spool: Spool | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        retry_s: tuple[float, float] = RETRY_S,
    ) -> None:
        self.refused = 0
        self.refusal = ""
        self.connected = asyncio.Event()
        self.spool = spool or memory_spool()
        self._connect = connect
        self._name = name
        self._limit = max_frame_bytes
        self._retry_s = retry_s
        self._delay_s = retry_s[0]
        self._listeners: dict[str, Listener] = {}
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._next_call = 0
        self._writer: asyncio.StreamWriter | None = None
        self._work = asyncio.Event()
        self._inflight: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, channel: str, listener: Listener) -> None:
        """Hand every push of a channel to this listener; call it before `start`."""
        self._listeners[channel] = listener

    async def start(self) -> None:
        """Begin to connect, and connect again whenever the connection is lost."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"link {self._name}")

    async def send(self, channel: str, body: bytes, *, priority: int = 1) -> int:
        """Spool a batch; raises InvalidInput if it is larger than a frame may be."""
        if len(body) > self._limit - 1024:
            raise InvalidInput(f"a batch of {len(body)} bytes is too large for the link.", hint="Send smaller ones.")
        number = self.spool.put(channel, body, priority)
        self._work.set()
        return number

    async def call(self, channel: str, body: bytes, *, timeout_s: float = 10.0) -> bytes:
        """Ask and wait; while the other side is away this waits for it within the timeout."""
        await self.start()
        try:
            async with asyncio.timeout(timeout_s):
                await self.connected.wait()
                self._next_call += 1
                number = self._next_call
                future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                self._calls[number] = future
                try:
                    await self._write(Frame(kind="call", sequence=number, channel=channel, body=body))
                    return await future
                finally:
                    self._calls.pop(number, None)
        except TimeoutError:
            raise Unavailable(f"no answer on {channel} within {timeout_s:g} s.", hint="Try again.") from None

    async def acknowledged(self) -> int:
        """Highest number that the other side holds durably."""
        return self.spool.acknowledged

    async def close(self) -> None:
        """Stop; the spool stays on disk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.spool.close()

    async def _run(self) -> None:
        while True:
            try:
                async with self._connection() as reader:
                    await self._converse(reader)
            except (OSError, EOFError, ThingwardError, TimeoutError):
                pass  # whatever it was, the answer is to connect again
            await asyncio.sleep(self._delay_s)
            self._delay_s = min(self._delay_s * 2, self._retry_s[1])

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncio.StreamReader]:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            reader, writer = await self._connect()
        try:
            hello = Hello(name=self._name, stream=self.spool.stream, subscribe=tuple(self._listeners))
            writer.write(encode_frame(encode_hello(hello)))
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                decode_hello(await read_frame(reader, self._limit))
            self._writer = writer
            self.connected.set()
            yield reader
        finally:
            self.connected.clear()
            self._writer = None
            self._inflight.clear()
            writer.close()
            for future in self._calls.values():
                if not future.done():
                    future.set_exception(Unavailable("the other side went away.", hint="Try again."))

    async def _converse(self, reader: asyncio.StreamReader) -> None:
        sender = asyncio.create_task(self._send_spooled())
        try:
            while True:
                await self._take(await read_frame(reader, self._limit))
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)  # unlike suppress, lets our own end through

    async def _take(self, frame: Frame) -> None:
        if frame.kind in ("ack", "answer"):
            self._delay_s = self._retry_s[0]
        if frame.kind == "ack":
            self._acknowledge(frame)
        elif frame.kind == "seen":
            self._leave_window(frame.sequence)
        elif frame.kind == "answer":
            future = self._calls.get(frame.sequence)
            if future is not None and not future.done():
                if frame.error:
                    future.set_exception(decode_error(frame.error))
                else:
                    future.set_result(frame.body)
        elif frame.kind == "push" and frame.channel in self._listeners:
            await self._listeners[frame.channel](frame.body)

    def _acknowledge(self, frame: Frame) -> None:
        if frame.error:
            self.refused += 1
            self.refusal = frame.error
        self.spool.acknowledge(frame.sequence)
        self._leave_window(frame.sequence)

    def _leave_window(self, upto: int) -> None:
        for number in [number for number in self._inflight if number <= upto]:
            del self._inflight[number]
        self._work.set()

    async def _send_spooled(self) -> None:
        sent = self.spool.acknowledged
        while True:
            self._work.clear()
            while len(self._inflight) < WINDOW and sum(self._inflight.values()) < WINDOW_BYTES:
                entry = self.spool.next(sent)
                if entry is None or self._writer is None:
                    break
                sent, data = entry
                self._inflight[sent] = len(data)
                self._writer.write(data)
                await self._writer.drain()
            await self._work.wait()

    async def _write(self, frame: Frame) -> None:
        if self._writer is None:
            raise Unavailable("the other side went away.", hint="Try again.")
        try:
            self._writer.write(encode_frame(frame, self._limit))
            await self._writer.drain()
        except OSError as error:
            raise Unavailable("the other side went away.", hint="Try again.") from error


class StreamLinkServer:
    """The side that listens.

    Attributes:
        hostile: connections ended because of a frame that no honest peer sends.
        missed: pushes that a peer did not get because it reads too slowly.
    """

    def __init__(
        self,
        listen: Listen,
        *,
        name: str,
        identify: Identify | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_peers: int = MAX_PEERS,
    ) -> None:
        self.hostile = 0
        self.missed = 0
        self._listen = listen
        self._name = name
        self._identify = identify
        self._limit = max_frame_bytes
        self._max_peers = max_peers
        self._handlers: dict[str, Handler] = {}
        self._peers: dict[_Peer, asyncio.Task[None]] = {}
        self._server: asyncio.AbstractServer | None = None

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of those connected, `<name>#<stream>`."""
        return tuple(peer.name for peer in self._peers)

    def has_subscribers(self, channel: str) -> bool:
        """Tell whether anybody would get a push on this channel."""
        return any(channel in peer.subscribed for peer in self._peers)

    def serve(self, channel: str, handler: Handler) -> None:
        """Register the handler for a channel."""
        self._handlers[channel] = handler

    async def push(self, channel: str, body: bytes) -> int:
        """Send to every peer that subscribed; one that reads too slowly misses it, and that is counted."""
        takers = [peer for peer in self._peers if channel in peer.subscribed]
        if not takers:
            return 0
        data = encode_frame(Frame(kind="push", channel=channel, body=body), self._limit)
        taken = sum(peer.offer(data, PUSH_BUFFER_BYTES) for peer in takers)
        self.missed += len(takers) - taken
        return taken

    def cut(self, peer: str) -> None:
        """End a peer's connection: it comes back and sends again what was not acknowledged."""
        for connected, task in self._peers.items():
            if connected.name == peer:
                task.cancel()

    async def start(self) -> None:
        """Listen."""
        self._server = await self._listen(self._welcome)

    async def close(self) -> None:
        """Stop listening and close all peers."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._peers.values()):
            task.cancel()
        await asyncio.gather(*self._peers.values(), return_exceptions=True)
        self._server = None

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: _Peer | None = None
        try:
            peer = await self._greet(reader, writer)
            task = asyncio.current_task()
            assert task is not None
            self._peers[peer] = task
            await peer.converse(reader)
        except InvalidInput:
            self.hostile += 1
        except (OSError, EOFError, TimeoutError, ThingwardError, asyncio.CancelledError):
            pass  # gone, refused or closed by us: the peer connects again if it wants to
        finally:
            if peer is not None:
                self._peers.pop(peer, None)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Peer:
        vouched = self._identify(writer) if self._identify else ""
        if len(self._peers) >= self._max_peers:
            raise LimitExceeded("too many peers.")
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            hello = decode_hello(await read_frame(reader, min(self._limit, 64 << 10)))
        if vouched and hello.name != vouched:
            raise Forbidden(f"{hello.name} is not {vouched}.")
        writer.write(encode_frame(encode_hello(Hello(name=self._name))))
        return _Peer(f"{hello.name}#{hello.stream}", frozenset(hello.subscribe), writer, self._handlers, self._limit)


class _Peer:
    """One connection on the listening side."""

    def __init__(
        self,
        name: str,
        subscribed: frozenset[str],
        writer: asyncio.StreamWriter,
        handlers: dict[str, Handler],
        limit: int,
    ) -> None:
        self.name = name
        self.subscribed = subscribed
        self._writer = writer
        self._handlers = handlers
        self._limit = limit
        self._batches: asyncio.Queue[tuple[int, asyncio.Task[Frame | None]]] = asyncio.Queue(WINDOW)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._call_count = 0

    def offer(self, data: bytes, most: int) -> bool:
        """Write unless more than `most` bytes wait to be read by the other side."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > most:
            return False
        self._writer.write(data)
        return True

    async def converse(self, reader: asyncio.StreamReader) -> None:
        """Take frames until the peer is gone; a batch that should be tried again ends the connection."""
        taking = asyncio.create_task(self._take_frames(reader))
        acknowledging = asyncio.create_task(self._acknowledge())
        try:
            done, _ = await asyncio.wait((taking, acknowledging), return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            tasks: tuple[asyncio.Task[Any], ...] = (taking, acknowledging, *self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_frames(self, reader: asyncio.StreamReader) -> None:
        while True:
            frame = await read_frame(reader, self._limit)
            if frame.kind == "batch":
                batch = asyncio.create_task(self._handle(frame))
                self._keep(batch)
                await self._batches.put((frame.sequence, batch))
            elif frame.kind != "call":
                raise InvalidInput(f"a peer may not send {frame.kind}.")
            elif self._call_count < MAX_CALLS:
                self._keep(asyncio.create_task(self._handle_call(frame)))
            else:
                self._answer(frame, error=LimitExceeded("too many calls at once.", hint="Wait for answers."))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, frame: Frame) -> Frame | None:
        handler = self._handlers.get(frame.channel)
        if handler is None:
            raise InvalidInput(f"nobody serves the channel {frame.channel[:40]!r} here.")
        return await handler(self.name, frame)

    async def _acknowledge(self) -> None:
        while True:
            number, task = await self._batches.get()
            error, kind = "", "ack"
            try:
                answer = await task
                kind = answer.kind if answer else "ack"
            except ThingwardError as problem:
                if problem.retryable:
                    raise
                error = encode_error(problem)
            except Exception as problem:  # noqa: BLE001 - a handler's bug must not be answered by endless repeats
                error = f"internal: {type(problem).__name__}"
            self._send(Frame(kind=kind, sequence=number, error=error))

    async def _handle_call(self, frame: Frame) -> None:
        self._call_count += 1
        try:
            answer = await self._handle(frame)
        except ThingwardError as error:
            self._answer(frame, error=error)
        except Exception as error:  # noqa: BLE001
            self._answer(frame, error=ThingwardError(f"{frame.channel} failed: {type(error).__name__}."))
        else:
            self._answer(frame, body=answer.body if answer else b"")
        finally:
            self._call_count -= 1

    def _answer(self, call: Frame, body: bytes = b"", error: ThingwardError | None = None) -> None:
        text = encode_error(error) if error else ""
        try:
            self._send(Frame(kind="answer", sequence=call.sequence, channel=call.channel, body=body, error=text))
        except InvalidInput as problem:
            self._send(Frame(kind="answer", sequence=call.sequence, error=encode_error(problem)))

    def _send(self, frame: Frame) -> None:
        if not self.offer(encode_frame(frame, self._limit), ANSWER_BUFFER_BYTES):
            self._writer.close()
