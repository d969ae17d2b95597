"""MQTT 3.1, 3.1.1 and 5."""

import pytest

from thingward.model.record import Malformed, Secret
from thingward.wire.mqtt import MAX_STREAM_BYTES, MAX_TOPICS, MqttConnect, MqttDecoder, MqttTopic, is_mqtt_connect


def field(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def varint(value: int) -> bytes:
    out = b""
    while True:
        value, low = divmod(value, 128)
        out += bytes([low | (0x80 if value else 0)])
        if not value:
            return out


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + varint(len(body)) + body


def connect(
    flags: int = 0xC2, rest: bytes = field(b"plug-1") + field(b"admin") + field(b"pw"), version: int = 4
) -> bytes:
    name = b"MQIsdp" if version == 3 else b"MQTT"
    properties = b"\0" if version == 5 else b""
    return packet(0x10, field(name) + bytes([version, flags]) + b"\0\x3c" + properties + rest)


ACCEPTED = b"\x20\x02\0\0"
REFUSED = b"\x20\x02\0\x05"


def run(*steps: tuple[str, bytes]) -> list:
    decoder = MqttDecoder()
    found = [message for side, data in steps for message in decoder.feed(side == ">", data)]
    return found + decoder.finish()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_connect_with_its_answer(version):
    who, credential = run((">", connect(version=version)), ("<", ACCEPTED if version < 5 else b"\x20\x03\0\0\0"))
    assert (who.client_id, who.user, who.version, who.return_code, who.keep_alive_s) == (
        "plug-1",
        "admin",
        version,
        0,
        60,
    )
    assert (credential.password, credential.outcome) == (Secret("pw"), "success")


def test_a_refused_connect_is_a_failed_login():
    who, credential = run((">", connect()), ("<", REFUSED))
    assert (who.return_code, credential.outcome) == (5, "failure")


def test_a_connect_without_answer_is_told_at_the_end():
    who, credential = run((">", connect()))
    assert (who.return_code, credential.outcome) == (-1, "unknown")


def test_an_anonymous_connect_has_no_credential():
    (who,) = run((">", connect(2, field(b""))), ("<", ACCEPTED))
    assert (who.user, who.has_password, who.return_code) == ("", False, 0)


def test_the_will_names_a_topic():
    (who,) = run((">", connect(0x06, field(b"c") + field(b"last/words") + field(b"gone"))), ("<", ACCEPTED))
    assert who.will_topic == "last/words"


def test_topics_are_told_once_and_long_payloads_passed_over():
    big = packet(0x30, field(b"cam/frame") + bytes(200_000))
    subscribe = packet(0x82, b"\0\1" + field(b"cmd/#") + b"\0" + field(b"time") + b"\1")
    found = run(
        (">", connect(2, field(b"c"))),
        ("<", ACCEPTED),
        (">", subscribe),
        *[(">", big[at : at + 1400]) for at in range(0, len(big), 1400)],
        (">", packet(0x30, field(b"temp") + b"1") * 3),
    )
    topics = [(one.operation, one.topic, one.client_id) for one in found if isinstance(one, MqttTopic)]
    assert topics == [
        ("subscribe", "cmd/#", "c"),
        ("subscribe", "time", "c"),
        ("publish", "cam/frame", "c"),
        ("publish", "temp", "c"),
    ]


def test_every_split_gives_the_same():
    stream = connect() + packet(0x30, field(b"t") + b"x") + packet(0xE0, b"")
    whole = run((">", stream))
    assert run(*[(">", bytes([byte])) for byte in stream]) == whole
    assert {type(one) for one in whole} >= {MqttTopic, MqttConnect}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00", "reserved packet type"),
        (b"\x30\x03\0\1t", "first packet is not CONNECT"),
        (connect() + connect(), "second CONNECT"),
        (b"\x11" + connect()[1:], "bad flags for the packet type"),
        (b"\x10\xff\xff\xff\xff\x01", "length field too long"),
        (packet(0x10, field(b"MQXX") + b"\4\2\0\0"), "unknown protocol name or version"),
        (connect(0x03, field(b"c")), "reserved connect flag set"),
        (connect(0x1A, field(b"c")), "bad will flags"),
        (connect(0x42, field(b"c") + field(b"p")), "password without user name"),
        (connect(0x82, field(b"c") + b"\0\x09ab"), "field overruns its packet"),
        (connect(2, field(b"c") + b"extra"), "bytes after the payload"),
        (connect(2, field(b"c")) + b"\x36\x05\0\1tab", "QoS 3"),
        (connect(2, field(b"c")) + packet(0x30, field(b"a/#") + b"x"), "bad topic"),
        (connect(2, field(b"c")) + packet(0x30, field(b"") + b"x"), "bad topic"),
        (connect(2, field(b"c")) + packet(0x30, b"\0\x09a"), "topic overruns its packet"),
        (connect(2, field(b"c")) + packet(0x82, b"\0\1"), "SUBSCRIBE without topic"),
        (connect(2, field(b"c")) + packet(0x80, b"\0\1" + field(b"a") + b"\0"), "bad flags for the packet type"),
        (connect(2, field(b"c")) + b"\xc0\x01\0", "length does not fit the packet type"),
        (connect(2, field(b"c")) + packet(0xF0, b""), "reserved packet type"),
        (connect(2, field(b"c")) + b"\x20\x02\0\0", "packet type of the other side"),
    ],
)
def test_packets_against_the_standard_are_malformed(data, reason):
    problems = [one for one in run((">", data)) if isinstance(one, Malformed)]
    assert [one.reason for one in problems] == [f"mqtt: {reason}"]


def test_memory_stays_bounded():
    decoder = MqttDecoder()
    decoder.feed(True, connect(2, field(b"c")))
    for number in range(5000):
        decoder.feed(True, packet(0x30, field(b"t/%d" % number) + bytes(100)))
    assert len(decoder._topics) == MAX_TOPICS
    assert decoder._sides[True].over
    assert decoder._sides[True].seen < MAX_STREAM_BYTES + 1000


def test_connects_are_known_by_content():
    assert is_mqtt_connect(connect())
    assert is_mqtt_connect(connect(version=3))
    assert not is_mqtt_connect(b"\x30\x05\0\1tab")
