"""The event store as others see it: shaped questions over a link to the store process.

The port is plain calls, so its client blocks; callers with an event loop use it from a thread. Events themselves do not
come this way but as batches on their own channel, spooled and acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from thingward.model.errors import Unavailable
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.packed import unpack
from thingward.ports.event_store import EventPage, EventQuery, EventStore, PeerRow, TrafficPoint
from thingward.ports.link import Frame, Handler, Question

CHANNEL: Final = "query"
TIMEOUT_S: Final = 30.0
#: Questions answered at the same time; the rest waits.
PARALLEL: Final = 4

T = TypeVar("T")


class AskEvents(Question, frozen=True, tag="events"):
    """`EventStore.query`."""

    query: EventQuery


class AskPeers(Question, frozen=True, tag="peers"):
    """`EventStore.peers`."""

    device: str
    since: float
    limit: int


class AskTraffic(Question, frozen=True, tag="traffic"):
    """`EventStore.traffic`."""

    device: str
    since: float
    until: float
    buckets: int


class AskCounts(Question, frozen=True, tag="counts"):
    """`EventStore.counts`."""

    since: float


class Prune(Question, frozen=True, tag="prune"):
    """`EventStore.prune`."""

    before: float


class Append(Question, frozen=True, tag="append"):
    """`EventStore.append`."""

    events: list[Event | Finding]


Request = AskEvents | AskPeers | AskTraffic | AskCounts | Prune | Append
Reply = EventPage | tuple[PeerRow, ...] | tuple[TrafficPoint, ...] | Mapping[str, int] | int

_questions: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)


class Caller(Protocol):
    """Asks and waits; `adapters.link.blocking.BlockingLink` does."""

    def call(self, channel: str, body: bytes, *, timeout_s: float = 10.0) -> bytes:
        """Give the answer, or raise Unavailable or the other side's error."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def answer(store: EventStore, question: Request) -> Reply:
    """Ask the store itself."""
    match question:
        case AskEvents(tenant, query):
            return store.query(tenant, query)
        case AskPeers(tenant, device, since, limit):
            return store.peers(tenant, device, since=since, limit=limit)
        case AskTraffic(tenant, device, since, until, buckets):
            return store.traffic(tenant, device, since=since, until=until, buckets=buckets)
        case AskCounts(tenant, since):
            return store.counts(tenant, since=since)
        case Prune(tenant, before):
            return store.prune(tenant, before=before)
        case Append(tenant, events):
            return store.append(tenant, events)


def question_handler(store: EventStore) -> Handler:
    """Give the handler of the channel `query` for the process that has the store; the engine runs in threads."""
    free = asyncio.Semaphore(PARALLEL)

    async def handle(peer: str, frame: Frame) -> Frame:
        question = decode_question(frame.body)
        async with free:
            reply = await asyncio.to_thread(answer, store, question)
        return Frame(kind="answer", body=msgspec.msgpack.encode(reply))

    return handle


def encode_question(question: Request) -> bytes:
    """Pack a question."""
    return msgspec.msgpack.encode(question)


def decode_question(body: bytes) -> Request:
    """Unpack a question; raises InvalidInput on anything else."""
    return unpack(_questions, body, "a question to the event store")


class LinkEventStore:
    """The EventStore port over a link; safe to share between threads."""

    def __init__(self, link: Caller, *, timeout_s: float = TIMEOUT_S) -> None:
        self._link = link
        self._timeout_s = timeout_s

    def append(self, tenant: str, events: Sequence[Event | Finding]) -> int:
        """Store durably; returns how many were new."""
        return self._ask(Append(tenant, list(events)), int)

    def query(self, tenant: str, query: EventQuery) -> EventPage:
        """Page through events."""
        return self._ask(AskEvents(tenant, query), EventPage)

    def peers(self, tenant: str, device: str, *, since: float = 0.0, limit: int = 200) -> tuple[PeerRow, ...]:
        """Sum up a device's conversations, largest first."""
        return self._ask(AskPeers(tenant, device, since, limit), tuple[PeerRow, ...])

    def traffic(
        self, tenant: str, device: str, *, since: float, until: float, buckets: int = 120
    ) -> tuple[TrafficPoint, ...]:
        """Traffic of a device (all devices if empty) in equal buckets."""
        return self._ask(AskTraffic(tenant, device, since, until, buckets), tuple[TrafficPoint, ...])

    def counts(self, tenant: str, *, since: float = 0.0) -> Mapping[str, int]:
        """Events per kind."""
        return self._ask(AskCounts(tenant, since), dict[str, int])

    def prune(self, tenant: str, *, before: float) -> int:
        """Delete events older than `before`, return how many went."""
        return self._ask(Prune(tenant, before), int)

    def close(self) -> None:
        """Close the link; the store goes on."""
        self._link.close()

    def _ask(self, question: Request, kind: type[T]) -> T:
        body = self._link.call(CHANNEL, encode_question(question), timeout_s=self._timeout_s)
        return unpack(msgspec.msgpack.Decoder(kind), body, "an answer of the event store", Unavailable)
