"""Stock clients and mosquitto, with the MQTT machine between them and without it: what works there works here."""

from __future__ import annotations

import asyncio
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.e2e.mqtt_pump import Pump
from thingward.model.topic_access import AccessSnapshot, DeviceAccess, Door, Grant, Mode, RateLimit
from thingward.wire.mqtt_commands import Close, ProxyLimits

pytestmark = pytest.mark.servers
HOST = "127.0.0.1"
ALL = Grant(name="all", filter="#", publish=True, subscribe=True, shared=True)
OPEN = AccessSnapshot(tenant="main", version=1, made_at=0.0, grants={"open": (ALL,)}, strangers=("open",))
OWN = Grant(name="own", filter="own/#", publish=True, subscribe=True, max_bytes=1000)
STRICT = AccessSnapshot(
    tenant="main",
    version=2,
    made_at=0.0,
    modes={Door.GUEST: Mode.ENFORCE},
    grants={"own": (OWN,), "open": (ALL,)},
    strangers=("own",),
    devices={"all": DeviceAccess(door=Door.GUEST, grants=("open",))},
)
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
BOTH = pytest.mark.parametrize("protocol", [V311, V5])
WAIT_S = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def broker(need_program, tmp_path_factory) -> Iterator[int]:
    """Mosquitto's port."""
    program, port = need_program("mosquitto"), free_port()
    config = tmp_path_factory.mktemp("mosquitto") / "mosquitto.conf"
    config.write_text(f"listener {port} {HOST}\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 5000\n")
    process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        reachable(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def reachable(port: int) -> None:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, "mosquitto did not start"
            time.sleep(0.05)


@pytest.fixture(params=["direct", "machine"])
def port(request, broker) -> Iterator[int]:
    """The broker's own port, and the machine's in front of it."""
    if request.param == "direct":
        yield broker
        return
    with Pump(broker, OPEN) as pump:
        yield pump.port
        assert not pump.judged()
        assert not [each for each in pump.told if isinstance(each, Close) and "broke" in each.reason]


class Client:
    """A paho client whose callbacks end in queues."""

    def __init__(self, port: int, client_id: str, protocol=V5, *, clean: bool = True, properties=None, will=None):
        options = {} if protocol == V5 else {"clean_session": clean}
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol, **options)
        self.messages: queue.Queue = queue.Queue()
        self.events: queue.Queue = queue.Queue()
        self.paho.on_message = lambda _c, _u, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _c, _u, _m, codes, _p: self.events.put([code.value for code in codes])
        self.paho.on_publish = lambda _c, _u, _m, code, _p: self.events.put(code.value)
        self.paho.on_disconnect = lambda _c, _u, _f, code, _p: self.events.put(("gone", code.value))
        self.paho.on_connect = lambda _c, _u, _f, code, _p: self.events.put(("connected", code.value))
        if will:
            self.paho.will_set(*will)
        start = {"clean_start": clean, "properties": properties} if protocol == V5 else {}
        self.paho.connect(HOST, port, **start)
        self.paho.loop_start()
        self.connected = self.event()

    def event(self):
        return self.events.get(timeout=WAIT_S)

    def subscribe(self, *filters: str, qos: int = 2):
        self.paho.subscribe([(text, qos) for text in filters])
        return self.event()

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 1, *, retain=False, properties=None):
        self.paho.publish(topic, payload, qos, retain, properties)
        return self.event()

    def next(self):
        return self.messages.get(timeout=WAIT_S)

    def close(self, *, politely: bool = True) -> None:
        if politely:
            self.paho.disconnect()
        self.paho.loop_stop()
        if not politely:
            self.paho.socket().close()


def mosquitto(program: str, port: int, *arguments: str) -> list[str]:
    return [program, "-h", HOST, "-p", str(port), *arguments]


@pytest.mark.parametrize("version", ["31", "311", "5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto_clients(port, need_program, version, qos):
    topic = f"m/{port}/{version}/{qos}"
    pub, sub = need_program("mosquitto_pub"), need_program("mosquitto_sub")
    common = ["-V", f"mqttv{version}", "-q", qos]
    say = mosquitto(pub, port, *common, "-t", f"{topic}/x", "-m")
    subprocess.run([*say, "kept", "-r"], check=True, timeout=WAIT_S)
    listening = mosquitto(sub, port, *common, "-t", f"{topic}/+", "-C", "3", "-W", "15", "-v")
    with subprocess.Popen(listening, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout.readline().strip() == f"{topic}/x kept"
        for text in ("one", "two"):
            subprocess.run([*say, text], check=True, timeout=WAIT_S)
        assert [line.strip() for line in listener.stdout] == [f"{topic}/x one", f"{topic}/x two"]
    assert listener.returncode == 0


@pytest.mark.parametrize("version", ["311", "5"])
def test_large_payload(port, need_program, tmp_path: Path, version):
    payload = bytes(range(256)) * 8192
    (tmp_path / "large").write_bytes(payload)
    client = Client(port, f"large{version}")
    client.subscribe("large")
    common = ["-V", f"mqttv{version}", "-q", "2", "-t", "large", "-f", str(tmp_path / "large")]
    subprocess.run(mosquitto(need_program("mosquitto_pub"), port, *common), check=True, timeout=WAIT_S)
    assert client.next().payload == payload
    client.close()


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_both_ways(port, protocol, qos):
    client = Client(port, f"paho{protocol}{qos}", protocol)
    assert client.subscribe(f"p/{qos}/+", qos=qos) == [qos]
    for number in range(100):
        client.paho.publish(f"p/{qos}/{number % 7}", str(number), qos)
    assert [int(client.next().payload) for _ in range(100)] == list(range(100))
    client.close()


@BOTH
def test_retained(port, protocol):
    client = Client(port, f"keeper{protocol}", protocol)
    client.publish("kept", b"still here", 1, retain=True)
    client.subscribe("kept")
    message = client.next()
    assert (message.payload, message.retain) == (b"still here", True)
    client.publish("kept", b"", 1, retain=True)
    client.close()


@BOTH
def test_will(port, protocol):
    witness = Client(port, f"witness{protocol}", protocol)
    witness.subscribe("last/words")
    Client(port, f"dying{protocol}", protocol, will=("last/words", b"gone", 2)).close(politely=False)
    assert witness.next().payload == b"gone"
    Client(port, f"leaving{protocol}", protocol, will=("last/words", b"never", 2)).close()
    witness.publish("last/words", b"after")
    assert witness.next().payload == b"after"
    witness.close()


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_session_outlives_its_connection(port, protocol, qos):
    name = f"sleeper{protocol}{qos}{port}"
    properties = None
    if protocol == V5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60
    first = Client(port, name, protocol, clean=False, properties=properties)
    first.subscribe(f"while/away/{port}/#", qos=qos)
    first.close()
    other = Client(port, f"other{protocol}{qos}", protocol)
    for number in range(30):
        other.publish(f"while/away/{port}/x", str(number).encode(), qos)
    other.close()
    second = Client(port, name, protocol, clean=False, properties=properties)
    assert [int(second.next().payload) for _ in range(30)] == list(range(30))
    second.close()


def test_properties_and_aliases_of_mqtt_5(port):
    client = Client(port, "five")
    client.subscribe("props/#")
    properties = Properties(PacketTypes.PUBLISH)
    properties.TopicAlias = 3
    properties.UserProperty = [("a", "1"), ("a", "2")]
    properties.ResponseTopic = "answer/here"
    properties.CorrelationData = b"\x00\xff"
    properties.MessageExpiryInterval = 30
    client.publish("props/a/long/topic", b"1", properties=properties)
    client.publish("", b"2", properties=properties)
    for payload in (b"1", b"2"):
        message = client.next()
        assert (message.topic, message.payload) == ("props/a/long/topic", payload)
        assert message.properties.UserProperty == [("a", "1"), ("a", "2")]
        assert (message.properties.ResponseTopic, message.properties.CorrelationData) == ("answer/here", b"\x00\xff")
    client.close()


def test_shared_subscription(port):
    members = [Client(port, f"member{number}") for number in range(2)]
    for member in members:
        assert member.subscribe("$share/team/jobs/#", qos=1) == [1]
    for number in range(20):
        members[0].publish("jobs/x", str(number).encode())
    time.sleep(0.5)
    shares = [member.messages.qsize() for member in members]
    assert sum(shares) == 20 and min(shares) > 0
    for member in members:
        member.close()


@BOTH
def test_aiomqtt(port, protocol):
    async def talk() -> list[bytes]:
        async with aiomqtt.Client(HOST, port, protocol=aiomqtt.ProtocolVersion(protocol), timeout=WAIT_S) as client:
            await client.subscribe("aio/#", qos=2)
            for qos in range(3):
                await client.publish("aio/x", str(qos), qos)
            found = []
            async for message in client.messages:
                found.append(bytes(message.payload))
                if len(found) == 3:
                    return found
        return []

    assert sorted(asyncio.run(asyncio.wait_for(talk(), WAIT_S))) == [b"0", b"1", b"2"]


def test_many_small_messages_arrive_in_order(port):
    client = Client(port, "hasty", V311)
    client.subscribe("flood", qos=0)
    for number in range(3000):
        client.paho.publish("flood", str(number), 0)
    assert [int(client.next().payload) for _ in range(3000)] == list(range(3000))
    client.close()


@pytest.fixture
def strict(broker) -> Iterator[Pump]:
    with Pump(broker, STRICT) as pump:
        yield pump


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_refused_publication_goes_nowhere_and_the_client_goes_on(strict, broker, protocol, qos):
    witness = Client(broker, "w", protocol)
    witness.subscribe("own/#", "other/#")
    client = Client(strict.port, "c", protocol)
    refused = client.publish("other/x", b"bad", qos)
    # Paho goes on to PUBREL after a PUBREC that refuses, and shows what PUBCOMP says: no such identifier.
    assert refused == ({0: 0, 1: 0x87, 2: 0x92}[qos] if protocol == V5 else 0)
    client.publish("own/x", b"y" * 1001, qos)
    client.publish("own/x", b"good", qos)
    assert (witness.next().payload, witness.messages.qsize()) == (b"good", 0)
    assert strict.judged() == [("publish", "other/x", "no grant"), ("publish", "own/x", "too large")]
    client.close()
    witness.close()


@BOTH
def test_refused_filters_within_one_answer(strict, protocol):
    client = Client(strict.port, "c", protocol)
    refused = 0x87 if protocol == V5 else 0x80
    assert client.subscribe("own/+", "#", "own/x/#", "+/x", qos=1) == [1, refused, 1, refused]
    assert client.subscribe("elsewhere", "$share/g/own/x", qos=1) == [refused, refused]
    client.publish("own/x/y", b"mine")
    assert client.next().payload == b"mine"
    client.close()


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_delivery_is_refused_after_a_change_and_flows_again(strict, broker, protocol, qos):
    client = Client(strict.port, "all", protocol)
    client.subscribe("own/#", "private/#", qos=qos)
    sender = Client(broker, "s", protocol)
    tighter = msgspec.structs.replace(STRICT, devices={}, version=3)
    strict.adopt(tighter)
    for _ in range(50):  # more than the broker has in flight: what is refused must not clog it
        sender.publish("private/x", b"not for all", qos)
    sender.publish("own/x", b"for all", qos)
    assert client.next().payload == b"for all"
    strict.adopt(STRICT)
    sender.publish("private/x", b"again", qos)
    assert client.next().payload == b"again"
    assert client.messages.qsize() == 0
    sender.close()
    client.close()


def test_refused_will(strict):
    client = Client(strict.port, "c", V5, will=("other/will", b"x", 1))
    assert client.connected == ("connected", 0x87)
    client.close()


def test_kick_is_told_to_an_mqtt_5_client(strict):
    client = Client(strict.port, "c", V5)
    client.paho.reconnect_delay_set(60, 60)
    strict.kick("c", "quarantine")
    assert client.event() == ("gone", 0x98)
    client.close()


def test_mqtt_5_on_a_broker_without_it(broker, need_program):
    with Pump(broker, OPEN, ProxyLimits(versions=frozenset({3, 4}))) as pump:
        client = Client(pump.port, "c", V5)
        assert client.connected == ("connected", 0x84)
        client.close()
        arguments = ["-V", "5", "-t", "a", "-m", "x"]
        told = subprocess.run(
            mosquitto(need_program("mosquitto_pub"), pump.port, *arguments), capture_output=True, timeout=WAIT_S
        )
        assert told.returncode and b"rotocol" in told.stderr


def test_rate_limit_delays_and_loses_nothing(broker):
    slow = DeviceAccess(door=Door.GUEST, grants=("open",), rates=RateLimit(200.0, 10))
    with Pump(broker, msgspec.structs.replace(OPEN, devices={"slow": slow})) as pump:
        client = Client(pump.port, "slow", V5)
        client.subscribe("paced", qos=1)
        for number in range(100):
            client.paho.publish("paced", str(number), 1)
        assert [int(client.next().payload) for _ in range(100)] == list(range(100))
        client.close()


def test_strangers_bytes_close_and_nothing_hangs(broker):
    with Pump(broker, OPEN) as pump:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff", b"\x30\x00"):
            with socket.create_connection((HOST, pump.port), WAIT_S) as stranger:
                stranger.sendall(data)
                assert stranger.recv(100) == b""
        assert threading.active_count() < 50
