"""WS-Discovery (OASIS, 1.1) as ONVIF cameras and printers speak it: what the device is, by plain search in the text."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import unquote

from thingward.wire.message import Message, Unreadable, clean_text, fenced

MAX_BYTES = 16384
MAX_SCOPES = 32
_KINDS = ((b"ProbeMatches", "answer"), (b"ResolveMatches", "answer"), (b"Hello", "hello"), (b"Bye", "bye"))
_ASKS = ((b"Probe", "probe"), (b"Resolve", "resolve"))


class WsdMessage(Message, frozen=True, kw_only=True):
    """One WS-Discovery datagram.

    Attributes:
        kind: `hello`, `bye`, `answer`, `probe`, `resolve`.
        types: device types without their namespace prefix.
        name, hardware: of ONVIF's scopes. address: where the device answers, a URL.
    """

    protocol: ClassVar[str] = "wsd"
    kind: str
    types: tuple[str, ...] = ()
    name: str = ""
    hardware: str = ""
    address: str = ""


def _element(data: bytes, name: bytes) -> bytes:
    """Give the text of the first element of that local name, whatever its prefix; empty if there is none."""
    start = 0
    for _ in range(8):
        at = data.find(name, start)
        if at < 1:
            return b""
        start = at + len(name)
        if data[at - 1] in b"<:" and data[start : start + 1] in (b">", b" ", b"\n", b"\r", b"\t", b"/"):
            opened = data.find(b">", start)
            closed = data.find(b"<", opened)
            if opened < 0 or closed < 0 or data[opened - 1 : opened] == b"/":
                return b""
            return data[opened + 1 : closed].strip()
    return b""


def _kind(body: bytes) -> str:
    for name, kind in _KINDS + _ASKS:
        at = body.find(name)
        if at > 0 and body[at - 1] in b"<:":
            return kind
    raise Unreadable("no known message", 0)


@fenced("wsd")
def decode_wsd(data: bytes) -> WsdMessage:
    """Decode a datagram of port 3702."""
    data = data[:MAX_BYTES]
    body = data.find(b"Body")
    if not data.lstrip()[:1] == b"<" or body < 0:
        raise Unreadable("not a SOAP message", 0)
    part = data[body:]
    scopes = [clean_text(scope) for scope in _element(part, b"Scopes").split()[:MAX_SCOPES]]
    found: dict[str, str] = {}
    for scope in scopes:
        key, mark, value = scope.partition("onvif://www.onvif.org/")[2].partition("/")
        if mark:
            found.setdefault(key.lower(), clean_text(unquote(value).encode("utf-8", "replace")))
    types = [clean_text(one.rpartition(b":")[2], 64) for one in _element(part, b"Types").split()[:8]]
    return WsdMessage(
        kind=_kind(part),
        types=tuple(types),
        name=found.get("name", ""),
        hardware=found.get("hardware", ""),
        address=clean_text((_element(part, b"XAddrs").split() or [b""])[0]),
    )
