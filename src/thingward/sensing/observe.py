"""From decoded messages to observations: who is meant, in which words, and what must not be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant, hashed_uid
from thingward.model.observation import Data, Endpoint, Observation
from thingward.model.record import Malformed
from thingward.sensing.observe_datagrams import DATAGRAM_BODIES
from thingward.sensing.observe_streams import STREAM_BODIES
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


Body = tuple[Endpoint | None, Endpoint | None, Data]
_encode = msgspec.msgpack.Encoder().encode


def observe_message(context: PacketContext, message: Message | Malformed) -> list[Observation]:
    """Say what one message means; empty if it is evidence of nothing.

    The same context and message always give the same uids, so that a repeat is the same record.
    """
    return [observation(context, src, dst, data) for src, dst, data in bodies_of(context.src, context.dst, message)]


def bodies_of(src: Endpoint, dst: Endpoint, message: Message | Malformed) -> Iterable[Body]:
    """Say what one message means, without envelopes; `src` and `dst` as in PacketContext."""
    bodies = _BODIES.get(type(message))
    if bodies is None:
        return ()
    if isinstance(message, Message) and not message.from_initiator:
        return bodies(dst, src, message)
    return bodies(src, dst, message)


def observation(context: PacketContext, src: Endpoint | None, dst: Endpoint | None, data: Data) -> Observation:
    """Put a body into its envelope; the uid comes of source, first parent and content."""
    anchor = context.parents[0] if context.parents else repr(context.time)
    content = _encode((src, dst, data)).decode("latin-1")
    return Observation(
        uid=hashed_uid("observation", context.tenant, context.source, anchor, content),
        tenant=context.tenant,
        time=context.time,
        source=context.source,
        parents=context.parents,
        site=context.site,
        src=src,
        dst=dst,
        data=data,
    )


def _malformed(sender: Endpoint, receiver: Endpoint, message: Malformed) -> Iterable[Body]:
    yield sender, receiver, message


_BODIES: dict[type, Callable[[Endpoint, Endpoint, Any], Iterable[Body]]] = {
    Malformed: _malformed,
    **DATAGRAM_BODIES,
    **STREAM_BODIES,
}
