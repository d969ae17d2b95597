"""From decoded messages to observations: who is meant, in which words, and what must not be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant, hashed_uid
from thingward.model.observation import Data, DnsAnswer, DnsData, Endpoint, Observation
from thingward.model.record import Malformed
from thingward.wire.dns import DnsMessage, DnsRecord
from thingward.wire.message import Message


class PacketContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message came from.

    Attributes:
        time: seconds since 1970 of the packet that completed the message.
        src, dst: datagrams: sender and receiver; streams: initiator and responder.
        parents: `<batch uid>#<offset>` of the packets behind it; the first names the observation.
        source: the producer, as in `Record.source`.
    """

    time: float
    src: Endpoint
    dst: Endpoint
    parents: tuple[str, ...]
    source: str
    tenant: Tenant = DEFAULT_TENANT
    site: str = DEFAULT_SITE


_Bodies = Iterator[tuple[Endpoint | None, Endpoint | None, Data]]


def observe_message(context: PacketContext, message: Message | Malformed) -> list[Observation]:
    """Say what one message means. The same context and message always give the same uids."""
    bodies = _BODIES.get(type(message))
    if bodies is None:
        return []
    anchor = context.parents[0] if context.parents else repr(context.time)
    name = type(message).__name__
    return [
        Observation(
            uid=hashed_uid("observation", context.source, anchor, name, str(index)),
            tenant=context.tenant,
            time=context.time,
            source=context.source,
            parents=context.parents,
            site=context.site,
            src=src,
            dst=dst,
            data=data,
        )
        for index, (src, dst, data) in enumerate(bodies(context, message))
    ]


def _dns(context: PacketContext, message: DnsMessage) -> _Bodies:
    client, server = (context.dst, context.src) if message.is_response else (context.src, context.dst)
    answers = tuple(_answer(record) for record in message.answers) if message.is_response else ()
    for question in message.questions[:4]:
        yield (
            client,
            server,
            DnsData(
                qname=question.name.lower(),
                qtype=question.rrtype,
                rcode=message.rcode if message.is_response else -1,
                transport=message.transport,
                answers=answers,
            ),
        )


def _answer(record: DnsRecord) -> DnsAnswer:
    return DnsAnswer(name=record.name.lower(), rrtype=record.rrtype, value=record.value, ttl_s=record.ttl_s)


def _malformed(context: PacketContext, message: Malformed) -> _Bodies:
    yield context.src, context.dst, message


_BODIES: dict[type, Callable[[PacketContext, Any], _Bodies]] = {
    DnsMessage: _dns,
    Malformed: _malformed,
}
