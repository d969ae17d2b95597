"""CoAP (RFC 7252): message type, code, and the path that it is about."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.message import Message, Unreadable, clean_text, fenced

MAX_OPTIONS = 64
_TYPES = ("confirmable", "non-confirmable", "acknowledgement", "reset")
_METHODS = {1: "GET", 2: "POST", 3: "PUT", 4: "DELETE", 5: "FETCH", 6: "PATCH", 7: "iPATCH"}


class CoapMessage(Message, frozen=True, kw_only=True):
    """One CoAP message.

    Attributes:
        kind: `confirmable`, `non-confirmable`, `acknowledgement`, `reset`.
        code: method name for requests, `2.05` for responses, `0.00` for an empty message.
        path: Uri-Path options joined by slashes, with a leading one; empty if there is none.
        payload: start of a text payload of a response, at most 256 characters (link format names resources).
    """

    protocol: ClassVar[str] = "coap"
    kind: str
    code: str
    is_request: bool
    host: str = ""
    path: str = ""
    query: str = ""
    content_format: int = -1
    payload: str = ""


def _extended(data: bytes, nibble: int, offset: int) -> tuple[int, int]:
    if nibble < 13:
        return nibble, offset
    if nibble == 13:
        return data[offset] + 13, offset + 1
    if nibble == 14:
        return (data[offset] << 8 | data[offset + 1]) + 269, offset + 2
    raise Unreadable("reserved option length", offset)


def _read_options(data: bytes, offset: int) -> tuple[list[tuple[int, bytes]], int]:
    """Read options up to the payload marker or the end; gives them and the payload's offset."""
    options: list[tuple[int, bytes]] = []
    number = 0
    while offset < len(data):
        byte = data[offset]
        offset += 1
        if byte == 0xFF:
            return options, offset
        if len(options) >= MAX_OPTIONS:
            raise Unreadable("too many options", offset)
        delta, offset = _extended(data, byte >> 4, offset)
        length, offset = _extended(data, byte & 15, offset)
        number += delta
        value = data[offset : offset + length]
        if len(value) != length:
            raise Unreadable("option truncated", offset)
        options.append((number, value))
        offset += length
    return options, offset


@fenced("coap")
def decode_coap(data: bytes) -> CoapMessage:
    """Decode a datagram of port 5683."""
    first, code = data[0], data[1]
    token = first & 15
    if first >> 6 != 1 or token > 8 or len(data) < 4 + token:
        raise Unreadable("not a version 1 header", 0)
    group, detail = code >> 5, code & 31
    is_request = group == 0 and detail != 0
    if (is_request and detail not in _METHODS) or group in (1, 6):
        raise Unreadable("unknown code", 1)
    options, offset = _read_options(data, 4 + token)
    path = [clean_text(value, 64) for number, value in options if number == 11]
    form = [int.from_bytes(value[:2], "big") for number, value in options if number == 12]
    body = data[offset : offset + 256]
    return CoapMessage(
        kind=_TYPES[first >> 4 & 3],
        code=_METHODS[detail] if is_request else f"{group}.{detail:02d}",
        is_request=is_request,
        host=next((clean_text(value) for number, value in options if number == 3), ""),
        path="/" + "/".join(path)[:255] if path else "",
        query="&".join(clean_text(value, 64) for number, value in options if number == 15)[:256],
        content_format=form[0] if form else -1,
        payload=clean_text(body) if form and form[0] in (0, 40) else "",
    )
