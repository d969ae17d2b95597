"""The MQTT codec and the proxy machine under any bytes, split anyhow."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.playbooks.mqtt import Door, WordGate
from thingward.model.record import Malformed, Secret
from thingward.wire.message import Unreadable
from thingward.wire.mqtt_commands import Broken, Close, Pause, ProxyLimits, Resume, ToBroker, ToClient
from thingward.wire.mqtt_fields import ALLOWED, Property, encode_varint, read_varint
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
    decode_packet,
    encode_packet,
    frame_at,
)
from thingward.wire.mqtt_proxy import MqttProxy

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
names = st.sampled_from(["a", "a/b", "secret", "secret/x", "/", "x/secret", "é"])
wanted_filters = st.sampled_from(["a/#", "+/b", "secret/#", "#", "$share/g/a", "$share/g/secret", "$SYS/x"])
ids = st.integers(1, 6)
SMALL = {Property.TOPIC_ALIAS: 5, Property.TOPIC_ALIAS_MAXIMUM: 5}
BYTES = {0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A}
TWO, FOUR, BINARY = {0x13, 0x21, 0x22, 0x23}, {0x02, 0x11, 0x18, 0x27}, {0x09, 0x16}


def value_of(name: int) -> st.SearchStrategy:
    if name in BYTES:
        return st.integers(0, 1)
    if name in TWO:
        return st.integers(1, SMALL.get(name, 65_535))
    if name in FOUR:
        return st.integers(1, 2**32 - 1)
    if name == Property.SUBSCRIPTION_ID:
        return st.integers(1, 268_435_455)
    if name in BINARY:
        return st.binary(max_size=4)
    if name == Property.USER_PROPERTY:
        return st.tuples(texts, texts)
    return names if name == Property.RESPONSE_TOPIC else texts


@st.composite
def properties(draw, kind, version, without=()):
    if version != 5:
        return ()
    allowed = sorted(ALLOWED[kind] - set(without))
    chosen = draw(st.lists(st.sampled_from(allowed), max_size=3, unique=True))
    if Property.AUTH_DATA in chosen and Property.AUTH_METHOD not in chosen:
        chosen.append(Property.AUTH_METHOD)
    chosen += [Property.USER_PROPERTY] * (draw(st.integers(0, 1)) if Property.USER_PROPERTY in allowed else 0)
    return tuple((name, draw(value_of(name))) for name in chosen)


@st.composite
def publishes(draw, version, from_client=True):
    qos = draw(st.integers(0, 2))
    given_ = draw(properties(3, version, (Property.SUBSCRIPTION_ID,) if from_client else ()))
    has_alias = any(name == Property.TOPIC_ALIAS for name, _ in given_)
    return Publish(
        topic=draw(st.one_of(names, st.just(""))) if has_alias else draw(names),
        payload=draw(st.binary(max_size=40)),
        qos=qos,
        retain=draw(st.booleans()),
        dup=draw(st.booleans()) if qos else False,
        packet_id=draw(ids) if qos else 0,
        properties=given_,
    )


@st.composite
def connects(draw, version):
    will = None
    if draw(st.booleans()):
        will = Will(
            topic=draw(st.sampled_from(["w", "secret"])),
            payload=draw(st.binary(max_size=9)),
            qos=draw(st.integers(0, 2)),
            retain=draw(st.booleans()),
            properties=draw(properties(0, version)),
        )
    user = draw(st.none() | texts)
    raw = draw(st.none() | st.binary(max_size=6)) if user is not None or version == 5 else None
    return Connect(
        client_id=draw(texts),
        version=version,
        clean=draw(st.booleans()),
        keep_alive_s=draw(st.integers(0, 65_535)),
        user=user,
        password=None if raw is None else Secret(raw.decode("utf-8", "surrogateescape")),
        will=will,
        properties=draw(properties(1, version)),
    )


@st.composite
def acks(draw, version):
    kind = draw(st.sampled_from([Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP]))
    code = draw(st.sampled_from([0, 0x10, 0x87])) if version == 5 else 0
    return Ack(kind=kind, packet_id=draw(ids), code=code, properties=draw(properties(kind, version)))


@st.composite
def subscribes(draw, version):
    wanted = draw(st.lists(st.builds(Subscription, wanted_filters, st.integers(0, 2)), min_size=1, max_size=4))
    return Subscribe(packet_id=draw(ids), subscriptions=tuple(wanted), properties=draw(properties(8, version)))


@st.composite
def others(draw, version):
    kind = draw(st.sampled_from([Kind.SUBACK, Kind.UNSUBACK]))
    codes = draw(st.binary(min_size=1, max_size=4)) if version == 5 or kind == Kind.SUBACK else b""
    choices = [
        Ping(kind=draw(st.sampled_from([Kind.PINGREQ, Kind.PINGRESP]))),
        Unsubscribe(packet_id=draw(ids), filters=("a", "+/#"), properties=draw(properties(10, version))),
        Codes(kind=kind, packet_id=draw(ids), codes=codes, properties=draw(properties(kind, version))),
        Connack(code=draw(st.sampled_from([0, 0x87])), properties=draw(properties(2, version))),
        Disconnect(),
    ]
    if version == 5:
        choices += [
            Disconnect(code=draw(st.integers(1, 255)), properties=draw(properties(14, 5))),
            Auth(code=0x18, properties=draw(properties(15, 5))),
        ]
    return draw(st.sampled_from(choices))


def packets(version):
    return st.one_of(publishes(version), connects(version), acks(version), subscribes(version), others(version))


versions = st.sampled_from([3, 4, 5])


def same(packet):
    """A Secret compares by identity: write it out."""
    if isinstance(packet, Connect):
        secret = None if packet.password is None else packet.password.reveal()
        return (packet.client_id, packet.version, packet.clean, packet.keep_alive_s, packet.user, secret, packet.will,
                packet.properties)  # fmt: skip
    return packet


@given(st.data(), versions)
def test_round_trip(data, version):
    packet = data.draw(packets(version))
    assert same(decode_packet(encode_packet(packet, version), version)) == same(packet)


@given(st.integers(0, 268_435_455))
def test_varint_round_trip(value):
    assert read_varint(encode_varint(value), 0) == (value, len(encode_varint(value)))


@given(st.data(), versions)
def test_decoding_never_raises_and_what_it_accepts_is_written_back(data, version):
    raw = bytearray(encode_packet(data.draw(packets(version)), version))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    packet = decode_packet(bytes(raw), version)
    if not isinstance(packet, Malformed) and not isinstance(packet, Connect):
        assert decode_packet(encode_packet(packet, version), version) == packet


@given(st.binary(max_size=64), versions)
def test_any_bytes_decode_to_something(raw, version):
    assert decode_packet(raw, version) is not None


@st.composite
def conversations(draw):
    """A version, what each side sends, whole or damaged, and limits that make large of small."""
    version = draw(versions)
    plain = Connect(client_id="a", version=version, properties=((0x22, 3),) if version == 5 else ())
    connect = draw(st.sampled_from([plain, plain, draw(connects(version))]))
    connack = Connack(properties=((0x22, 3),) if version == 5 else ())
    up = draw(st.lists(st.one_of(publishes(version), subscribes(version), acks(version), others(version)), max_size=8))
    down = draw(st.lists(st.one_of(publishes(version, False), acks(version), others(version)), max_size=8))
    raw_up = bytearray(b"".join(encode_packet(each, version) for each in (connect, *up)))
    raw_down = bytearray(b"".join(encode_packet(each, version) for each in (connack, *down)))
    for raw in (raw_up, raw_down):
        if draw(st.integers(0, 3)) == 0:
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    limits = ProxyLimits(stream_bytes=draw(st.sampled_from([8, 24, 16_384])), max_alias_bytes=12)
    return version, bytes(raw_up), bytes(raw_down), limits


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in itertools.pairwise(edges) if start < end]


def play(up: list[bytes], down: list[bytes], connect_bytes: int, limits: ProxyLimits, *, is_lasting: bool = True):
    """Feed the CONNECT, then all of the broker's, then the rest of the client's; join what is only split."""
    proxy = MqttProxy(Door(WordGate(is_lasting=is_lasting)), limits)
    commands, fed, rest = [], 0, []
    for piece in up:
        first = max(0, min(len(piece), connect_bytes - fed))
        commands += proxy.feed_client(piece[:first], 0.0) if first else []
        rest += [piece[first:]] if first < len(piece) else []
        fed += len(piece)
    for piece in down:
        commands += proxy.feed_broker(piece, 0.0)
    for piece in rest:
        commands += proxy.feed_client(piece, 0.0)
    return joined(commands)


def joined(commands):
    out = []
    for command in commands:
        if isinstance(command, (ToBroker, ToClient)) and out and type(out[-1]) is type(command):
            out[-1] = type(command)(out[-1].data + command.data)
        elif isinstance(command, Broken):
            out.append((command.side, command.fault.reason))
        elif not isinstance(command, (Pause, Resume)):
            out.append(same_arrival(command))
    return out


def same_arrival(command):
    connect = getattr(command, "connect", None)
    return (type(command), same(connect)) if connect is not None else command


cuts = st.lists(st.integers(0, 300), max_size=12)


@given(conversations(), cuts, cuts)
def test_any_split_of_the_bytes_gives_the_same_commands(conversation, up_cuts, down_cuts):
    _, up, down, limits = conversation
    size = first_size(up)
    whole = play([up], [down], size, limits)
    assert play(pieces(up, up_cuts), pieces(down, down_cuts), size, limits) == whole
    assert (
        play([up[at : at + 1] for at in range(len(up))], [down[at : at + 1] for at in range(len(down))], size, limits)
        == whole
    )


@given(conversations(), st.integers(1, 3))
def test_standing_permits_change_nothing(conversation, repeats):
    _, up, down, limits = conversation
    size = first_size(up)
    first = first_size(down)
    ups, downs = [up[:size], *[up[size:]] * repeats], [down[:first], *[down[first:]] * repeats]
    assert play(ups, downs, size, limits) == play(ups, downs, size, limits, is_lasting=False)


def first_size(up: bytes) -> int:
    try:
        frame = frame_at(up, 0)
    except Unreadable:
        return len(up)
    return len(up) if frame is None else frame.end


def topics_in(stream: bytes, version: int) -> list[str]:
    """Read a stream as its receiver would; what is cut off at the end is left."""
    found, aliases, at = [], {}, 0
    while (frame := frame_at(stream, at, version)) is not None and frame.end <= len(stream):
        packet = decode_packet(stream[at : frame.end], version)
        assert not isinstance(packet, Malformed), packet
        if isinstance(packet, Publish):
            topic = packet.topic or aliases[packet.alias]
            if packet.alias:
                aliases[packet.alias] = topic
            found.append(topic)
        elif isinstance(packet, Subscribe):
            found += [wanted.filter for wanted in packet.subscriptions]
        elif isinstance(packet, Connect) and packet.will is not None:
            found.append(packet.will.topic)
        at = frame.end
    if frame is not None and stream[at] >> 4 == Kind.PUBLISH:
        found.append(stream[at:].decode("latin-1"))
    return found


@given(conversations(), cuts, cuts, st.booleans())
def test_nothing_refused_passes_and_what_passes_is_legal(conversation, up_cuts, down_cuts, in_turn):
    _, up, down, limits = conversation
    proxy, commands = MqttProxy(Door(), limits), []
    size = first_size(up)
    ups, downs = [up[:size], *pieces(up[size:], up_cuts)], pieces(down, down_cuts)
    turns = [(proxy.feed_client, piece) for piece in ups], [(proxy.feed_broker, piece) for piece in downs]
    if in_turn:
        order = [step for pair in zip(*turns, strict=False) for step in pair]
        order += turns[0][len(turns[1]) :] + turns[1][len(turns[0]) :]
    else:
        order = turns[0][:1] + turns[1] + turns[0][1:]
    for feed, piece in order:
        commands += feed(piece, 0.0)
    # An unknown version is refused in the words of 5.
    spoken = proxy.connect.version if proxy.connect is not None else 5
    for kind in (ToBroker, ToClient):
        stream = b"".join(command.data for command in commands if isinstance(command, kind))
        assert not [topic for topic in topics_in(stream, spoken) if "secret" in topic]
    closes = [place for place, command in enumerate(commands) if isinstance(command, Close)]
    assert closes in ([], [len(commands) - 1])


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=8), versions)
def test_any_bytes_never_raise(turns, version):
    proxy = MqttProxy(Door())
    if version != 3:
        proxy.feed_client(encode_packet(Connect(client_id="a", version=version), version), 0.0)
        proxy.feed_broker(encode_packet(Connack(), version), 0.0)
    for from_client, data in turns:
        (proxy.feed_client if from_client else proxy.feed_broker)(data, 0.0)
    proxy.kick("over")
    assert proxy.feed_client(b"x", 1.0) == []
