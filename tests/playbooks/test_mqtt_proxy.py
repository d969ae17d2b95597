"""How the proxy machine treats each packet, as scripts."""

from __future__ import annotations

import pytest

from tests.playbooks.mqtt import Playbook, Side, WordGate, broker, call, client, to_broker, to_client
from thingward.model.record import Secret
from thingward.wire.mqtt_commands import (
    Arrived,
    Broken,
    Close,
    Judged,
    OldRefusal,
    Opened,
    Pause,
    ProxyLimits,
    Resume,
    ToBroker,
    ToClient,
)
from thingward.wire.mqtt_fields import Property
from thingward.wire.mqtt_packets import (
    Ack,
    Auth,
    Codes,
    Connack,
    Connect,
    Disconnect,
    Kind,
    Ping,
    Publish,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
    encode_packet,
)

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5])


def opened(version: int, gate=None, limits=None, connect_properties=(), connack_properties=()) -> Playbook:
    connect = Connect(client_id="lamp", version=version, properties=connect_properties)
    connack = Connack(properties=connack_properties)
    book = Playbook(version, gate, limits)
    book >> client(connect) << Arrived << to_broker(connect)
    book >> broker(connack) << to_client(connack) << Opened("lamp", connack)
    return book


def refused_code(version: int) -> int:
    return 0x87 if version == 5 else 0


@VERSIONS
def test_permitted_traffic_is_the_same_object(version):
    book = opened(version)
    data = encode_packet(Publish(topic="a/b", payload=b"x"), version) * 3 + encode_packet(
        Ping(kind=Kind.PINGREQ), version
    )
    (command,) = book.proxy.feed_client(data, 0.0)
    assert command.data is data


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_refused_publication_is_answered_and_what_is_around_it_passes(version, qos):
    book = opened(version)
    before, after = Publish(topic="a"), Publish(topic="b")
    bad = Publish(topic="secret", payload=b"1", qos=qos, packet_id=7 if qos else 0)
    data = b"".join(encode_packet(each, version) for each in (before, bad, after))
    book >> client(data) << to_broker(before) << Judged
    if qos:
        kind = Kind.PUBACK if qos == 1 else Kind.PUBREC
        book << to_client(Ack(kind=kind, packet_id=7, code=refused_code(version)))
    book << to_broker(after) << None
    if qos == 2:
        gone = Ack(kind=Kind.PUBCOMP, packet_id=7, code=0x92 if version == 5 else 0)
        book >> client(Ack(kind=Kind.PUBREL, packet_id=7)) << to_client(gone) << None
        again = Ack(kind=Kind.PUBREL, packet_id=7)
        book >> client(again) << to_broker(again) << None


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_refused_delivery_is_acknowledged_to_the_broker(version, qos):
    book = opened(version)
    bad = Publish(topic="secret", payload=b"1", qos=qos, packet_id=7 if qos else 0)
    book >> broker(bad) << Judged
    if qos:
        kind = Kind.PUBACK if qos == 1 else Kind.PUBREC
        book << to_broker(Ack(kind=kind, packet_id=7))
    book << None
    if qos == 2:
        gone = Ack(kind=Kind.PUBCOMP, packet_id=7)
        book >> broker(Ack(kind=Kind.PUBREL, packet_id=7)) << to_broker(gone) << None


@VERSIONS
def test_qos_2_keeps_its_four_steps(version):
    book = opened(version)
    publish = Publish(topic="a", qos=2, packet_id=9)
    for say, hear, packet in [
        (client, to_broker, publish),
        (broker, to_client, Ack(kind=Kind.PUBREC, packet_id=9)),
        (client, to_broker, Ack(kind=Kind.PUBREL, packet_id=9)),
        (broker, to_client, Ack(kind=Kind.PUBCOMP, packet_id=9)),
    ]:
        book >> say(packet) << hear(packet) << None


def test_an_identifier_used_again_is_no_longer_refused():
    book = opened(4)
    book >> client(Publish(topic="secret", qos=2, packet_id=3)) << Judged << ToClient
    publish, release = Publish(topic="a", qos=2, packet_id=3), Ack(kind=Kind.PUBREL, packet_id=3)
    book >> client(publish) << to_broker(publish)
    book >> client(release) << to_broker(release) << None


def test_a_standing_permit_does_not_hide_an_identifier_used_again():
    book = opened(4)
    book >> client(Publish(topic="a", qos=2, packet_id=1)) << ToBroker
    book >> client(Publish(topic="secret", qos=2, packet_id=3)) << Judged << ToClient
    publish, release = Publish(topic="a", qos=2, packet_id=3), Ack(kind=Kind.PUBREL, packet_id=3)
    book >> client(publish) << to_broker(publish)
    book >> client(release) << to_broker(release) << None


def test_old_clients_may_be_disconnected_instead():
    limits = ProxyLimits(old_refusal=OldRefusal.DISCONNECT)
    book = opened(4, limits=limits)
    book >> client(Publish(topic="secret", qos=1, packet_id=1)) << Judged << Close("publication refused", 0x87) << None
    book = opened(5, limits=limits)
    book >> client(Publish(topic="secret", qos=1, packet_id=1)) << Judged << ToClient << None


@VERSIONS
def test_observed_refusals_are_told_and_pass(version):
    book = opened(version)
    publish = Publish(topic="only_seen", qos=1, packet_id=1)
    book >> client(publish) << Judged << to_broker(publish) << None


@VERSIONS
def test_subscription_keeps_what_is_permitted_and_merges_the_answer(version):
    book = opened(version)
    filters = ["a/+", "secret/#", "b", "secret", "c"]
    wanted = Subscribe(packet_id=5, subscriptions=tuple(Subscription(text, 1) for text in filters))
    left = Subscribe(packet_id=5, subscriptions=tuple(Subscription(text, 1) for text in ("a/+", "b", "c")))
    book >> client(wanted) << Judged << Judged << to_broker(left) << None
    refused = 0x87 if version == 5 else 0x80
    answer = Codes(kind=Kind.SUBACK, packet_id=5, codes=bytes([1, 0, 0x80]))
    merged = Codes(kind=Kind.SUBACK, packet_id=5, codes=bytes([1, refused, 0, refused, 0x80]))
    book >> broker(answer) << to_client(merged) << None
    book >> broker(answer) << to_client(answer) << None


def test_only_mqtt_3_1_may_repeat_a_subscription():
    again = b"\x8a" + encode_packet(Subscribe(packet_id=5, subscriptions=(Subscription("a"),)), 4)[1:]
    opened(3) >> client(again) << to_broker(again) << None
    opened(4) >> client(again) << Broken << Close << None


def test_last_subscription_under_an_identifier_counts():
    book = opened(5)
    (
        book
        >> client(Subscribe(packet_id=5, subscriptions=(Subscription("a"), Subscription("secret"))))
        << Judged
        << ToBroker
    )
    again = Subscribe(packet_id=5, subscriptions=(Subscription("b"),))
    book >> client(again) << to_broker(again)
    answer = Codes(kind=Kind.SUBACK, packet_id=5, codes=b"\0")
    book >> broker(answer) << to_client(answer) << None


@VERSIONS
def test_subscription_refused_as_a_whole_never_reaches_the_broker(version):
    book = opened(version)
    wanted = Subscribe(packet_id=5, subscriptions=(Subscription("secret/#"), Subscription("$share/g/secret")))
    refused = bytes([0x87 if version == 5 else 0x80] * 2)
    book >> client(wanted) << Judged << Judged << to_client(Codes(kind=Kind.SUBACK, packet_id=5, codes=refused)) << None
    assert [(each.topic, each.group) for each in book.door.gate.asked] == [("secret/#", ""), ("secret", "g")]


def test_answer_with_the_wrong_number_of_codes_is_the_brokers_fault():
    book = opened(5)
    (
        book
        >> client(Subscribe(packet_id=5, subscriptions=(Subscription("a"), Subscription("secret"))))
        << Judged
        << ToBroker
    )
    (
        book
        >> broker(Codes(kind=Kind.SUBACK, packet_id=5, codes=b"\0\0"))
        << Broken
        << to_client(Disconnect(code=0x83))
        << Close
    )


@VERSIONS
def test_what_needs_no_decision_passes(version):
    book = opened(version)
    leave = Unsubscribe(packet_id=6, filters=("secret/#",))
    book >> client(leave) << to_broker(leave)
    answer = Codes(kind=Kind.UNSUBACK, packet_id=6, codes=b"\0" if version == 5 else b"")
    book >> broker(answer) << to_client(answer)
    book >> client(Ping(kind=Kind.PINGREQ)) << to_broker(Ping(kind=Kind.PINGREQ))
    book >> broker(Ping(kind=Kind.PINGRESP)) << to_client(Ping(kind=Kind.PINGRESP)) << None


@pytest.mark.parametrize(("version", "code"), [(3, 5), (4, 5), (5, 0x87)])
def test_refused_client_and_refused_will(version, code):
    banned = Connect(client_id="banned", version=version)
    Playbook(version) >> client(banned) << Arrived << to_client(Connack(code=code)) << Close << None
    willing = Connect(client_id="lamp", version=version, will=Will(topic="secret", payload=b"x", qos=1, retain=True))
    book = Playbook(version)
    book >> client(willing) << Arrived << Judged << to_client(Connack(code=code)) << Close("will refused", 0x87) << None
    assert book.door.gate.asked[0].is_will


@pytest.mark.parametrize(("version", "code"), [(4, 1), (5, 0x84)])
def test_version_that_the_broker_does_not_speak(version, code):
    limits = ProxyLimits(versions=frozenset({3}))
    book = Playbook(version, limits=limits)
    book >> client(Connect(client_id="a", version=version)) << to_client(Connack(code=code)) << Close << None


def test_version_that_nobody_speaks():
    data = encode_packet(Connect(client_id="a", version=4), 4).replace(b"MQTT\x04", b"MQTT\x09")
    Playbook(5) >> client(data) << Broken << to_client(Connack(code=0x84)) << Close << None


def test_broker_that_knows_no_mqtt_5_is_translated():
    book = Playbook(5)
    book >> client(Connect(client_id="a", version=5)) << Arrived << ToBroker
    book >> broker(b"\x20\x02\x00\x01") << to_client(Connack(code=0x84)) << Close << None


@pytest.mark.parametrize(("version", "code"), [(4, 3), (5, 0x88)])
def test_broker_that_cannot_be_reached(version, code):
    book = Playbook(version)
    book >> client(Connect(client_id="a", version=version)) << Arrived << ToBroker
    book >> call("lost", Side.BROKER) << to_client(Connack(code=code)) << Close << None


def test_broker_refuses():
    book = Playbook(5)
    book >> client(Connect(client_id="a", version=5)) << Arrived << ToBroker
    book >> broker(Connack(code=0x86)) << to_client(Connack(code=0x86)) << Close("broker refused", 0x86) << None


def test_door_may_give_the_broker_other_credentials():
    given = Connect(
        client_id="lamp",
        version=5,
        user="u",
        password=Secret("mine"),
        keep_alive_s=9,
        will=Will(topic="w", payload=b"\xff", qos=2, retain=True),
    )
    book = Playbook(5, user="d-1", password=Secret("theirs"))
    book >> client(given) << Arrived
    assert isinstance(book.out[0], ToBroker)
    expected = encode_packet(given, 5).replace(b"\x01u", b"\x03d-1").replace(b"\x04mine", b"\x06theirs")
    assert book.out[0].data[2:] == expected[2:]


def test_client_ahead_of_connack_waits_and_is_not_lost():
    book = Playbook(4)
    connect, publish = Connect(client_id="lamp"), Publish(topic="a")
    book >> client(encode_packet(connect, 4) + encode_packet(publish, 4)) << Arrived << to_broker(connect)
    book << Pause(Side.CLIENT) << None
    book >> broker(Connack()) << ToClient << Opened << to_broker(publish) << Resume(Side.CLIENT) << None


def test_enhanced_authentication_passes_before_and_after():
    method = ((Property.AUTH_METHOD, "SCRAM"), (Property.AUTH_DATA, b"1"))
    book = Playbook(5)
    connect = Connect(client_id="a", version=5, properties=method)
    book >> client(connect) << Arrived << to_broker(connect)
    ask = Auth(code=0x18, properties=method)
    book >> broker(ask) << to_client(ask)
    book >> client(ask) << to_broker(ask)
    book >> broker(Connack()) << ToClient << Opened
    again = Auth(code=0x19, properties=method)
    book >> client(again) << to_broker(again) << None


ALIASES = {
    "connect_properties": ((Property.TOPIC_ALIAS_MAXIMUM, 2),),
    "connack_properties": ((Property.TOPIC_ALIAS_MAXIMUM, 2),),
}


def with_alias(topic: str, alias: int, payload: bytes = b"", qos: int = 0) -> Publish:
    properties = ((Property.TOPIC_ALIAS, alias),)
    return Publish(topic=topic, payload=payload, qos=qos, packet_id=8 if qos else 0, properties=properties)


@pytest.mark.parametrize(("say", "hear", "code"), [(client, to_broker, 0x87), (broker, to_client, 0)])
def test_aliases_are_resolved_for_the_decision_and_forwarded_as_they_are(say, hear, code):
    book = opened(5, **ALIASES)
    for packet in (with_alias("a", 1), with_alias("", 1)):
        book >> say(packet) << hear(packet) << None
    assert [each.topic for each in book.door.gate.asked] == ["a", "a"]
    back = to_client if say is client else to_broker
    book >> say(with_alias("secret", 1)) << Judged << None
    book >> say(with_alias("", 1, qos=1)) << Judged << back(Ack(kind=Kind.PUBACK, packet_id=8, code=code)) << None


def test_alias_of_a_refused_publication_is_told_with_the_next_one():
    book = opened(5, **ALIASES)
    book >> client(with_alias("big", 2, b"x" * 11)) << Judged << None
    told = encode_packet(with_alias("big", 2, b"small", 1), 5)
    book >> client(with_alias("", 2, b"small", 1)) << to_broker(told[:-5])
    book << to_broker(b"small") << None
    book >> client(with_alias("", 2, b"more")) << to_broker(with_alias("", 2, b"more")) << None


@pytest.mark.parametrize(("packet", "code"), [(with_alias("a", 3), 0x94), (with_alias("", 1), 0x82)])
def test_alias_beyond_what_was_agreed(packet, code):
    book = opened(5, **ALIASES)
    book >> client(packet) << Broken << to_client(Disconnect(code=code)) << Close << None


def test_aliases_are_bounded_in_bytes():
    book = opened(5, limits=ProxyLimits(max_alias_bytes=10), **ALIASES)
    book >> client(with_alias("12345678", 1)) << ToBroker
    book >> client(with_alias("1234", 1)) << ToBroker
    book >> client(with_alias("1234567", 2)) << Broken << to_client(Disconnect(code=0x97)) << Close


@VERSIONS
@pytest.mark.parametrize(("say", "hear"), [(client, to_broker), (broker, to_client)])
def test_standing_permit_is_asked_for_once_and_again_beyond_its_size(version, say, hear):
    book = opened(version)
    gate = book.door.gate
    small = encode_packet(Publish(topic="a", payload=b"x" * 10, qos=1, packet_id=1), version)
    book >> say(small * 3) << hear(small * 3) << None
    operation = gate.asked[0].operation
    assert (len(gate.asked), gate.passed) == (1, [(operation, 2)])
    large = Publish(topic="a", payload=b"x" * 200, qos=1, packet_id=1)
    book >> say(large) << hear(large) << None
    for other in (Publish(topic="a", qos=0), Publish(topic="a", qos=1, packet_id=1, retain=True), Publish(topic="b")):
        book >> say(other) << hear(other) << None
    assert len(gate.asked) == 5
    gate.standing.clear()
    book >> say(small) << hear(small) << None
    assert len(gate.asked) == 6


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x32\x06\x00\x01a\x00\x00\x00", 0x82),
        (b"\x32\x86\x00\x00\x01a\x00\x01\x00", 0x81),
        (b"\x32\x04\x00\x01a\x00", 0x82),
        (b"\x3a\x03\x00\x01a", 0x82),
        (b"\x38\x04\x00\x01a\x00", 0x81),
        (b"\x30\x03\x00\x01a", 0x81),
    ],
)
def test_standing_permit_lets_nothing_illegal_pass(data, code):
    book = opened(5)
    good = b"".join(
        encode_packet(Publish(topic="a", qos=qos, packet_id=qos, dup=qos > 0 and dup), 5)
        for qos in range(3)
        for dup in (False, True)
    )
    book >> client(good) << to_broker(good) << None
    book >> client(good + data + b"a" * 9) << to_broker(good) << Broken << to_client(Disconnect(code=code)) << Close


def test_rate_bites_on_standing_permits_too():
    book = opened(4, gate=WordGate(waits=[0.0, 0.0, 0.5]))
    one = encode_packet(Publish(topic="a"), 4)
    book >> client(one * 5) << to_broker(one * 3) << Pause(Side.CLIENT, 0.5) << None
    book >> call("resume", 0.5) << to_broker(one * 2) << Resume(Side.CLIENT) << None


SMALL = ProxyLimits(stream_bytes=16)


@VERSIONS
def test_large_publication_is_passed_on_as_it_comes_and_nothing_gets_into_it(version):
    book = opened(version, limits=SMALL)
    large = encode_packet(Publish(topic="a", payload=b"x" * 100), version)
    book >> broker(large[:40]) << to_client(large[:40]) << None
    answer = Ack(kind=Kind.PUBACK, packet_id=1, code=refused_code(version))
    book >> client(Publish(topic="secret", qos=1, packet_id=1)) << Judged << None
    book >> broker(large[40:50]) << to_client(large[40:50]) << None
    book >> broker(large[50:] + large[:4]) << to_client(large[50:]) << to_client(answer)
    book << None


@VERSIONS
def test_large_refused_publication_is_answered_when_it_is_over(version):
    book = opened(version, limits=SMALL)
    large = encode_packet(Publish(topic="secret", payload=b"x" * 100, qos=1, packet_id=4), version)
    book >> client(large[:40]) << Judged << None
    book >> client(large[40:99]) << None
    after = Publish(topic="a")
    book >> client(large[99:] + encode_packet(after, version))
    book << to_client(Ack(kind=Kind.PUBACK, packet_id=4, code=refused_code(version))) << to_broker(after) << None


def test_rate_pauses_reading_and_loses_nothing():
    book = opened(4, gate=WordGate(waits=[0.0, 0.5, 0.0, 0.25]))
    one = encode_packet(Publish(topic="a", payload=b"1"), 4)
    book >> client(one * 4) << to_broker(one * 2) << Pause(Side.CLIENT, 0.5) << None
    book >> client(one) << None
    book >> call("resume", 0.5) << to_broker(one * 2) << Pause(Side.CLIENT, 0.25) << None
    book >> call("resume", 0.8) << to_broker(one) << Resume(Side.CLIENT) << None


def test_input_while_paused_is_bounded():
    book = opened(5, gate=WordGate(waits=[9.0]), limits=ProxyLimits(max_held_bytes=100))
    book >> client(Publish(topic="a")) << ToBroker << Pause
    book >> client(b"\0" * 200) << to_client(Disconnect(code=0x97)) << Close << None


def test_blocked_writes_pause_the_other_side():
    book = opened(4)
    book >> call("write_blocked", Side.BROKER) << Pause(Side.CLIENT) << None
    book >> call("write_blocked", Side.BROKER) << None
    one = Publish(topic="a")
    book >> client(one) << to_broker(one) << None
    book >> call("write_ready", Side.BROKER) << Resume(Side.CLIENT) << None
    book >> call("write_blocked", Side.CLIENT) << Pause(Side.BROKER) << None


def test_client_that_does_not_read_its_refusals_is_not_read_either():
    book = opened(5, limits=ProxyLimits(max_pending=2))
    book >> call("write_blocked", Side.CLIENT) << Pause(Side.BROKER)
    bad = encode_packet(Publish(topic="secret", qos=1, packet_id=1), 5)
    book >> client(bad * 3) << Judged << ToClient << Judged << ToClient << Pause(Side.CLIENT) << None
    book >> call("write_ready", Side.CLIENT) << Judged << ToClient << Resume(Side.CLIENT) << Resume(Side.BROKER) << None


def test_kick():
    opened(5) >> call("kick", "quarantine") << to_client(Disconnect(code=0x98)) << Close("quarantine", 0x98) << None
    opened(4) >> call("kick", "quarantine") << Close("quarantine", 0x98) << None
    book = opened(4)
    commands = book.proxy.kick("quarantine", keep_will=False)
    assert commands == [ToBroker(encode_packet(Disconnect(), 4)), Close("quarantine", 0x98)]
    assert book.proxy.kick("quarantine") == [] and book.proxy.feed_client(b"x", 0.0) == []


def test_kick_inside_a_large_delivery_says_nothing():
    book = opened(5, limits=SMALL)
    large = encode_packet(Publish(topic="a", payload=b"x" * 100), 5)
    book >> broker(large[:40]) << ToClient
    book >> call("kick", "quarantine") << Close << None


@VERSIONS
def test_goodbye(version):
    book = opened(version)
    book >> client(Disconnect()) << to_broker(Disconnect()) << Close("client left") << None
    opened(version) >> call("lost", Side.CLIENT) << Close("client lost") << None


def test_broker_takes_its_leave():
    book = opened(5)
    book >> broker(Disconnect(code=0x8E)) << to_client(Disconnect(code=0x8E)) << Close("broker left", 0x8E) << None
    opened(5) >> call("lost", Side.BROKER) << to_client(Disconnect(code=0x8B)) << Close << None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode_packet(Connect(client_id="a", version=5), 5), 0x82),
        (b"\x00\x00", 0x81),
        (b"\xd0\x00", 0x82),
        (b"\x36\x05\x00\x01a\x00\x01", 0x81),
        (b"\x30\x04\x00\x01#\x00", 0x90),
        (b"\x30\x04\x00\x01\x00\x00", 0x81),
        (b"\x30\x04\x00\x01\xff\x00", 0x81),
        (b"\x32\x06\x00\x01a\x00\x00\x00", 0x82),
        (b"\x30\x04\x00\x09a\x00", 0x81),
        (b"\x30\x80\x00", 0x81),
        (b"\x30\xff\xff\xff\xff\x01", 0x81),
        (b"\x82\x07\x00\x01\x00\x00\x01a\x03", 0x82),
        (b"\x82\xff\xff\xff\x7f", 0x95),
        (b"\x30\x06\x00\x01a\x02\x0b\x01", 0x82),
    ],
)
def test_broken_client_is_told_why_and_closed(data, code):
    book = opened(5)
    good = Publish(topic="a")
    book >> client(encode_packet(good, 5) + data) << to_broker(good) << Broken << to_client(Disconnect(code=code))
    book << Close << None


def test_before_connect_nobody_is_answered():
    Playbook(4) >> client(b"GET / HTTP/1.1\r\n\r\n") << Broken << Close << None
    Playbook(4) >> client(Publish(topic="a")) << Broken << Close << None
