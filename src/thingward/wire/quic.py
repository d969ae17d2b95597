"""QUIC long headers (RFC 8999): that it is QUIC, and which version; the hello inside is encrypted and not read."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.message import Message, Unreadable, fenced


class QuicMessage(Message, frozen=True, kw_only=True):
    """A connection attempt or answer: version number, 0 for version negotiation."""

    protocol: ClassVar[str] = "quic"
    version: int


def is_quic(data: bytes) -> bool:
    """Tell by the long header: both high bits, a known version, connection ids that fit."""
    if len(data) < 7 or data[0] & 0x80 == 0:
        return False
    version = int.from_bytes(data[1:5], "big")
    known = version in (0, 1, 0x6B3343CF) or version >> 8 == 0xFF0000 or version & 0x0F0F0F0F == 0x0A0A0A0A
    if not known or data[5] > 20 or (version and not data[0] & 0x40):
        return False
    second = 6 + data[5]
    return second < len(data) and data[second] <= 20


@fenced("quic")
def decode_quic(data: bytes) -> QuicMessage:
    """Decode a datagram that `is_quic` claimed."""
    if not is_quic(data):
        raise Unreadable("no long header", 0)
    return QuicMessage(version=int.from_bytes(data[1:5], "big"))
