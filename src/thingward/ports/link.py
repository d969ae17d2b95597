"""The one link between processes: batches up with acknowledgement, commands down with acknowledgement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec


class Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the link protocol.

    Attributes:
        kind: `hello`, `batch`, `ack`, `seen`, `call`, `answer`, `push`.
        sequence: of the sender, grows with every batch; an ack names the highest durable one, `seen` the highest that was
            taken and is not durable: the sender goes on and keeps it.
        channel: what it is about (`observations`, `intent`, `query`, `control` ...).
        priority: 0 telemetry (dropped first) to 2 security events (dropped last).
        body: opaque MessagePack.
    """

    kind: str
    sequence: int = 0
    channel: str = ""
    priority: int = 0
    body: bytes = b""
    error: str = ""


class Question(msgspec.Struct, frozen=True):
    """What one process asks another about one tenant's data; its kinds are tagged."""

    tenant: str


Handler = Callable[[str, Frame], Awaitable[Frame | None]]
Listener = Callable[[bytes], Awaitable[None]]


class LinkClient(Protocol):
    """The side that connects: it reconnects by itself and sends again what was not acknowledged."""

    def subscribe(self, channel: str, listener: Listener) -> None:
        """Hand every push of a channel to this listener; call it before `start`."""
        ...

    async def start(self) -> None:
        """Begin to connect; returns at once, the other side may be away."""
        ...

    async def send(self, channel: str, body: bytes, *, priority: int = 1) -> int:
        """Spool a batch for delivery, at least once, in order; returns its sequence number at once."""
        ...

    async def call(self, channel: str, body: bytes, *, timeout_s: float = 10.0) -> bytes:
        """Ask and wait for the answer; raises Unavailable if the other side is away, or its error."""
        ...

    async def acknowledged(self) -> int:
        """Highest sequence number that the other side holds durably."""
        ...

    async def close(self) -> None:
        """Stop; the spool stays on disk."""
        ...


class LinkServer(Protocol):
    """The side that listens: one handler per channel."""

    def serve(self, channel: str, handler: Handler) -> None:
        """Register the handler for a channel: it gets (peer name, frame) and may return an answer frame.

        A batch is acknowledged when its handler returns; handlers of one peer start in order and may overlap. A
        handler that returns a `seen` frame took the batch, but not durably: nothing later of this peer may be
        acknowledged before `cut`. A retryable error cuts the peer off, so that it sends again; any other error
        refuses the batch for good.
        """
        ...

    async def push(self, channel: str, body: bytes) -> int:
        """Send to every connected peer that subscribed to this channel; returns how many took it."""
        ...

    def cut(self, peer: str) -> None:
        """End a peer's connection: it comes back and sends again what was not acknowledged."""
        ...

    async def start(self) -> None:
        """Listen; raises Unavailable if the address is taken."""
        ...

    async def close(self) -> None:
        """Stop listening and close all peers."""
        ...
