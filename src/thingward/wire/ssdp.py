"""SSDP (UPnP Device Architecture 2.0, 1): announcements, searches and their answers."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.head import parse_head
from thingward.wire.message import Message, Unreadable, clean_text, fenced


class SsdpMessage(Message, frozen=True, kw_only=True):
    """One SSDP datagram.

    Attributes:
        kind: `notify`, `search` or `answer`.
        target: the notification or search type (NT, ST). usn: unique service name.
        server: the sender's software; in searches its user agent. location: address of the description.
        nts: `ssdp:alive`, `ssdp:byebye`, `ssdp:update`. friendly_name, model: vendors' extra headers.
    """

    protocol: ClassVar[str] = "ssdp"
    kind: str
    target: str = ""
    usn: str = ""
    server: str = ""
    location: str = ""
    nts: str = ""
    friendly_name: str = ""
    user_agent: str = ""


@fenced("ssdp")
def decode_ssdp(data: bytes) -> SsdpMessage:
    """Decode a datagram of port 1900."""
    first, headers = parse_head(data)
    verb = first[:9].upper()
    if verb.startswith(b"NOTIFY "):
        kind = "notify"
    elif verb.startswith(b"M-SEARCH "):
        kind = "search"
    elif verb.startswith(b"HTTP/1."):
        kind = "answer"
    else:
        raise Unreadable("neither notify, search nor answer", 0)

    def field(name: bytes) -> str:
        return clean_text(headers.get(name, b""))

    return SsdpMessage(
        kind=kind,
        target=field(b"nt" if kind == "notify" else b"st"),
        usn=field(b"usn"),
        server=field(b"server"),
        user_agent=field(b"user-agent"),
        location=field(b"location"),
        nts=field(b"nts"),
        friendly_name=field(b"cpfn.upnp.org") or field(b"friendlyname.upnp.org"),
    )
