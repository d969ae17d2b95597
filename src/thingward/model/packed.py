"""Packed data from elsewhere: the one place that knows what reading it may raise."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from thingward.model.errors import InvalidInput, ThingwardError

T = TypeVar("T")
#: What msgspec raises on bytes that are not what was expected; not all of it is its own.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def unpack(
    decoder: msgspec.msgpack.Decoder[T], data: bytes | memoryview, what: str, error: type[ThingwardError] = InvalidInput
) -> T:
    """Read MessagePack; raises `error`, which says that the data is not `what`."""
    try:
        return decoder.decode(data)
    except UNREADABLE as fault:
        raise error(f"not {what}: {fault}.") from fault
