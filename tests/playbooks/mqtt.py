"""A script for the proxy machine: `>> event` is fed, `<< command` must come, in this order and nothing else.

    playbook(proxy, clock)
    >> client(packet)  << to_broker(packet)

Packets are written with the codec; what is not looked at is `...`.
"""

from __future__ import annotations

from typing import Any

from thingward.model.topic_access import Operation, TopicDecision, TopicRequest
from thingward.wire.mqtt_commands import Admission, Command, ProxyLimits, Side, ToBroker, ToClient
from thingward.wire.mqtt_packets import Connect, Packet, encode_packet
from thingward.wire.mqtt_proxy import MqttProxy

GRANTED = TopicDecision(True, "granted")
LASTING = TopicDecision(True, "granted", up_to_bytes=10)
REFUSED = TopicDecision(False, "no grant")
SEEN = TopicDecision(False, "no grant", enforced=False)


class WordGate:
    """Refuses every topic with `secret` in it; `only_seen` topics are told and pass."""

    def __init__(self, waits: list[float] | None = None, *, is_lasting: bool = True) -> None:
        self.asked: list[TopicRequest] = []
        self.waits = waits or []
        self.is_lasting = is_lasting
        self.standing: dict[int, dict[bytes, int]] = {}
        self.is_paced = bool(self.waits)
        self.passed: list[tuple[Operation, int]] = []

    def decide(self, request: TopicRequest) -> TopicDecision:
        self.asked.append(request)
        if "secret" in request.topic or (
            request.operation is Operation.PUBLISH and "big" in request.topic and request.size_bytes > 10
        ):
            return REFUSED
        return SEEN if "only_seen" in request.topic else LASTING if self.is_lasting else GRANTED

    def count_passed(self, operation: Operation, count: int) -> None:
        self.passed.append((operation, count))

    def pace(self, size_bytes: int, now: float) -> float:
        return self.waits.pop(0) if self.waits else 0.0


class Door:
    """Lets everybody in but the client `banned`."""

    def __init__(self, gate: WordGate | None = None, **told: Any) -> None:
        self.gate = gate or WordGate()
        self.told = told

    def __call__(self, connect: Connect, now: float) -> Admission:
        decision = REFUSED if connect.client_id == "banned" else GRANTED
        return Admission(decision=decision, gate=self.gate, device="d-1", **self.told)


class Playbook:
    """One machine and its version; commands wait in `out` until they are compared."""

    def __init__(self, version: int, gate: WordGate | None = None, limits: ProxyLimits | None = None, **told: Any):
        self.version = version
        self.door = Door(gate, **told)
        self.proxy = MqttProxy(self.door, limits)
        self.now = 0.0
        self.out: list[Command] = []

    def __rshift__(self, event: tuple[str, Any]) -> Playbook:
        assert not self.out, f"unexpected: {self.out}"
        name, value = event
        if name in ("client", "broker"):
            data = value if isinstance(value, bytes) else encode_packet(value, self.version)
            feed = self.proxy.feed_client if name == "client" else self.proxy.feed_broker
            self.out = feed(data, self.now)
        else:
            self.out = getattr(self.proxy, name)(*value)
        return self

    def __lshift__(self, command: Any) -> Playbook:
        if command is None:
            assert not self.out, f"unexpected: {self.out}"
            return self
        assert self.out, f"nothing came, not {command}"
        came = self.out.pop(0)
        if isinstance(command, tuple):
            kind, packet = command
            data = packet if isinstance(packet, bytes) else encode_packet(packet, self.version)
            command = kind(data)
        if isinstance(command, type):
            assert isinstance(came, command), f"{came} is no {command}"
        else:
            assert came == command, f"came: {came}, not: {command}"
        return self


def client(packet: Packet | bytes) -> tuple[str, Any]:
    return "client", packet


def broker(packet: Packet | bytes) -> tuple[str, Any]:
    return "broker", packet


def to_client(packet: Packet | bytes) -> tuple[type, Any]:
    return ToClient, packet


def to_broker(packet: Packet | bytes) -> tuple[type, Any]:
    return ToBroker, packet


def call(name: str, *arguments: Any) -> tuple[str, Any]:
    return name, arguments


__all__ = ["Side", "call"]
