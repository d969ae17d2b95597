"""NTP (RFC 5905): who asks for the time and who gives it."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.message import Message, Unreadable, fenced

_MODES = ("reserved", "active", "passive", "client", "server", "broadcast", "control", "private")


class NtpMessage(Message, frozen=True, kw_only=True):
    """One NTP packet: mode as text, stratum of the sender (0 unset, 16 unsynchronised)."""

    protocol: ClassVar[str] = "ntp"
    mode: str
    version: int
    stratum: int = 0


@fenced("ntp")
def decode_ntp(data: bytes) -> NtpMessage:
    """Decode a datagram of port 123; control and private packets have no fixed size."""
    first = data[0]
    version, mode = (first >> 3) & 7, first & 7
    if not 1 <= version <= 4 or mode == 0:
        raise Unreadable("unknown version or mode", 0)
    if mode < 6 and len(data) < 48:
        raise Unreadable("truncated", len(data))
    return NtpMessage(mode=_MODES[mode], version=version, stratum=data[1] if mode < 6 else 0)
