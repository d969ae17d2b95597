"""SIP over UDP (RFC 3261): the software of telephones, door stations and their exchanges."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.head import parse_head, split_status
from thingward.wire.message import Message, Unreadable, clean_text, fenced

_METHODS = frozenset(
    b"INVITE ACK BYE CANCEL REGISTER OPTIONS SUBSCRIBE NOTIFY MESSAGE INFO PUBLISH REFER PRACK UPDATE".split()
)


class SipMessage(Message, frozen=True, kw_only=True):
    """One SIP message: method (requests) or status (answers), and the sender's software."""

    protocol: ClassVar[str] = "sip"
    method: str = ""
    status: int = 0
    software: str = ""


def is_sip(data: bytes) -> bool:
    """Tell by the first line."""
    if data.startswith(b"SIP/2.0 "):
        return True
    return data.split(b" ", 1)[0] in _METHODS and b" SIP/2.0" in data[:512]


@fenced("sip")
def decode_sip(data: bytes) -> SipMessage:
    """Decode a datagram that `is_sip` claimed, or one of port 5060."""
    first, headers = parse_head(data)
    software = clean_text(headers.get(b"user-agent") or headers.get(b"server") or b"")
    if first.startswith(b"SIP/2.0 "):
        return SipMessage(status=split_status(first), software=software)
    method = first.split(b" ", 1)[0]
    if method not in _METHODS or not first.endswith(b" SIP/2.0"):
        raise Unreadable("neither request nor answer", 0)
    return SipMessage(method=method.decode("ascii"), software=software)
