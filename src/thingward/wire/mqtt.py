"""MQTT 3.1, 3.1.1 and 5 on a connection: who connects with what, and the first topics."""

from __future__ import annotations

import struct
from typing import ClassVar

import msgspec

from thingward.model.record import Malformed, Secret
from thingward.wire.message import Credential, Message, Unreadable, clean_text, malformed

MAX_TOPICS = 16
MAX_PACKETS = 1024
MAX_STREAM_BYTES = 262144
MAX_CONNECT_BYTES = 16384
MAX_SUBSCRIBE_BYTES = 4096
MAX_TOPIC_BYTES = 1024

_CONNECT, _CONNACK, _PUBLISH, _SUBSCRIBE, _DISCONNECT, _AUTH = 1, 2, 3, 8, 14, 15
_FLAGS = {6: 2, 8: 2, 10: 2}
_CLIENT_TYPES = frozenset({1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15})
_SERVER_TYPES = frozenset({2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15})
_FIXED_LENGTHS = {12: 0, 13: 0}


class MqttConnect(Message, frozen=True, kw_only=True):
    """One CONNECT with its answer.

    Attributes:
        version: 3 (3.1), 4 (3.1.1) or 5.
        return_code: of CONNACK, 0 accepted; -1 if none was seen.
        keep_alive_s: in seconds, 0 means none.
    """

    protocol: ClassVar[str] = "mqtt"
    client_id: str = ""
    user: str = ""
    has_password: bool = False
    version: int = 4
    keep_alive_s: int = 0
    will_topic: str = ""
    return_code: int = -1


class MqttTopic(Message, frozen=True, kw_only=True):
    """A topic's first use on the connection: `publish` or `subscribe`; from_initiator says which side."""

    protocol: ClassVar[str] = "mqtt"
    operation: str
    topic: str
    client_id: str = ""
    version: int = 4


def _text(body: bytes, offset: int) -> tuple[bytes, int]:
    """Read a field with a two-byte length."""
    if offset + 2 > len(body):
        raise Unreadable("field truncated", offset)
    end = offset + 2 + (body[offset] << 8 | body[offset + 1])
    if end > len(body):
        raise Unreadable("field overruns its packet", offset)
    return body[offset + 2 : end], end


def read_varint(data: bytes | bytearray, offset: int) -> tuple[int, int]:
    """Read a variable byte integer; gives (-1, offset) while it is incomplete; raises Unreadable over four bytes."""
    value = 0
    for shift in range(4):
        if offset + shift >= len(data):
            return -1, offset
        byte = data[offset + shift]
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, offset + shift + 1
    raise Unreadable("length field too long", offset)


def _skip_properties(body: bytes, offset: int) -> int:
    length, after = read_varint(body, offset)
    if length < 0 or after + length > len(body):
        raise Unreadable("properties overrun their packet", offset)
    return after + length


def read_connect(body: bytes) -> tuple[MqttConnect, Credential | None]:
    """Read a CONNECT packet's content; raises Unreadable or IndexError where it breaks the standard."""
    name, offset = _text(body, 0)
    version, flags = body[offset], body[offset + 1]
    if (name, version & 0x7F) not in ((b"MQTT", 4), (b"MQTT", 5), (b"MQIsdp", 3)):
        raise Unreadable("unknown protocol name or version", 0)
    version &= 0x7F
    if flags & 1:
        raise Unreadable("reserved connect flag set", offset + 1)
    if flags >> 3 & 3 == 3 or (not flags & 4 and flags & 0x38):
        raise Unreadable("bad will flags", offset + 1)
    if version < 5 and flags & 0x40 and not flags & 0x80:
        raise Unreadable("password without user name", offset + 1)
    (keep_alive_s,) = struct.unpack_from("!H", body, offset + 2)
    offset += 4
    if version == 5:
        offset = _skip_properties(body, offset)
    client_id, offset = _text(body, offset)
    will = user = password = b""
    if flags & 4:
        if version == 5:
            offset = _skip_properties(body, offset)
        will, offset = _text(body, offset)
        _, offset = _text(body, offset)
    if flags & 0x80:
        user, offset = _text(body, offset)
    if flags & 0x40:
        password, offset = _text(body, offset)
    if offset != len(body):
        raise Unreadable("bytes after the payload", offset)
    connect = MqttConnect(
        client_id=clean_text(client_id),
        user=clean_text(user),
        has_password=flags & 0x40 != 0,
        version=version,
        keep_alive_s=keep_alive_s,
        will_topic=clean_text(will),
    )
    if not flags & 0xC0:
        return connect, None
    secret = Secret(password.decode("utf-8", "replace")) if flags & 0x40 else None
    return connect, Credential(scheme="mqtt", user=connect.user, password=secret)


def _check_topic(topic: bytes, version: int) -> None:
    if (not topic and version < 5) or b"\0" in topic or b"+" in topic or b"#" in topic:
        raise Unreadable("bad topic", 2)


class _Side:
    """One direction: bytes of the packet being read, and how many of a long one to pass over."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.skip = 0
        self.seen = 0
        self.packets = 0
        self.over = False


class MqttDecoder:
    """Follows both directions; the side that sends CONNECT is the client."""

    protocol: ClassVar[str] = "mqtt"

    def __init__(self) -> None:
        self._sides = {True: _Side(), False: _Side()}
        self._connect: MqttConnect | None = None
        self._credential: Credential | None = None
        self._waiting = False
        self._topics: set[tuple[str, str, bool]] = set()

    @property
    def done(self) -> bool:
        """Both directions are over, or enough topics were seen."""
        return self._sides[True].over and self._sides[False].over

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction."""
        side = self._sides[from_initiator]
        if side.over:
            return []
        side.seen += len(data)
        if side.skip:
            passed = min(side.skip, len(data))
            side.skip -= passed
            data = data[passed:]
        side.buffer += data[:MAX_STREAM_BYTES]
        found: list[Message | Malformed] = []
        try:
            while self._next_packet(side, from_initiator, found):
                pass
        except Unreadable as error:
            found += self._give_up(side, error.reason, error.offset)
        except (IndexError, struct.error):
            found += self._give_up(side, "packet truncated", 0)
        if side.seen > MAX_STREAM_BYTES or side.packets > MAX_PACKETS:
            side.over = True
            side.buffer.clear()
        return found

    def _give_up(self, side: _Side, reason: str, offset: int) -> list[Message | Malformed]:
        """End both directions: a broker closes the connection at a packet like this."""
        problem = malformed("mqtt", reason, bytes(side.buffer[:256]), offset)
        for either in self._sides.values():
            either.over = True
            either.buffer.clear()
        return [*self._settle(-1), problem]

    def _next_packet(self, side: _Side, from_initiator: bool, found: list[Message | Malformed]) -> bool:
        """Read one packet, or as much of its start as is needed; false if more bytes must come first."""
        buffer = side.buffer
        if len(buffer) < 2:
            return False
        kind, flags = buffer[0] >> 4, buffer[0] & 15
        self._check_header(side, kind, flags, from_initiator)
        length, start = read_varint(buffer, 1)
        if length < 0:
            return False
        if _FIXED_LENGTHS.get(kind, length) != length:
            raise Unreadable("length does not fit the packet type", 1)
        needed = _needed(kind, length, buffer, start)
        if needed < 0 or len(buffer) < start + needed:
            return False
        body = bytes(buffer[start : start + needed])
        self._packet(kind, flags, body, from_initiator, found)
        present = min(start + length, len(buffer))
        del buffer[:present]
        side.skip = start + length - present
        side.packets += 1
        return True

    def _check_header(self, side: _Side, kind: int, flags: int, from_initiator: bool) -> None:
        version = self._connect.version if self._connect is not None else 5
        if kind == 0 or (kind == _AUTH and version < 5):
            raise Unreadable("reserved packet type", 0)
        if kind == _PUBLISH:
            if flags & 6 == 6:
                raise Unreadable("QoS 3", 0)
        elif flags != _FLAGS.get(kind, 0) and not (version == 3 and kind in (6, 8, 10)):
            raise Unreadable("bad flags for the packet type", 0)
        if self._connect is None:
            if kind != _CONNECT:
                raise Unreadable("first packet is not CONNECT", 0)
            return
        if kind == _CONNECT:
            raise Unreadable("second CONNECT", 0)
        is_client = self._connect.from_initiator == from_initiator
        if kind not in (_CLIENT_TYPES if is_client else _SERVER_TYPES):
            raise Unreadable("packet type of the other side", 0)

    def _packet(
        self, kind: int, flags: int, body: bytes, from_initiator: bool, found: list[Message | Malformed]
    ) -> None:
        if kind == _CONNECT:
            connect, credential = read_connect(body)
            self._connect = msgspec.structs.replace(connect, from_initiator=from_initiator)
            if credential is not None:
                self._credential = msgspec.structs.replace(credential, from_initiator=from_initiator)
            self._waiting = True
        elif kind == _CONNACK:
            if len(body) < 2:
                raise Unreadable("CONNACK too short", 0)
            found += self._settle(body[1])
        elif kind == _PUBLISH:
            assert self._connect is not None
            topic, _ = _text(body, 0)
            _check_topic(topic, self._connect.version)
            self._note_topic("publish", topic, from_initiator, found)
        elif kind == _SUBSCRIBE:
            self._subscriptions(body, from_initiator, found)
        elif kind == _DISCONNECT:
            found += self._settle(-1)
            self._sides[from_initiator].over = True

    def _subscriptions(self, body: bytes, from_initiator: bool, found: list[Message | Malformed]) -> None:
        assert self._connect is not None
        offset = 2
        if self._connect.version == 5:
            offset = _skip_properties(body, offset)
        if offset >= len(body):
            raise Unreadable("SUBSCRIBE without topic", 0)
        while offset < len(body):
            topic, offset = _text(body, offset)
            if not topic or b"\0" in topic:
                raise Unreadable("bad topic", offset)
            if offset >= len(body):
                raise Unreadable("topic without options", offset)
            offset += 1
            self._note_topic("subscribe", topic, from_initiator, found)

    def _note_topic(self, operation: str, topic: bytes, from_initiator: bool, found: list[Message | Malformed]) -> None:
        text = clean_text(topic)
        key = (operation, text, from_initiator)
        if not topic or key in self._topics or len(self._topics) >= MAX_TOPICS or self._connect is None:
            return
        self._topics.add(key)
        found.append(
            MqttTopic(
                operation=operation,
                topic=text,
                client_id=self._connect.client_id,
                version=self._connect.version,
                from_initiator=from_initiator,
            )
        )

    def _settle(self, return_code: int) -> list[Message | Malformed]:
        """Give CONNECT and its credential with what became of them, once."""
        if not self._waiting or self._connect is None:
            return []
        self._waiting = False
        found: list[Message | Malformed] = [msgspec.structs.replace(self._connect, return_code=return_code)]
        if self._credential is not None:
            outcome = "unknown" if return_code < 0 else "success" if return_code == 0 else "failure"
            found.append(msgspec.structs.replace(self._credential, outcome=outcome))
        return found

    def finish(self) -> list[Message | Malformed]:
        """Give a CONNECT that was never answered; an unfinished packet is no error, slow senders do that."""
        return self._settle(-1)


def _needed(kind: int, length: int, buffer: bytearray, start: int) -> int:
    """Say how many bytes of the packet's content must be there to read it; -1 if that is not known yet."""
    if kind == _CONNECT:
        if length > MAX_CONNECT_BYTES:
            raise Unreadable("CONNECT too long", 1)
        return length
    if kind == _CONNACK:
        return min(length, 2)
    if kind == _SUBSCRIBE:
        if length > MAX_SUBSCRIBE_BYTES:
            raise Unreadable("SUBSCRIBE too long", 1)
        return length
    if kind == _PUBLISH:
        if length < 2:
            raise Unreadable("PUBLISH too short", 1)
        if len(buffer) < start + 2:
            return -1
        topic = buffer[start] << 8 | buffer[start + 1]
        if topic + 2 > length:
            raise Unreadable("topic overruns its packet", start)
        if topic > MAX_TOPIC_BYTES:
            raise Unreadable("topic too long", start)
        return 2 + topic
    return 0


def is_mqtt_connect(data: bytes) -> bool:
    """Tell by a CONNECT header and the protocol's name."""
    if not data or data[0] != 0x10:
        return False
    head = data[:16]
    return b"\0\x04MQTT" in head or b"\0\x06MQIsdp" in head
