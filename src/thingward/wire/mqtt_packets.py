"""Packets of MQTT 3.1, 3.1.1 and 5, read in full and written back, as a proxy needs them.

`frame_at` finds a packet's bounds in a byte stream without copying; `decode_packet` reads one and gives Malformed for
whatever breaks the standard. The sensor's decoder (`mqtt.py`) is another: it sees only the beginning of a connection,
copes with holes and keeps little.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import msgspec

from thingward.model.record import Malformed, Secret
from thingward.wire.message import Unreadable, malformed
from thingward.wire.mqtt_fields import (
    BAD_TOPIC,
    PROTOCOL_ERROR,
    WILL,
    Properties,
    Property,
    ProtocolFault,
    check_topic_name,
    encode_binary,
    encode_properties,
    encode_text,
    encode_varint,
    first_property,
    read_binary,
    read_number,
    read_properties,
    read_text,
    read_varint,
    split_shared,
    text_of,
)

MAX_FILTERS: Final = 1024
V5: Final = 5
NO_PROPERTIES: Final[Properties] = ()


class Kind(IntEnum):
    """Packet types."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


# Which types each side may send. PUBLISH has flags of its own; these have fixed ones.
FROM_CLIENT: Final = frozenset({1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15})
FROM_BROKER: Final = frozenset({2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15})
_FLAGS: Final = {6: 2, 8: 2, 10: 2}


class Will(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker publishes when the client is lost."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = ()


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """CONNECT. `version` is 3 (3.1), 4 (3.1.1) or 5; `is_bridge` is mosquitto's mark in the version's top bit."""

    client_id: str = ""
    version: int = 4
    clean: bool = True
    keep_alive_s: int = 0
    user: str | None = None
    password: Secret | None = None
    will: Will | None = None
    properties: Properties = ()
    is_bridge: bool = False


class Connack(msgspec.Struct, frozen=True, kw_only=True):
    """CONNACK; `code` is the return code of 3.1.1 or the reason code of 5."""

    code: int = 0
    session_present: bool = False
    properties: Properties = ()


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """PUBLISH; the topic is empty where only an alias names it, `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = ()

    @property
    def alias(self) -> int:
        """The topic alias, 0 for none."""
        return first_property(self.properties, Property.TOPIC_ALIAS)


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""

    kind: Kind
    packet_id: int
    code: int = 0
    properties: Properties = ()


class Subscription(msgspec.Struct, frozen=True):
    """One filter of a SUBSCRIBE, with its options byte as sent (3.8.3.1)."""

    filter: str
    options: int = 0

    @property
    def qos(self) -> int:
        """Greatest quality of service that the client wants."""
        return self.options & 3


class Subscribe(msgspec.Struct, frozen=True, kw_only=True):
    """SUBSCRIBE."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = ()


class Unsubscribe(msgspec.Struct, frozen=True, kw_only=True):
    """UNSUBSCRIBE."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = ()


class Codes(msgspec.Struct, frozen=True, kw_only=True):
    """SUBACK or UNSUBACK; UNSUBACK of 3.1.1 has no codes."""

    kind: Kind
    packet_id: int
    codes: bytes = b""
    properties: Properties = ()


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """PINGREQ or PINGRESP."""

    kind: Kind


class Disconnect(msgspec.Struct, frozen=True, kw_only=True):
    """DISCONNECT; code and properties in MQTT 5 alone."""

    code: int = 0
    properties: Properties = ()


class Auth(msgspec.Struct, frozen=True, kw_only=True):
    """AUTH of MQTT 5."""

    code: int = 0
    properties: Properties = ()


Packet = Connect | Connack | Publish | Ack | Subscribe | Unsubscribe | Codes | Ping | Disconnect | Auth


class Frame(msgspec.Struct, frozen=True, gc=False):
    """Where a packet lies: `data[start:end]`, its content from `body` on. `end` may lie behind the bytes at hand."""

    head: int
    start: int
    body: int
    end: int


def frame_at(data: bytes, offset: int, version: int = 4) -> Frame | None:
    """Read the fixed header at an offset; None while it is incomplete; raises ProtocolFault where it is illegal."""
    if offset >= len(data):
        return None
    length, body = read_varint(data, offset + 1)
    if length < 0:
        return None
    head = data[offset]
    check_head(head, offset, version)
    return Frame(head, offset, body, body + length)


def check_head(head: int, offset: int, version: int = 4) -> None:
    """Refuse illegal types and flags; in 3.1, PUBREL, SUBSCRIBE and UNSUBSCRIBE may say DUP."""
    kind = head >> 4
    if kind == Kind.PUBLISH:
        if head & 6 == 6:
            raise ProtocolFault("QoS 3", offset)
        if head & 14 == 8:
            raise ProtocolFault("DUP at QoS 0", offset)
    elif not kind or (head & 7 if version == 3 and kind in _FLAGS else head & 15) != _FLAGS.get(kind, 0):
        raise ProtocolFault("bad type or flags", offset)


def decode_packet(data: bytes, version: int) -> Packet | Malformed:
    """Read exactly one packet; never raises, whatever the bytes.

    Args:
        version: 3, 4 or 5, as the CONNECT said; for CONNECT itself it does not matter.
    """
    try:
        frame = frame_at(data, 0, version)
        if frame is None or frame.end != len(data):
            raise ProtocolFault("not one whole packet")
        return read_packet(data, frame, version)
    except Unreadable as error:
        return malformed("mqtt", error.reason, data, error.offset)
    except (IndexError, struct.error):
        return malformed("mqtt", "truncated", data)


def read_packet(data: bytes, frame: Frame, version: int) -> Packet:
    """Read the packet in a frame that is wholly there; raises Unreadable or IndexError."""
    kind = frame.head >> 4
    if kind == Kind.PUBLISH:
        return _read_publish(data, frame, version)
    if kind == Kind.CONNECT:
        return read_connect(data, frame.body, frame.end)
    if kind == Kind.CONNACK:
        return _read_connack(data, frame.body, frame.end, version)
    if Kind.PUBACK <= kind <= Kind.PUBCOMP:
        return _read_ack(data, frame, version)
    if kind == Kind.SUBSCRIBE:
        return _read_subscribe(data, frame.body, frame.end, version)
    if kind == Kind.UNSUBSCRIBE:
        return _read_unsubscribe(data, frame.body, frame.end, version)
    if kind in (Kind.SUBACK, Kind.UNSUBACK):
        return _read_codes(data, frame, version)
    if kind in (Kind.PINGREQ, Kind.PINGRESP):
        _expect_end(frame.body, frame.end)
        return Ping(kind=Kind(kind))
    return _read_farewell(data, frame, version)


def _expect_end(at: int, end: int) -> None:
    if at != end:
        raise ProtocolFault("bytes after the packet's content", at)


def _read_id(data: bytes, at: int, end: int) -> tuple[int, int]:
    packet_id, after = read_number(data, at, 2, end)
    if not packet_id:
        raise ProtocolFault("packet identifier 0", at, PROTOCOL_ERROR)
    return packet_id, after


def _properties(data: bytes, at: int, end: int, kind: int, version: int) -> tuple[Properties, int]:
    return read_properties(data, at, end, kind) if version == V5 else ((), at)


def read_connect(data: bytes, at: int, end: int) -> Connect:
    """Read a CONNECT's content."""
    name, at = read_binary(data, at, end)
    marked, at = read_number(data, at, 1, end)
    version = marked & 0x7F
    if (name, version) not in ((b"MQTT", 4), (b"MQTT", 5), (b"MQIsdp", 3)):
        raise ProtocolFault("unknown protocol name or version", at - 1, 0x84)
    flags, at = read_number(data, at, 1, end)
    _check_connect_flags(flags, version, at - 1)
    keep_alive_s, at = read_number(data, at, 2, end)
    properties, at = _properties(data, at, end, Kind.CONNECT, version)
    _check_auth(properties, at)
    client_id, at = read_text(data, at, end)
    will, user, password = None, None, None
    if flags & 4:
        will, at = _read_will(data, at, end, version, flags)
    if flags & 0x80:
        user, at = read_text(data, at, end)
    if flags & 0x40:
        raw, at = read_binary(data, at, end)
        password = Secret(raw.decode("utf-8", "surrogateescape"))
    _expect_end(at, end)
    return Connect(
        client_id=client_id,
        version=version,
        clean=flags & 2 != 0,
        keep_alive_s=keep_alive_s,
        user=user,
        password=password,
        will=will,
        properties=properties,
        is_bridge=marked & 0x80 != 0,
    )


def _check_connect_flags(flags: int, version: int, at: int) -> None:
    if flags & 1:
        raise ProtocolFault("reserved connect flag set", at)
    if flags >> 3 & 3 == 3 or (not flags & 4 and flags & 0x38):
        raise ProtocolFault("bad will flags", at)
    if version < V5 and flags & 0x40 and not flags & 0x80:
        raise ProtocolFault("password without user name", at)


def _check_auth(properties: Properties, at: int) -> None:
    names = {name for name, _ in properties}
    if Property.AUTH_DATA in names and Property.AUTH_METHOD not in names:
        raise ProtocolFault("authentication data without a method", at, PROTOCOL_ERROR)


def _read_will(data: bytes, at: int, end: int, version: int, flags: int) -> tuple[Will, int]:
    properties, at = _properties(data, at, end, WILL, version)
    topic, after = read_text(data, at, end)
    if not topic:
        raise ProtocolFault("empty will topic", at, BAD_TOPIC)
    check_topic_name(topic, at)
    payload, after = read_binary(data, after, end)
    qos, retain = flags >> 3 & 3, flags & 0x20 != 0
    return Will(topic=topic, payload=payload, qos=qos, retain=retain, properties=properties), after


def _read_connack(data: bytes, at: int, end: int, version: int) -> Connack:
    flags, at = read_number(data, at, 1, end)
    code, at = read_number(data, at, 1, end)
    if flags > 1 or (flags and code):
        raise ProtocolFault("bad CONNACK flags", at - 2)
    properties: Properties = ()
    # A broker that knows no MQTT 5 says so in its own, shorter form.
    if version == V5 and not (at == end and code):
        properties, at = read_properties(data, at, end, Kind.CONNACK)
    _expect_end(at, end)
    return Connack(code=code, session_present=flags == 1, properties=properties)


def _read_publish(data: bytes, frame: Frame, version: int) -> Publish:
    raw, at = read_binary(data, frame.body, frame.end)
    topic = check_topic_name(text_of(raw, frame.body), frame.body)
    qos, packet_id = frame.head >> 1 & 3, 0
    if qos:
        packet_id, at = _read_id(data, at, frame.end)
    properties, at = _properties(data, at, frame.end, Kind.PUBLISH, version)
    if not topic and not first_property(properties, Property.TOPIC_ALIAS):
        raise ProtocolFault("no topic", frame.body, PROTOCOL_ERROR)
    return Publish(
        topic=topic,
        payload=data[at : frame.end],
        qos=qos,
        retain=frame.head & 1 == 1,
        dup=frame.head & 8 == 8,
        packet_id=packet_id,
        properties=properties,
    )


def _read_ack(data: bytes, frame: Frame, version: int) -> Ack:
    kind = Kind(frame.head >> 4)
    packet_id, at = _read_id(data, frame.body, frame.end)
    code, properties = 0, NO_PROPERTIES
    if version == V5 and at < frame.end:
        code, at = data[at], at + 1
        if at < frame.end:
            properties, at = read_properties(data, at, frame.end, kind)
    _expect_end(at, frame.end)
    return Ack(kind=kind, packet_id=packet_id, code=code, properties=properties)


def _read_subscribe(data: bytes, at: int, end: int, version: int) -> Subscribe:
    packet_id, at = _read_id(data, at, end)
    properties, at = _properties(data, at, end, Kind.SUBSCRIBE, version)
    wanted: list[Subscription] = []
    while at < end:
        start = at
        text, at = read_text(data, at, end)
        group, _ = split_shared(text, start)
        options, at = read_number(data, at, 1, end)
        _check_options(options, version, bool(group), at - 1)
        wanted.append(Subscription(text, options))
        _check_count(len(wanted), at)
    if not wanted:
        raise ProtocolFault("no topic filter", at, PROTOCOL_ERROR)
    return Subscribe(packet_id=packet_id, subscriptions=tuple(wanted), properties=properties)


def _check_options(options: int, version: int, is_shared: bool, at: int) -> None:
    if options & 3 == 3 or options & (0xC0 if version == V5 else 0xFC) or options & 0x30 == 0x30:
        raise ProtocolFault("bad subscription options", at, PROTOCOL_ERROR)
    if is_shared and options & 4:
        raise ProtocolFault("shared subscription with No Local", at, PROTOCOL_ERROR)


def _check_count(count: int, at: int) -> None:
    if count > MAX_FILTERS:
        raise ProtocolFault("too many topic filters", at, 0x97)


def _read_unsubscribe(data: bytes, at: int, end: int, version: int) -> Unsubscribe:
    packet_id, at = _read_id(data, at, end)
    properties, at = _properties(data, at, end, Kind.UNSUBSCRIBE, version)
    filters: list[str] = []
    while at < end:
        start = at
        text, at = read_text(data, at, end)
        split_shared(text, start)
        filters.append(text)
        _check_count(len(filters), at)
    if not filters:
        raise ProtocolFault("no topic filter", at, PROTOCOL_ERROR)
    return Unsubscribe(packet_id=packet_id, filters=tuple(filters), properties=properties)


def _read_codes(data: bytes, frame: Frame, version: int) -> Codes:
    kind = Kind(frame.head >> 4)
    packet_id, at = _read_id(data, frame.body, frame.end)
    properties, at = _properties(data, at, frame.end, kind, version)
    codes = data[at : frame.end]
    if (kind == Kind.SUBACK or version == V5) != bool(codes):
        raise ProtocolFault("wrong number of codes", at)
    return Codes(kind=kind, packet_id=packet_id, codes=codes, properties=properties)


def _read_farewell(data: bytes, frame: Frame, version: int) -> Disconnect | Auth:
    kind, at, end = frame.head >> 4, frame.body, frame.end
    if version != V5:
        if kind == Kind.AUTH:
            raise ProtocolFault("AUTH before MQTT 5", frame.start, PROTOCOL_ERROR)
        _expect_end(at, end)
        return Disconnect()
    code, properties = 0, NO_PROPERTIES
    if at < end:
        code, at = data[at], at + 1
        if at < end:
            properties, at = read_properties(data, at, end, kind)
    _expect_end(at, end)
    if kind == Kind.AUTH:
        return Auth(code=code, properties=properties)
    return Disconnect(code=code, properties=properties)


def encode_packet(packet: Packet, version: int) -> bytes:
    """Write a packet; its content is taken to be legal, as the readers and the constructors of answers leave it."""
    if isinstance(packet, Publish):
        head = Kind.PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain
        return _packet(head, _publish_head(packet, version) + packet.payload)
    if isinstance(packet, Connect):
        return _packet(Kind.CONNECT << 4, _connect_body(packet))
    if isinstance(packet, Connack):
        body = bytes((packet.session_present, packet.code)) + _tail(packet.properties, version)
        return _packet(Kind.CONNACK << 4, body)
    if isinstance(packet, Ack):
        flags = 2 if packet.kind == Kind.PUBREL else 0
        body = _id(packet.packet_id) + _short_tail(packet.code, packet.properties, version)
        return _packet(packet.kind << 4 | flags, body)
    if isinstance(packet, Subscribe):
        wanted = b"".join(encode_text(each.filter) + bytes((each.options,)) for each in packet.subscriptions)
        return _packet(Kind.SUBSCRIBE << 4 | 2, _id(packet.packet_id) + _tail(packet.properties, version) + wanted)
    if isinstance(packet, Unsubscribe):
        filters = b"".join(map(encode_text, packet.filters))
        return _packet(Kind.UNSUBSCRIBE << 4 | 2, _id(packet.packet_id) + _tail(packet.properties, version) + filters)
    if isinstance(packet, Codes):
        return _packet(packet.kind << 4, _id(packet.packet_id) + _tail(packet.properties, version) + packet.codes)
    if isinstance(packet, Ping):
        return _packet(packet.kind << 4, b"")
    kind = Kind.AUTH if isinstance(packet, Auth) else Kind.DISCONNECT
    return _packet(kind << 4, _short_tail(packet.code, packet.properties, version))


def _packet(head: int, body: bytes) -> bytes:
    return bytes((head,)) + encode_varint(len(body)) + body


def _id(packet_id: int) -> bytes:
    return packet_id.to_bytes(2, "big")


def _tail(properties: Properties, version: int) -> bytes:
    return encode_properties(properties) if version == V5 else b""


def _short_tail(code: int, properties: Properties, version: int) -> bytes:
    """Reason code and properties, left out where the standard lets them be (3.4.2.1)."""
    if version != V5 or (not code and not properties):
        return b""
    return bytes((code,)) + (encode_properties(properties) if properties else b"")


def _publish_head(packet: Publish, version: int) -> bytes:
    packet_id = _id(packet.packet_id) if packet.qos else b""
    return encode_text(packet.topic) + packet_id + _tail(packet.properties, version)


def _connect_body(packet: Connect) -> bytes:
    will = packet.will
    flags = packet.clean << 1 | (packet.user is not None) << 7 | (packet.password is not None) << 6
    if will is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
    name = b"MQIsdp" if packet.version == 3 else b"MQTT"
    out = encode_binary(name) + bytes((packet.version | packet.is_bridge << 7, flags))
    out += packet.keep_alive_s.to_bytes(2, "big") + _tail(packet.properties, packet.version)
    out += encode_text(packet.client_id)
    if will is not None:
        out += _tail(will.properties, packet.version) + encode_text(will.topic) + encode_binary(will.payload)
    if packet.user is not None:
        out += encode_text(packet.user)
    if packet.password is not None:
        out += encode_binary(packet.password.reveal().encode("utf-8", "surrogateescape"))
    return out
