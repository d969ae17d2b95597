"""Fields of MQTT 3.1.1 and 5: integers, strings, topic names and filters, properties. Readers raise ProtocolFault."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from thingward.wire.message import Unreadable

MAX_PROPERTIES: Final = 256
MAX_PROPERTY_BYTES: Final = 65_536
MAX_VARINT: Final = 268_435_455
MAX_LEVELS: Final = 128

MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
BAD_FILTER, BAD_TOPIC, TOO_LARGE, BAD_ALIAS, QUOTA = 0x8F, 0x90, 0x95, 0x94, 0x97

PropertyValue = int | str | bytes | tuple[str, str]
Properties = tuple[tuple[int, PropertyValue], ...]


class ProtocolFault(Unreadable):
    """Raised inside a reader; `code` is the MQTT 5 reason that says it to the peer."""

    def __init__(self, reason: str, offset: int = 0, code: int = MALFORMED) -> None:
        super().__init__(reason, offset)
        self.code = code


class Property(IntEnum):
    """Identifiers of properties that something here looks at (MQTT 5, 2.2.2.2)."""

    PAYLOAD_FORMAT = 0x01
    RESPONSE_TOPIC = 0x08
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTH_METHOD = 0x15
    AUTH_DATA = 0x16
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27


_BYTE, _TWO, _FOUR, _VARINT, _TEXT, _BINARY, _PAIR = range(7)
_FORMS: Final = {
    0x01: _BYTE,
    0x02: _FOUR,
    0x03: _TEXT,
    0x08: _TEXT,
    0x09: _BINARY,
    0x0B: _VARINT,
    0x11: _FOUR,
    0x12: _TEXT,
    0x13: _TWO,
    0x15: _TEXT,
    0x16: _BINARY,
    0x17: _BYTE,
    0x18: _FOUR,
    0x19: _BYTE,
    0x1A: _TEXT,
    0x1C: _TEXT,
    0x1F: _TEXT,
    0x21: _TWO,
    0x22: _TWO,
    0x23: _TWO,
    0x24: _BYTE,
    0x25: _BYTE,
    0x26: _PAIR,
    0x27: _FOUR,
    0x28: _BYTE,
    0x29: _BYTE,
    0x2A: _BYTE,
}
_FIXED_BYTES: Final = {_BYTE: 1, _TWO: 2, _FOUR: 4}
_NOT_ZERO: Final = frozenset({0x0B, 0x21, 0x23, 0x27})
_AT_MOST_ONE: Final = frozenset({0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A})
_WILL_PROPERTIES: Final = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26})
_ACK_PROPERTIES: Final = frozenset({0x1F, 0x26})
WILL: Final = 0
# Which properties a packet type may carry (MQTT 5, table 2-4); 0 stands for a will's.
ALLOWED: Final = {
    WILL: _WILL_PROPERTIES,
    1: frozenset({0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27}),
    2: frozenset(
        {0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A}
    ),
    3: frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26}),
    4: _ACK_PROPERTIES,
    5: _ACK_PROPERTIES,
    6: _ACK_PROPERTIES,
    7: _ACK_PROPERTIES,
    8: frozenset({0x0B, 0x26}),
    9: _ACK_PROPERTIES,
    10: frozenset({0x26}),
    11: _ACK_PROPERTIES,
    14: frozenset({0x11, 0x1C, 0x1F, 0x26}),
    15: frozenset({0x15, 0x16, 0x1F, 0x26}),
}


def read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Read a variable byte integer: value and offset after it; -1 while bytes are missing."""
    value = 0
    for shift in range(4):
        at = offset + shift
        if at >= len(data):
            return -1, offset
        byte = data[at]
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            if shift and not byte:
                raise ProtocolFault("length field longer than needed", at)
            return value, at + 1
    raise ProtocolFault("length field too long", offset)


def encode_varint(value: int) -> bytes:
    """Write a variable byte integer, 0 to MAX_VARINT."""
    out = bytearray()
    while value > 127:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_number(data: bytes, offset: int, count: int, end: int) -> tuple[int, int]:
    """Read a big-endian number of `count` bytes that ends by `end`."""
    after = offset + count
    if after > end:
        raise ProtocolFault("truncated", offset)
    return int.from_bytes(data[offset:after], "big"), after


def read_binary(data: bytes, offset: int, end: int) -> tuple[bytes, int]:
    """Read bytes with a two-byte length."""
    length, start = read_number(data, offset, 2, end)
    if start + length > end:
        raise ProtocolFault("field overruns its packet", offset)
    return data[start : start + length], start + length


def read_text(data: bytes, offset: int, end: int) -> tuple[str, int]:
    """Read a UTF-8 string: no surrogates, no U+0000 (1.5.4)."""
    raw, after = read_binary(data, offset, end)
    return text_of(raw, offset), after


def text_of(raw: bytes, offset: int = 0) -> str:
    """Decode a string as the standard wants it."""
    if b"\0" in raw:
        raise ProtocolFault("U+0000 in a string", offset)
    try:
        return raw.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise ProtocolFault("not UTF-8", offset) from None


def encode_binary(value: bytes) -> bytes:
    """Write bytes with a two-byte length."""
    return len(value).to_bytes(2, "big") + value


def encode_text(value: str) -> bytes:
    """Write a string with a two-byte length."""
    return encode_binary(value.encode())


def check_topic_name(topic: str, offset: int = 0) -> str:
    """Refuse what is no topic name: wildcards, too many levels; an empty one is the caller's affair."""
    if "+" in topic or "#" in topic:
        raise ProtocolFault("wildcard in a topic name", offset, BAD_TOPIC)
    if topic.count("/") >= MAX_LEVELS:
        raise ProtocolFault("topic with too many levels", offset, BAD_TOPIC)
    return topic


def check_topic_filter(text: str, offset: int = 0) -> str:
    """Refuse what is no topic filter: `+` and `#` stand alone in their level, `#` last (4.7.1)."""
    if not text:
        raise ProtocolFault("empty topic filter", offset, PROTOCOL_ERROR)
    if text.count("/") >= MAX_LEVELS:
        raise ProtocolFault("topic filter with too many levels", offset, BAD_FILTER)
    levels = text.split("/")
    for place, level in enumerate(levels):
        if ("+" in level or "#" in level) and len(level) != 1:
            raise ProtocolFault("wildcard beside other characters", offset, BAD_FILTER)
        if level == "#" and place != len(levels) - 1:
            raise ProtocolFault("# before the last level", offset, BAD_FILTER)
    return text


def split_shared(text: str, offset: int = 0) -> tuple[str, str]:
    """Split `$share/group/filter` into group and filter, each checked; the group is empty for a plain filter."""
    if not text.startswith("$share/"):
        return "", check_topic_filter(text, offset)
    group, slash, inner = text[7:].partition("/")
    if not group or not slash or "+" in group or "#" in group:
        raise ProtocolFault("bad shared subscription", offset, BAD_FILTER)
    return group, check_topic_filter(inner, offset)


def _read_value(data: bytes, offset: int, end: int, form: int) -> tuple[PropertyValue, int]:
    if form in _FIXED_BYTES:
        return read_number(data, offset, _FIXED_BYTES[form], end)
    if form == _VARINT:
        value, after = read_varint(data, offset)
        if value < 0 or after > end:
            raise ProtocolFault("truncated", offset)
        return value, after
    if form == _TEXT:
        return read_text(data, offset, end)
    if form == _BINARY:
        return read_binary(data, offset, end)
    name, after = read_text(data, offset, end)
    text, after = read_text(data, after, end)
    return (name, text), after


def read_properties(data: bytes, offset: int, end: int, kind: int) -> tuple[Properties, int]:
    """Read the properties of a packet type (WILL for a will's): known, allowed, at most once, with legal values."""
    length, start = read_varint(data, offset)
    if length < 0 or start + length > end:
        raise ProtocolFault("properties overrun their packet", offset)
    if not length:
        return (), start
    if length > MAX_PROPERTY_BYTES:
        raise ProtocolFault("too many bytes of properties", offset, TOO_LARGE)
    stop, at = start + length, start
    allowed = ALLOWED.get(kind, frozenset())
    found: list[tuple[int, PropertyValue]] = []
    seen: set[int] = set()
    while at < stop:
        name = data[at]
        if name not in allowed:
            raise ProtocolFault("property not allowed here", at, PROTOCOL_ERROR if name in _FORMS else MALFORMED)
        value, after = _read_value(data, at + 1, stop, _FORMS[name])
        _check_value(name, value, at)
        if name in seen and name != Property.USER_PROPERTY and (name, kind) != (Property.SUBSCRIPTION_ID, 3):
            raise ProtocolFault("property given twice", at, PROTOCOL_ERROR)
        if len(found) >= MAX_PROPERTIES:
            raise ProtocolFault("too many properties", at, TOO_LARGE)
        seen.add(name)
        found.append((name, value))
        at = after
    return tuple(found), stop


def _check_value(name: int, value: PropertyValue, offset: int) -> None:
    if name in _NOT_ZERO and value == 0:
        raise ProtocolFault(
            "property may not be 0", offset, BAD_ALIAS if name == Property.TOPIC_ALIAS else PROTOCOL_ERROR
        )
    if name in _AT_MOST_ONE and isinstance(value, int) and value > 1:
        raise ProtocolFault("property is neither 0 nor 1", offset, PROTOCOL_ERROR)
    if name == Property.RESPONSE_TOPIC and isinstance(value, str):
        check_topic_name(value, offset)


def encode_properties(properties: Iterable[tuple[int, PropertyValue]]) -> bytes:
    """Write properties with their length, in the order given."""
    out = bytearray()
    for name, value in properties:
        out.append(name)
        form = _FORMS[name]
        if isinstance(value, int):
            out += encode_varint(value) if form == _VARINT else value.to_bytes(_FIXED_BYTES[form], "big")
        elif isinstance(value, str):
            out += encode_text(value)
        elif isinstance(value, bytes):
            out += encode_binary(value)
        else:
            out += encode_text(value[0]) + encode_text(value[1])
    return encode_varint(len(out)) + bytes(out)


def first_property(properties: Properties, name: int, default: int = 0) -> int:
    """Give a number among the properties."""
    for key, value in properties:
        if key == name and isinstance(value, int):
            return value
    return default


def text_property(properties: Properties, name: int) -> str | None:
    """Give a text among the properties; None if it is not there."""
    for key, value in properties:
        if key == name and isinstance(value, str):
            return value
    return None
