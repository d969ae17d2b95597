"""STUN (RFC 8489): a device that looks for its own address, and with which software."""

from __future__ import annotations

import struct
from typing import ClassVar

from thingward.wire.message import Message, Unreadable, clean_text, fenced

COOKIE = b"\x21\x12\xa4\x42"


class StunMessage(Message, frozen=True, kw_only=True):
    """One STUN message: `request`, `indication`, `success` or `error`, and the SOFTWARE and USERNAME attributes."""

    protocol: ClassVar[str] = "stun"
    kind: str
    method: int
    software: str = ""
    user: str = ""


def is_stun(data: bytes) -> bool:
    """Tell by the magic cookie and the length field."""
    return len(data) >= 20 and data[0] < 64 and data[4:8] == COOKIE and data[3] & 3 == 0


@fenced("stun")
def decode_stun(data: bytes) -> StunMessage:
    """Decode a datagram that `is_stun` claimed."""
    if not is_stun(data):
        raise Unreadable("no magic cookie", 4)
    kind, length = struct.unpack_from("!HH", data)
    attributes: dict[int, bytes] = {}
    offset, end = 20, min(20 + length, len(data))
    for _ in range(32):
        if offset + 4 > end:
            break
        code, size = struct.unpack_from("!HH", data, offset)
        attributes.setdefault(code, data[offset + 4 : min(offset + 4 + size, end)])
        offset += 4 + (size + 3 & ~3)
    return StunMessage(
        kind=("request", "indication", "success", "error")[(kind >> 7 & 2) | (kind >> 4 & 1)],
        method=(kind & 0xF) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80),
        software=clean_text(attributes.get(0x8022, b"").rstrip(b"\0")),
        user=clean_text(attributes.get(0x0006, b"")),
    )
