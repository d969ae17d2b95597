"""Syslog lines: RFC 5424, and the older form of RFC 3164 as it is found in the field."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.message import Message, Unreadable, clean_text, fenced

MAX_MESSAGE = 2048
_MONTHS = frozenset(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())


class SyslogMessage(Message, frozen=True, kw_only=True):
    """One syslog message.

    Attributes:
        facility, severity: numbers of RFC 5424, table 1 and 2.
        timestamp: as sent, empty if absent; clocks of devices are often wrong.
        host, app: as sent, may be empty.
        version: 1 for RFC 5424, 0 for the older form.
    """

    protocol: ClassVar[str] = "syslog"
    facility: int
    severity: int
    timestamp: str = ""
    host: str = ""
    app: str = ""
    process: str = ""
    text: str = ""
    version: int = 0


def _read_priority(data: bytes) -> tuple[int, int]:
    end = data.find(b">", 1, 5)
    if not data.startswith(b"<") or end < 2 or not data[1:end].isdigit():
        raise Unreadable("no priority", 0)
    priority = int(data[1:end])
    if priority > 191:
        raise Unreadable("priority out of range", 1)
    return priority, end + 1


def _nil(field: bytes) -> str:
    return "" if field == b"-" else clean_text(field, 128)


def _skip_structured_data(data: bytes) -> bytes:
    """Give what follows the structured data elements (RFC 5424, 6.3); quotes may hold brackets."""
    if data.startswith(b"-"):
        return data[1:].lstrip(b" ")
    offset, quoted, end = 0, False, min(len(data), 4096)
    while offset < end:
        byte = data[offset]
        if quoted and byte == 0x5C:
            offset += 1
        elif byte == 0x22:
            quoted = not quoted
        elif byte == 0x5D and not quoted and data[offset + 1 : offset + 2] != b"[":
            return data[offset + 1 :].lstrip(b" ")
        offset += 1
    raise Unreadable("structured data does not end", 0)


def _read_new(data: bytes, facility: int, severity: int) -> SyslogMessage:
    fields = data.split(b" ", 6)
    if len(fields) < 7:
        raise Unreadable("header fields missing", len(data))
    _version, timestamp, host, app, process, _ident, rest = fields
    if rest[:1] not in (b"-", b"["):
        raise Unreadable("bad structured data", len(data) - len(rest))
    text = _skip_structured_data(rest).removeprefix(b"\xef\xbb\xbf")
    return SyslogMessage(
        facility=facility,
        severity=severity,
        timestamp=_nil(timestamp),
        host=_nil(host),
        app=_nil(app),
        process=_nil(process),
        text=clean_text(text.rstrip(b"\r\n\0"), MAX_MESSAGE),
        version=1,
    )


def _read_old(data: bytes, facility: int, severity: int) -> SyslogMessage:
    """Read `Mmm dd hh:mm:ss host tag[pid]: text`, each part optional."""
    timestamp, host = b"", b""
    if data[:3] in _MONTHS and data[3:4] == b" " and data[9:10] == b":":
        timestamp, data = data[:15], data[16:]
        host, _, data = data.partition(b" ")
        if host.endswith(b":"):
            host, data = b"", host + b" " + data
    tag, process = b"", b""
    head, colon, text = data.partition(b":")
    if colon and len(head) <= 64 and b" " not in head.strip():
        tag, _, process = head.strip().partition(b"[")
        data = text.lstrip(b" ")
    return SyslogMessage(
        facility=facility,
        severity=severity,
        timestamp=clean_text(timestamp),
        host=clean_text(host, 128),
        app=clean_text(tag, 64),
        process=clean_text(process.rstrip(b"]"), 32),
        text=clean_text(data.rstrip(b"\r\n\0"), MAX_MESSAGE),
    )


@fenced("syslog")
def decode_syslog(data: bytes) -> SyslogMessage:
    """Decode one line or datagram."""
    priority, offset = _read_priority(data)
    facility, severity = priority >> 3, priority & 7
    rest = data[offset : offset + 8192]
    if rest.startswith(b"1 "):
        return _read_new(rest, facility, severity)
    return _read_old(rest, facility, severity)
