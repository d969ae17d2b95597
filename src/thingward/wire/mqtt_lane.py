"""One direction of a proxied MQTT connection: bytes that wait, topic aliases, publications refused half-way."""

from __future__ import annotations

from typing import Final

from thingward.wire.mqtt_commands import ProxyLimits, Side, ToBroker, ToClient
from thingward.wire.mqtt_fields import (
    BAD_ALIAS,
    MAX_VARINT,
    PROTOCOL_ERROR,
    QUOTA,
    ProtocolFault,
    check_topic_name,
    text_of,
)
from thingward.wire.mqtt_packets import V5, Frame

KEPT_TOPICS: Final = 64


class Lane:
    """State of one direction; the machine drives it.

    Attributes:
        rest: input that is not yet worked off; `need` bytes of it make the next step possible.
        data, mark, at: the input at work; `data[mark:at]` has been judged and goes on as it is.
        carry: bytes still to come of a packet that is passed on (or, with `skip`, left out) as it comes.
        after: answers to the sender for when the left out packet is over.
        waiting: packets of the gateway's own for when the passed on packet is over.
        holds: why nothing is read from this side; `stopped` if nothing may be worked off either.
        aliases: as the sender means them; `told` as the receiver knows them.
        largest: packet in bytes that the receiver takes.
        refused: identifiers of refused QoS 2 publications whose PUBREL is to come.
    """

    __slots__ = (
        "after",
        "alias_bytes",
        "alias_maximum",
        "aliases",
        "at",
        "carry",
        "data",
        "holds",
        "largest",
        "mark",
        "messages",
        "need",
        "refused",
        "rest",
        "side",
        "skip",
        "stopped",
        "to",
        "told",
        "topics",
        "waiting",
    )

    def __init__(self, side: Side) -> None:
        self.side = side
        self.to: type[ToBroker] | type[ToClient] = ToBroker if side is Side.CLIENT else ToClient
        self.rest = bytearray()
        self.data = b""
        self.need = self.mark = self.at = self.carry = self.messages = 0
        self.skip = self.stopped = False
        self.after: bytes = b""
        self.waiting: list[bytes] = []
        self.holds: set[str] = set()
        self.aliases: dict[int, str] = {}
        self.told: dict[int, str] = {}
        self.alias_maximum = self.alias_bytes = 0
        self.largest = MAX_VARINT
        self.refused: set[int] = set()
        self.topics: dict[bytes, str] = {}

    def load(self, data: bytes) -> bool:
        """Put new bytes behind those that wait; true if a step is possible, with `data` ready for it."""
        if self.rest or self.stopped:
            self.rest += data
            if self.stopped or len(self.rest) < self.need:
                return False
            data = bytes(self.rest)
            self.rest.clear()
        self.data, self.mark, self.at = data, 0, 0
        return True

    def keep(self) -> None:
        """Keep what was not worked off; all that was judged has been sent."""
        if self.at < len(self.data):
            self.rest += self.data[self.at :] if self.at else self.data
        self.data, self.mark, self.at = b"", 0, 0

    def topic(self, raw: bytes, offset: int) -> str:
        """Check and decode a topic name; those last seen are remembered."""
        known = self.topics.get(raw)
        if known is None:
            known = check_topic_name(text_of(raw, offset), offset)
            if len(self.topics) >= KEPT_TOPICS:
                self.topics.clear()
            self.topics[raw] = known
        return known

    def resolve(self, topic: str, alias: int, limits: ProxyLimits) -> str:
        """Give the topic that is meant, and remember what the sender's alias stands for (3.3.2.3.4)."""
        if not alias:
            if not topic:
                raise ProtocolFault("no topic", self.at, PROTOCOL_ERROR)
            return topic
        if alias > self.alias_maximum:
            raise ProtocolFault("topic alias above the agreed maximum", self.at, BAD_ALIAS)
        if not topic:
            known = self.aliases.get(alias)
            if known is None:
                raise ProtocolFault("topic alias that stands for nothing", self.at, PROTOCOL_ERROR)
            return known
        self.alias_bytes += len(topic) - len(self.aliases.get(alias, ""))
        if self.alias_bytes > limits.max_alias_bytes:
            raise ProtocolFault("topic aliases take too much", self.at, QUOTA)
        self.aliases[alias] = topic
        return topic


def head_end(data: bytes, frame: Frame, version: int) -> int:
    """Tell up to where a PUBLISH must be there for the next step of reading its head; at most to the packet's end."""
    size = len(data)
    if (at := frame.body + 2) > size:
        return min(at, frame.end)
    at += data[at - 2] << 8 | data[at - 1]
    if frame.head & 6:
        at += 2
    if version != V5 or at >= frame.end:
        return min(at, frame.end)
    length, shift = 0, 0
    for place in range(4):
        if at + place >= size:
            return min(at + place + 1, frame.end)
        byte = data[at + place]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return min(at + place + 1 + length, frame.end)
    return min(at + 4, frame.end)
