"""Parts that every event store shares: bounds of questions, and cursors."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence

import msgspec

from thingward.model.errors import InvalidInput
from thingward.model.record import Record
from thingward.ports.event_store import EventQuery

LIMIT_MAX = 1000
BUCKETS_MAX = 1000
_PLACE = struct.Struct(">6sd16s")


def verify_limit(limit: int, most: int = LIMIT_MAX) -> None:
    """Raise InvalidInput unless 1 <= limit <= most."""
    if not 1 <= limit <= most:
        raise InvalidInput(f"{limit} is not 1 to {most}.")


def verify_owner(tenant: str, events: Sequence[Record]) -> None:
    """Raise InvalidInput if an event of one tenant is put into another's data."""
    for event in events:
        if event.tenant != tenant:
            raise InvalidInput(f"an event of tenant {event.tenant} cannot be stored as {tenant}'s.")


def verify_span(since: float, until: float, buckets: int) -> float:
    """Give the width of a bucket, in seconds; raises InvalidInput for an empty or endless span."""
    verify_limit(buckets, BUCKETS_MAX)
    if not since < until < float("inf"):
        raise InvalidInput("the span of time is empty.", hint="`since` must lie before `until`.")
    return (until - since) / buckets


def encode_cursor(tenant: str, query: EventQuery, time: float, key: str) -> str:
    """Say where a page ended, opaquely."""
    data = _PLACE.pack(_question(tenant, query), time, bytes.fromhex(key))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_cursor(tenant: str, query: EventQuery) -> tuple[float, str]:
    """Give (time, key) where the page before ended; raises InvalidInput if it answered another question."""
    text = query.cursor
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        question, time, key = _PLACE.unpack(data)
    except (ValueError, struct.error) as error:
        raise InvalidInput("this is no cursor.", hint="Use the one that the page before gave.") from error
    if question != _question(tenant, query):
        raise InvalidInput("the cursor belongs to another question.", hint="Begin without a cursor.")
    return time, key.hex()


def _question(tenant: str, query: EventQuery) -> bytes:
    plain = msgspec.structs.replace(query, cursor="", limit=1)
    return hashlib.blake2b(msgspec.json.encode([tenant, plain]), digest_size=6).digest()
