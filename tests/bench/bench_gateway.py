"""What the gateway's decision costs: the machine alone, and the grants alone, without sockets or TLS."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.bench.harness import Bench, Pair, benchmark, seconds
from thingward.model.topic_access import (
    AccessSnapshot,
    DeviceAccess,
    Door,
    Grant,
    Mode,
    Operation,
    TopicDecision,
    TopicRequest,
)
from thingward.policy.topics import Buckets, Rulebook, TopicGate, decide
from thingward.wire.mqtt_commands import Admission
from thingward.wire.mqtt_packets import Connack, Connect, Publish, encode_packet
from thingward.wire.mqtt_proxy import MqttProxy

COUNT = 20_000
PER_READ = 16


def snapshot() -> AccessSnapshot:
    """A thousand devices of ten classes with fifty grants each."""
    grants = tuple(
        Grant(name=f"g{number}", filter=text, publish=True, subscribe=True)
        for number in range(10)
        for text in (
            f"site/{number}/+/state",
            f"site/${{device}}/{number}/#",
            f"class/${{class}}/{number}",
            f"fleet/{number}/${{device}}/+/in",
            f"job/{number}/+/+/done",
        )
    )
    devices = {
        f"d-{number}": DeviceAccess(door=Door.ENROLLED, grants=("all",), device_class=f"c{number % 10}")
        for number in range(1000)
    }
    modes = {Door.ENROLLED: Mode.ENFORCE}
    return AccessSnapshot(tenant="t", version=1, made_at=0.0, modes=modes, grants={"all": grants}, devices=devices)


def requests() -> list[TopicRequest]:
    """Publications of one device on 2,000 topics, a tenth of them refused."""
    chance = random.Random(1)
    topics = [f"site/d-7/{chance.randrange(10)}/sensor/{number}" for number in range(1800)]
    topics += [f"site/d-8/{chance.randrange(10)}/sensor/{number}" for number in range(200)]
    chance.shuffle(topics)
    return [TopicRequest(Operation.PUBLISH, topics[number % len(topics)], 128) for number in range(COUNT)]


@benchmark("gateway.decide", unit="us/decision", better="less")
def gateway_decide(bench: Bench) -> Iterator[Pair]:
    """Each topic decided from the trie, nothing remembered."""
    rules, wanted = Rulebook(snapshot()).rules("d-7"), requests()

    def work() -> float:
        return 1e6 * seconds(lambda: [decide(each, rules) for each in wanted]) / COUNT

    yield Pair(ours=work, note="50 grants, 2,000 topics")


def machine(version: int) -> MqttProxy:
    """An open connection of device d-7."""
    book = snapshot()
    gate = TopicGate(Rulebook(book).rules("d-7"), Buckets(book, 0.0), 0.0)
    granted = TopicDecision(True, "granted")
    proxy = MqttProxy(lambda connect, now: Admission(decision=granted, gate=gate))
    proxy.feed_client(encode_packet(Connect(client_id="d-7", version=version), version), 0.0)
    proxy.feed_broker(encode_packet(Connack(), version), 0.0)
    return proxy


def _machine_cost(version: int) -> Iterator[Pair]:
    reads = [
        b"".join(
            encode_packet(
                Publish(topic=f"site/d-7/{number % 10}/sensor", payload=b"x" * 128, qos=1, packet_id=number + 1),
                version,
            )
            for number in range(first, first + PER_READ)
        )
        for first in range(0, 1600, PER_READ)
    ]
    proxy = machine(version)
    rounds = COUNT // 1600

    def work() -> float:
        def feed() -> None:
            for _ in range(rounds):
                for data in reads:
                    proxy.feed_client(data, 0.0)

        return 1e6 * seconds(feed) / (rounds * 1600)

    yield Pair(ours=work, note=f"128 bytes, QoS 1, {PER_READ} in a read, all permitted")


@benchmark("gateway.machine.v311", unit="us/message", better="less")
def gateway_machine_v311(bench: Bench) -> Iterator[Pair]:
    """Bytes in, decision, bytes out: MQTT 3.1.1."""
    yield from _machine_cost(4)


@benchmark("gateway.machine.v5", unit="us/message", better="less")
def gateway_machine_v5(bench: Bench) -> Iterator[Pair]:
    """Bytes in, decision, bytes out: MQTT 5."""
    yield from _machine_cost(5)
