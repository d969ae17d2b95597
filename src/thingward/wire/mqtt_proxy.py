"""The MQTT enforcement proxy without its sockets: bytes of a client and a broker in, commands out.

One machine per connection. What a grant permits goes on as the bytes that came; what none permits is answered here,
so that the sender's state stays right, and the receiver never sees it. How each packet is treated is described in
docs/adr/0014-gateway.md.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from thingward.model.topic_access import Operation, TopicDecision, TopicRequest
from thingward.wire.message import Unreadable, malformed
from thingward.wire.mqtt_commands import (
    AdmitAtDoor,
    Arrived,
    Broken,
    Close,
    Command,
    Gate,
    Judged,
    OldRefusal,
    Opened,
    Pause,
    ProxyLimits,
    Resume,
    Side,
    standing_key,
)
from thingward.wire.mqtt_fields import (
    MALFORMED,
    MAX_VARINT,
    PROTOCOL_ERROR,
    QUOTA,
    TOO_LARGE,
    Properties,
    Property,
    ProtocolFault,
    encode_properties,
    encode_text,
    encode_varint,
    first_property,
    read_properties,
    split_shared,
    text_property,
)
from thingward.wire.mqtt_lane import KEPT_TOPICS, Lane, head_end
from thingward.wire.mqtt_packets import (
    FROM_BROKER,
    FROM_CLIENT,
    V5,
    Ack,
    Auth,
    Codes,
    Connack,
    Connect,
    Disconnect,
    Frame,
    Kind,
    Packet,
    Subscribe,
    encode_packet,
    frame_at,
    read_packet,
)

NOT_AUTHORISED: Final = 0x87
UNKNOWN_ID: Final = 0x92
UNSUPPORTED_VERSION: Final = 0x84
UNAVAILABLE: Final = 0x88
KICKED: Final = 0x98
# Return codes of CONNACK in 3.1.1 for reasons of 5; any other becomes 5, not authorised.
_OLD_CODES: Final = {0x84: 1, 0x85: 2, 0x86: 4, 0x88: 3, 0x89: 3, 0x97: 3, 0x9C: 3, 0x9F: 3}
# Reasons that a CONNACK may carry (3.2.2.2).
_CONNACK_REASONS: Final = frozenset({0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90})
_MORE_REASONS: Final = frozenset({0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F})


class State(StrEnum):
    """Where a connection is."""

    NEW = "new"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


def refusal_packet(version: int, code: int) -> bytes:
    """Write the CONNACK that refuses a client, in its own version's words."""
    if version == V5:
        known = code in _CONNACK_REASONS or code in _MORE_REASONS
        return encode_packet(Connack(code=code if known else NOT_AUTHORISED), V5)
    return encode_packet(Connack(code=_OLD_CODES.get(code, 5)), version)


class MqttProxy:
    """One client's connection to one broker. All methods give the commands that follow, in order; none raises.

    Attributes:
        state: where the connection is.
        connect: the client's CONNECT once it was read; later without will and password.
    """

    def __init__(self, door: AdmitAtDoor, limits: ProxyLimits | None = None) -> None:
        self.state = State.NEW
        self.connect: Connect | None = None
        self._door = door
        self._limits = limits or ProxyLimits()
        self._gate: Gate | None = None
        self._version = 4
        self._is_narrow = self._limits.max_packet_bytes <= 16_387  # the greatest packet with a length of two bytes
        self._up, self._down = Lane(Side.CLIENT), Lane(Side.BROKER)
        self._lane = self._up
        self._now = 0.0
        self._unread = 0  # answers of the gateway's own since the client takes no more
        self._out: list[Command] = []
        # SUBSCRIBEs that were sent on with filters left out: the codes of the refused, None where the broker answers.
        self._pending: dict[int, list[int | None]] = {}

    def feed_client(self, data: bytes, now: float) -> list[Command]:
        """Take bytes from the client; `now` in seconds of any steady clock."""
        return self._feed(self._up, data, now)

    def feed_broker(self, data: bytes, now: float) -> list[Command]:
        """Take bytes from the broker."""
        return self._feed(self._down, data, now)

    def resume(self, now: float) -> list[Command]:
        """Say that the seconds of a Pause are over."""
        self._now = now
        if self.state is not State.CLOSED and self._up.stopped:
            self._release(self._up, "rate")
        return self._drain()

    def write_blocked(self, side: Side) -> list[Command]:
        """Say that a side takes no more: the other is not read until `write_ready`."""
        if self.state is not State.CLOSED:
            self._hold(self._down if side is Side.CLIENT else self._up, "write")
        return self._drain()

    def write_ready(self, side: Side) -> list[Command]:
        """Say that a side takes bytes again."""
        if side is Side.CLIENT:
            self._unread = 0
            self._release(self._up, "answers")
        if self.state is not State.CLOSED:
            self._release(self._down if side is Side.CLIENT else self._up, "write")
        return self._drain()

    def kick(self, reason: str, code: int = KICKED, *, keep_will: bool = True) -> list[Command]:
        """End the connection from here.

        Args:
            code: what an MQTT 5 client is told.
            keep_will: whether the broker publishes the will, as for a lost client.
        """
        if self.state is State.OPEN and not keep_will and not self._up.carry:
            self._send(self._up, encode_packet(Disconnect(), self._version))
        self._end(reason, code)
        return self._drain()

    def lost(self, side: Side) -> list[Command]:
        """Say that a side has closed or cannot be reached (also: has not answered in time)."""
        if side is Side.CLIENT:
            self._finish("client lost", 0)
        else:
            self._end("broker lost", UNAVAILABLE if self.state is State.CONNECTING else 0x8B)
        return self._drain()

    def _feed(self, lane: Lane, data: bytes, now: float) -> list[Command]:
        self._now = now
        if self.state is State.CLOSED:
            return []
        if lane.load(data):
            self._work(lane)
            if self.state is State.OPEN:
                self._release(self._up, "connack")
        elif len(lane.rest) > self._limits.max_held_bytes + lane.need:
            self._end("too much input while paused", QUOTA)
        return self._drain()

    def _drain(self) -> list[Command]:
        out, self._out = self._out, []
        return out

    def _work(self, lane: Lane) -> None:
        """Work off a lane's input as far as it goes."""
        self._lane = lane
        try:
            while self.state is not State.CLOSED and not lane.stopped and lane.at < len(lane.data):
                if lane.carry:
                    self._carry_on(lane)
                elif not self._glide(lane) and not self._next_packet(lane):
                    break
        except Unreadable as error:
            self._broken(lane, error)
        except IndexError:
            self._broken(lane, ProtocolFault("truncated", lane.at))
        if self.state is not State.CLOSED:
            self._flush(lane)
            lane.keep()

    def _broken(self, lane: Lane, error: Unreadable) -> None:
        code = error.code if isinstance(error, ProtocolFault) else MALFORMED
        self._say(Broken(lane.side, malformed("mqtt", error.reason, lane.data[lane.at :], error.offset - lane.at)))
        if self.state is State.NEW and code == UNSUPPORTED_VERSION and error.offset < len(lane.data):
            self._version = V5 if lane.data[error.offset] & 0x7F > V5 else 4
        self._end(f"{lane.side} broke the protocol", code if lane is self._up else 0x83)

    def _flush(self, lane: Lane) -> None:
        """Send on what was judged so far; the very same object where that is all there was."""
        if lane.mark < lane.at:
            whole = not lane.mark and lane.at == len(lane.data)
            self._out.append(lane.to(lane.data if whole else lane.data[lane.mark : lane.at]))
            lane.mark = lane.at

    def _say(self, command: Command) -> None:
        self._flush(self._lane)
        self._out.append(command)

    def _send(self, lane: Lane, data: bytes) -> None:
        """Put a packet of the gateway's own into a direction, between the packets there."""
        if lane.carry and not lane.skip:
            lane.waiting.append(data)
            if len(lane.waiting) > self._limits.max_pending:
                self._end("too many answers wait", QUOTA)
        else:
            self._say(lane.to(data))
        if lane is self._down and "write" in lane.holds:
            self._unread += 1
            if self._unread >= self._limits.max_pending:
                self._hold(self._up, "answers")

    def _other(self, lane: Lane) -> Lane:
        return self._down if lane is self._up else self._up

    def _carry_on(self, lane: Lane) -> None:
        """Go on with a packet whose head has been judged."""
        count = min(lane.carry, len(lane.data) - lane.at)
        lane.carry -= count
        lane.at += count
        if lane.skip:
            lane.mark = lane.at
            if not lane.carry and lane.after:
                answer, lane.after = lane.after, b""
                self._send(self._other(lane), answer)
        elif not lane.carry and lane.waiting:
            self._flush(lane)
            self._out += map(lane.to, lane.waiting)
            lane.waiting.clear()

    def _glide(self, lane: Lane) -> bool:
        """Pass over whole publications that standing permits cover; true if there were any.

        Whatever is not plainly so (properties, a long packet, an end of input) is left to `_next_packet`.
        """
        gate = self._gate
        if gate is None or not gate.standing or lane.refused or self._is_narrow or self.state is not State.OPEN:
            return False
        count, at = self._covered(lane, gate)
        if not count:
            return False
        lane.at, lane.messages = at, lane.messages + count
        gate.count_passed(Operation.PUBLISH if lane is self._up else Operation.RECEIVE, count)
        return True

    def _covered(self, lane: Lane, gate: Gate) -> tuple[int, int]:
        """Count the publications ahead that standing permits cover, and tell where they end."""
        data, at, size, count = lane.data, lane.at, len(lane.data), 0
        standing, direction = gate.standing, standing_key(lane.side, 0)
        is_v5, is_paced = self._version == V5, gate.is_paced and lane is self._up
        while at + 4 < size:
            head, length, body = data[at], data[at + 1], at + 2
            permits = standing.get(head | direction)
            if permits is None:
                break
            if length > 127:
                more = data[body]
                if more > 127 or not more:
                    break
                length += (more - 1) << 7
                body += 1
            end = body + length
            topic = body + 2
            payload = topic + (data[body] << 8 | data[body + 1])
            largest = permits.get(data[topic:payload])
            if largest is None or end > size:
                break
            if head & 6:
                payload += 2
                if payload > end or not (data[payload - 2] or data[payload - 1]):
                    break
            if is_v5:
                if payload >= end or data[payload]:
                    break
                payload += 1
            if payload > end or end - payload > largest:
                break
            at = end
            count += 1
            if is_paced:
                lane.at = at
                self._pace(lane, end - payload)
                if lane.stopped:
                    break
        return count, at

    def _next_packet(self, lane: Lane) -> bool:
        """Take the next packet, if enough of it is there."""
        frame = frame_at(lane.data, lane.at, self._version)
        if frame is None:
            lane.need = len(lane.data) - lane.at + 1
            return False
        kind, size = frame.head >> 4, frame.end - frame.start
        if kind not in (FROM_CLIENT if lane is self._up else FROM_BROKER):
            raise ProtocolFault("packet of the wrong side", lane.at, PROTOCOL_ERROR)
        if size > self._limits.max_packet_bytes or (kind != Kind.PUBLISH and size > self._limits.max_control_bytes):
            raise ProtocolFault("packet too large", lane.at, TOO_LARGE)
        if self.state is not State.OPEN and not self._may_come(lane, kind):
            return False
        needed = frame.end
        if kind == Kind.PUBLISH and size > self._limits.stream_bytes:
            needed = head_end(lane.data, frame, self._version)
            if needed - frame.start > self._limits.max_control_bytes:
                raise ProtocolFault("packet too large", lane.at, TOO_LARGE)
        if needed > len(lane.data):
            lane.need = needed - lane.at
            return False
        if kind == Kind.PUBLISH:
            self._publish(lane, frame)
        else:
            self._control(lane, frame)
        return True

    def _may_come(self, lane: Lane, kind: int) -> bool:
        """Before the connection is open: let through what belongs there, hold back a client that is ahead."""
        if self.state is State.NEW:
            if lane is self._down or kind != Kind.CONNECT:
                raise ProtocolFault("no CONNECT", lane.at, PROTOCOL_ERROR)
            return True
        if kind == Kind.AUTH and self._version == V5:
            return True
        if lane is self._down:
            if kind != Kind.CONNACK:
                raise ProtocolFault("no CONNACK", lane.at, PROTOCOL_ERROR)
            return True
        if kind == Kind.DISCONNECT:
            return True
        if kind == Kind.CONNECT:
            raise ProtocolFault("second CONNECT", lane.at, PROTOCOL_ERROR)
        self._hold(lane, "connack")
        return False

    def _pass(self, lane: Lane, frame: Frame) -> None:
        """Let a packet go on as it is, also the part that is still to come."""
        size = len(lane.data)
        lane.at, lane.carry, lane.skip = min(frame.end, size), max(0, frame.end - size), False

    def _drop(self, lane: Lane, frame: Frame) -> None:
        """Leave a packet out, also the part that is still to come."""
        self._flush(lane)
        self._pass(lane, frame)
        lane.mark, lane.skip = lane.at, True

    def _replace(self, lane: Lane, frame: Frame, packet: bytes) -> None:
        self._drop(lane, frame)
        self._out.append(lane.to(packet))

    def _publish(self, lane: Lane, frame: Frame) -> None:
        data, body, head = lane.data, frame.body, frame.head
        at = body + 2 + (data[body] << 8 | data[body + 1])
        if at > frame.end:
            raise ProtocolFault("topic overruns its packet", body)
        raw = data[body + 2 : at]
        topic = lane.topic(raw, body)
        qos, packet_id, alias = head >> 1 & 3, 0, 0
        if qos:
            packet_id = data[at] << 8 | data[at + 1]
            at += 2
            if not packet_id or at > frame.end:
                raise ProtocolFault("packet identifier 0 or missing", at, PROTOCOL_ERROR)
        properties: Properties = ()
        named = topic
        if self._version == V5:
            properties, at = read_properties(data, at, frame.end, Kind.PUBLISH)
            self._check_publish(lane, properties)
            alias = first_property(properties, Property.TOPIC_ALIAS)
        if alias or not topic:
            topic = lane.resolve(named, alias, self._limits)
        operation = Operation.PUBLISH if lane is self._up else Operation.RECEIVE
        request = TopicRequest(operation, topic, frame.end - at, qos, head & 1 == 1)
        decision = self._judge(request)
        lane.messages += 1
        if decision.refuses:
            self._refuse_publish(lane, frame, qos, packet_id)
        else:
            lane.refused.discard(packet_id)
            if alias and not named and lane.told.get(alias) != topic:
                self._name_topic(lane, frame, topic, packet_id, properties, at)
            else:
                self._pass(lane, frame)
            if alias:
                lane.told[alias] = topic
            elif decision.permit and decision.up_to_bytes >= 0:
                self._remember(standing_key(lane.side, head), raw, decision.up_to_bytes)
        if lane is self._up:
            self._pace(lane, request.size_bytes)

    def _remember(self, key: int, raw: bytes, up_to_bytes: int) -> None:
        if self._gate is not None:
            permits = self._gate.standing.setdefault(key, {})
            if len(permits) >= KEPT_TOPICS:
                permits.clear()
            permits[raw] = up_to_bytes

    def _check_publish(self, lane: Lane, properties: Properties) -> None:
        if lane is self._up and first_property(properties, Property.SUBSCRIPTION_ID):
            raise ProtocolFault("subscription identifier from a client", lane.at, PROTOCOL_ERROR)

    def _judge(self, request: TopicRequest) -> TopicDecision:
        decision = _NO_GATE if self._gate is None else self._gate.decide(request)
        if not decision.permit:
            self._say(Judged(request, decision))
        return decision

    def _pace(self, lane: Lane, size_bytes: int) -> None:
        wait_s = 0.0 if self._gate is None else self._gate.pace(size_bytes, self._now)
        if wait_s > 0 and self.state is State.OPEN:
            self._hold(lane, "rate", wait_s)

    def _refuse_publish(self, lane: Lane, frame: Frame, qos: int, packet_id: int) -> None:
        """Leave a publication out and end its exchange with the sender."""
        self._drop(lane, frame)
        if lane is self._up and self._version < V5 and self._limits.old_refusal is OldRefusal.DISCONNECT:
            self._end("publication refused", NOT_AUTHORISED)
            return
        if not qos:
            return
        kind = Kind.PUBACK if qos == 1 else Kind.PUBREC
        # A broker is told nothing: mosquitto 2.0 stops delivering at QoS 2 after refusals that it is told of.
        code = NOT_AUTHORISED if lane is self._up and self._version == V5 else 0
        if qos == 2:
            if len(lane.refused) < self._limits.max_pending:
                lane.refused.add(packet_id)
            elif not code:  # else the PUBREC has ended the exchange, and a PUBREL is only to be expected
                self._end("too many refused publications wait", QUOTA)
                return
        answer = encode_packet(Ack(kind=kind, packet_id=packet_id, code=code), self._version)
        if lane.carry:
            lane.after = answer
        else:
            self._send(self._other(lane), answer)

    def _name_topic(
        self, lane: Lane, frame: Frame, topic: str, packet_id: int, properties: Properties, payload: int
    ) -> None:
        """Send a publication on with the topic that its alias means, where the receiver was never told of it."""
        front = encode_text(topic) + (packet_id.to_bytes(2, "big") if frame.head & 6 else b"")
        front += encode_properties(properties)
        self._flush(lane)
        length = len(front) + frame.end - payload
        if length + 5 > lane.largest:
            raise ProtocolFault("packet too large for its receiver", lane.at, TOO_LARGE)
        self._out.append(lane.to(bytes((frame.head,)) + encode_varint(length) + front))
        self._pass(lane, frame)
        lane.mark = payload

    def _control(self, lane: Lane, frame: Frame) -> None:
        packet = read_packet(lane.data, frame, self._version)
        handler = _HANDLERS.get(type(packet))
        if handler is None:
            self._pass(lane, frame)
        else:
            handler(self, lane, frame, packet)

    def _on_connect(self, lane: Lane, frame: Frame, connect: Packet) -> None:
        if not isinstance(connect, Connect) or self.state is not State.NEW:
            raise ProtocolFault("second CONNECT", lane.at, PROTOCOL_ERROR)
        self.connect, self._version = connect, connect.version
        if connect.version not in self._limits.versions:
            self._end("version not spoken here", UNSUPPORTED_VERSION)
            return
        admission = self._door(connect, self._now)
        self._gate = admission.gate
        self._say(Arrived(connect, admission.device, admission.decision))
        if admission.decision.refuses:
            self._end(f"refused: {admission.decision.reason}", admission.code)
            return
        will = connect.will
        if will is not None:
            request = TopicRequest(
                Operation.PUBLISH, will.topic, len(will.payload), will.qos, will.retain, is_will=True
            )
            if self._judge(request).refuses:
                self._end("will refused", NOT_AUTHORISED)
                return
        self._down.alias_maximum = first_property(connect.properties, Property.TOPIC_ALIAS_MAXIMUM)
        self._down.largest = first_property(connect.properties, Property.MAXIMUM_PACKET_SIZE, MAX_VARINT)
        self.connect = msgspec.structs.replace(connect, will=None, password=None)
        self.state = State.CONNECTING
        if admission.user is None and admission.password is None:
            self._pass(lane, frame)
        else:
            told = msgspec.structs.replace(connect, user=admission.user, password=admission.password)
            self._replace(lane, frame, encode_packet(told, connect.version))

    def _on_connack(self, lane: Lane, frame: Frame, connack: Packet) -> None:
        if not isinstance(connack, Connack) or self.state is not State.CONNECTING or self.connect is None:
            raise ProtocolFault("second CONNACK", lane.at, PROTOCOL_ERROR)
        if connack.code:
            if self._version == V5 and connack.code < 0x80:
                self._drop(lane, frame)
                self._end("broker refused", UNSUPPORTED_VERSION)
                return
            self._pass(lane, frame)
            self._finish("broker refused", connack.code)
            return
        self._pass(lane, frame)
        assigned = text_property(connack.properties, Property.ASSIGNED_CLIENT_ID)
        self._up.alias_maximum = first_property(connack.properties, Property.TOPIC_ALIAS_MAXIMUM)
        self.state = State.OPEN
        self._up.largest = first_property(connack.properties, Property.MAXIMUM_PACKET_SIZE, MAX_VARINT)
        self._say(Opened(assigned or self.connect.client_id, connack))

    def _on_ack(self, lane: Lane, frame: Frame, ack: Packet) -> None:
        if not isinstance(ack, Ack) or ack.kind is not Kind.PUBREL or ack.packet_id not in lane.refused:
            self._pass(lane, frame)
            return
        lane.refused.discard(ack.packet_id)
        self._drop(lane, frame)
        done = Ack(kind=Kind.PUBCOMP, packet_id=ack.packet_id, code=UNKNOWN_ID if lane is self._up else 0)
        self._send(self._other(lane), encode_packet(done, self._version))

    def _on_subscribe(self, lane: Lane, frame: Frame, subscribe: Packet) -> None:
        if not isinstance(subscribe, Subscribe):
            return
        codes: list[int | None] = []
        for wanted in subscribe.subscriptions:
            group, text = split_shared(wanted.filter)
            decision = self._judge(TopicRequest(Operation.SUBSCRIBE, text, 0, wanted.qos, group=group))
            codes.append((NOT_AUTHORISED if self._version == V5 else 0x80) if decision.refuses else None)
        self._pending.pop(subscribe.packet_id, None)
        kept = tuple(wanted for wanted, code in zip(subscribe.subscriptions, codes, strict=True) if code is None)
        if len(kept) == len(codes):
            self._pass(lane, frame)
        elif kept:
            if len(self._pending) >= self._limits.max_pending:
                raise ProtocolFault("too many subscriptions wait", lane.at, QUOTA)
            self._pending[subscribe.packet_id] = codes
            left = msgspec.structs.replace(subscribe, subscriptions=kept)
            self._replace(lane, frame, encode_packet(left, self._version))
        else:
            self._drop(lane, frame)
            refused = bytes(code or 0 for code in codes)
            answer = Codes(kind=Kind.SUBACK, packet_id=subscribe.packet_id, codes=refused)
            self._send(self._down, encode_packet(answer, self._version))

    def _on_codes(self, lane: Lane, frame: Frame, answer: Packet) -> None:
        pattern = None
        if isinstance(answer, Codes) and answer.kind is Kind.SUBACK:
            pattern = self._pending.pop(answer.packet_id, None)
        if pattern is None or not isinstance(answer, Codes):
            self._pass(lane, frame)
            return
        if pattern.count(None) != len(answer.codes):
            raise ProtocolFault("wrong number of codes", lane.at, PROTOCOL_ERROR)
        own = iter(answer.codes)
        merged = bytes(next(own) if code is None else code for code in pattern)
        self._replace(lane, frame, encode_packet(msgspec.structs.replace(answer, codes=merged), self._version))

    def _on_auth(self, lane: Lane, frame: Frame, _: Packet) -> None:
        if self.connect is None or text_property(self.connect.properties, Property.AUTH_METHOD) is None:
            raise ProtocolFault("AUTH without a method agreed", lane.at, PROTOCOL_ERROR)
        self._pass(lane, frame)

    def _on_disconnect(self, lane: Lane, frame: Frame, packet: Packet) -> None:
        if lane is self._down and self._version < V5:
            raise ProtocolFault("DISCONNECT from a broker before MQTT 5", lane.at, PROTOCOL_ERROR)
        self._pass(lane, frame)
        code = packet.code if isinstance(packet, Disconnect) else 0
        self._finish(f"{lane.side} left", code)

    def _hold(self, lane: Lane, why: str, seconds: float = 0.0) -> None:
        """Stop reading a side; but for writes that are blocked, stop working off its input too."""
        if why in lane.holds:
            return
        if not lane.holds or seconds:
            self._say(Pause(lane.side, seconds))
        lane.holds.add(why)
        lane.stopped = lane.stopped or why != "write"

    def _release(self, lane: Lane, why: str) -> None:
        """Take back one reason for holding a side; work off what was held."""
        if why not in lane.holds:
            return
        lane.holds.discard(why)
        lane.stopped = bool(lane.holds - {"write"})
        if not lane.stopped and lane.rest:
            waiting = bytes(lane.rest)
            lane.rest.clear()
            lane.load(waiting)
            self._work(lane)
        if not lane.holds and self.state is not State.CLOSED:
            self._say(Resume(lane.side))

    def _end(self, reason: str, code: int) -> None:
        """End from here: tell the client as far as its version and the moment allow, then close."""
        if self.state is State.CLOSED:
            return
        if not self._down.carry or self._down.skip:
            if self.state is not State.OPEN:
                # Nobody who has not said what he speaks is told anything, but for an unknown version.
                if self.connect is not None or code == UNSUPPORTED_VERSION:
                    self._say(self._down.to(refusal_packet(self._version, code)))
            elif self._version == V5:
                self._say(self._down.to(encode_packet(Disconnect(code=code), V5)))
        self._finish(reason, code)

    def _finish(self, reason: str, code: int) -> None:
        if self.state is not State.CLOSED:
            self._say(Close(reason, code))
            self.state = State.CLOSED
            self._pending.clear()
            self._up, self._down = Lane(Side.CLIENT), Lane(Side.BROKER)


_NO_GATE: Final = TopicDecision(False, "no-gate")
_Handler = Callable[[MqttProxy, Lane, Frame, Packet], None]
_HANDLERS: Final[dict[type, _Handler]] = {
    Connect: MqttProxy._on_connect,
    Connack: MqttProxy._on_connack,
    Ack: MqttProxy._on_ack,
    Subscribe: MqttProxy._on_subscribe,
    Codes: MqttProxy._on_codes,
    Auth: MqttProxy._on_auth,
    Disconnect: MqttProxy._on_disconnect,
}
