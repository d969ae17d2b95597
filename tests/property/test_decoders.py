"""Any bytes, any split: decoders never raise, stay bounded, and keep secrets to themselves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.test_datagrams import WSD_HELLO
from tests.unit.wire.test_dhcp import SOLICIT, option, packet
from tests.unit.wire.test_dns import QUERY, answer, name, record
from tests.unit.wire.test_mqtt import connect, field
from tests.unit.wire.test_mqtt import packet as mqtt_packet
from tests.unit.wire.test_tls import HELLO, certificate, handshake, server_hello, vector
from tests.unit.wire.test_tls import record as tls_record
from thingward.model.observation import Endpoint
from thingward.model.record import Malformed
from thingward.sensing.eve import EveLog
from thingward.sensing.log_files import LogContext
from thingward.sensing.observe import PacketContext, observe_message
from thingward.sensing.syslog_source import SyslogSource
from thingward.sensing.zeek import ZeekLog
from thingward.wire import dispatch
from thingward.wire.dispatch import decode_datagram, decode_frame, stream_decoder
from thingward.wire.message import Message, clean_text

SECRET = "xc3511-hunter2"
CONTEXT = PacketContext(
    time=1.0,
    src=Endpoint(mac="02:00:00:00:00:01", ip="10.0.0.1", port=40000),
    dst=Endpoint(mac="02:00:00:00:00:02", ip="10.0.0.2", port=80),
    parents=("batch#0",),
    source="test",
)
DATAGRAM_PORTS = sorted(dispatch._BY_PORT)
STREAM_PORTS = sorted({*dispatch._STREAMS_BY_PORT, *dispatch._SHORT_STARTS_BY_PORT})

DATAGRAMS = [
    WSD_HELLO,
    QUERY,
    answer(
        record(b"\xc0\x0c", 5, name("b.example")),
        record(b"\xc0\x0c", 16, b"\x04md=x"),
        record(b"\xc0\x0c", 33, bytes(6) + b"\xc0\x0c"),
    ),
    packet(option(53, b"\1"), option(12, b"lamp"), option(81, b"\4\0\0\4lamp\0")),
    SOLICIT,
    b"NOTIFY * HTTP/1.1\r\nNT: a\r\nSERVER: b\r\n\r\n",
    b"\x41\x01\x12\x34\x99\xb4temp\x05inner",
    b'<165>1 2026-01-02T03:04:05Z h a p i [x@1 a="b]"] text',
    bytes.fromhex("302602010104067075626c6963a019020100020100020100300e300c06082b060102010101000500"),
]
STREAMS = [
    tls_record(HELLO),
    tls_record(server_hello() + handshake(11, vector(vector(certificate(), 3), 3))),
    b"GET /a?pwd=" + SECRET.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 401 no\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 2\r\n\r\nab",
    connect(rest=field(b"c") + field(b"root") + field(SECRET.encode())) + mqtt_packet(0x30, field(b"t") + b"1"),
    b"\x20\x02\0\0",
    b"\xff\xfd\x18login: ",
    b"root\r\n" + SECRET.encode() + b"\r\n",
    b"220 hi\r\n331 x\r\n530 no\r\n235 ok\r\n",
    b"USER root\r\nPASS " + SECRET.encode() + b"\r\n",
    b"SSH-2.0-x\r\n",
    b"DESCRIBE rtsp://a/ RTSP/1.0\r\n\r\n",
    len(QUERY).to_bytes(2, "big") + QUERY,
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A good example with some bytes changed, removed or added; or plain noise."""
    data = bytearray(draw(st.one_of(st.sampled_from(samples), st.binary(max_size=300))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


def check(messages) -> None:
    """Every message can become observations, which can be encoded and show no secret."""
    for message in messages:
        assert isinstance(message, Message | Malformed)
        assert SECRET not in repr(message) or isinstance(message, Malformed)
        for one in observe_message(CONTEXT, message):
            text = msgspec.json.encode(one)
            assert len(text) < 200_000
            if not isinstance(message, Malformed):
                assert SECRET.encode() not in text


@given(st.sampled_from(DATAGRAM_PORTS), st.booleans(), damaged(DATAGRAMS))
def test_any_datagram(port, towards, payload):
    sport, dport = (40000, port) if towards else (port, 40000)
    check(decode_datagram(17, sport, dport, payload))
    check(decode_frame(dispatch.LLDP_ETHERTYPE, payload))


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=1500))
def test_any_bytes_on_any_port(sport, dport, payload):
    check(decode_datagram(17, sport, dport, payload))


chunks = st.lists(st.tuples(st.booleans(), damaged(STREAMS)), min_size=1, max_size=8)


@given(st.sampled_from([*STREAM_PORTS, 9999]), chunks, st.booleans())
def test_any_stream(port, parts, mid_stream):
    decoder = None
    for from_initiator, data in parts:
        if decoder is None and data:
            decoder = stream_decoder(6, 40000, port, data, from_initiator, mid_stream)
        if decoder is not None:
            check(decoder.feed(from_initiator, data))
    if decoder is not None:
        check(decoder.finish())
        assert decoder.finish() == []


@pytest.mark.parametrize("sample", STREAMS)
@given(st.data())
def test_how_bytes_are_split_does_not_matter(sample, data):
    """One direction's bytes in any pieces give the same messages as in one."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sample)), max_size=6)))
    pieces = [sample[start:end] for start, end in zip([0, *cuts], [*cuts, len(sample)], strict=True)]
    ends = []
    for parts in ([sample], [piece for piece in pieces if piece]):
        decoder = stream_decoder(6, 40000, 9999, sample) or stream_decoder(6, 40000, 23, sample)
        found = [message for part in parts for message in decoder.feed(True, part)]
        ends.append([message for message in found + decoder.finish() if isinstance(message, Message)])
    assert ends[0] == ends[1]


@given(st.sampled_from(STREAM_PORTS), st.binary(min_size=1, max_size=64), st.integers(1, 40))
def test_floods_stay_bounded(port, data, times):
    decoder = stream_decoder(6, 40000, port, data)
    count = 0
    for number in range(times):
        if decoder is not None:
            count += len(decoder.feed(number % 3 > 0, data * 64))
    assert count < 8000


@given(st.binary(max_size=600), st.integers(0, 300))
def test_text_from_the_wire_is_printable_and_short(data, limit):
    text = clean_text(data, limit)
    assert len(text) <= limit
    assert text.isprintable()


ROWS = [
    b'{"ts":1.5,"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"10.0.0.2","id.resp_p":2,"proto":"tcp","conn_state":"SF"}',
    b"#separator \\x09\n#fields\tts\tuid\n#types\ttime\tstring\n1.0\tC1",
    b'{"timestamp":"2026-01-01T00:00:00.000000+0000","event_type":"dns","dns":{"type":"answer","answers":[{"rrname":"a"}]}}',
    b'{"timestamp":"2026-01-01T00:00:00+0000","event_type":"flow","flow":{"start":"x","pkts_toserver":-1e999}}',
]
json_rows = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = [
    "ts",
    "uid",
    "id.orig_h",
    "id.resp_p",
    "proto",
    "duration",
    "history",
    "query",
    "answers",
    "TTLs",
    "mac",
    "msg_types",
]
FIELDS += [
    "username",
    "password",
    "uri",
    "status_code",
    "topics",
    "timestamp",
    "event_type",
    "flow",
    "dns",
    "mqtt",
    "alert",
]


@given(st.lists(damaged(ROWS), max_size=6), st.sampled_from(["conn.log", "dns.log", "x.log", "http.log"]))
def test_any_log_line(lines, name):
    context = LogContext(source="test")
    zeek, eve, syslog = ZeekLog(context, name), EveLog(context, "eve.json"), SyslogSource(context)
    for line in lines:
        for part in line.split(b"\n"):
            for one in (*zeek.feed(part), *eve.feed(part), *syslog.feed(part, 5.0)):
                msgspec.json.encode(one)
    for tally in (zeek.tally, eve.tally, syslog.tally):
        msgspec.json.encode(tally.summary())


@given(
    st.dictionaries(st.sampled_from(FIELDS), json_rows, max_size=8),
    st.sampled_from(
        ["conn", "dns", "dhcp", "http", "ssl", "ssh", "mqtt_connect", "mqtt_subscribe", "notice", "arp", "ftp", "snmp"]
    ),
    st.sampled_from(["flow", "dns", "dhcp", "http", "tls", "ssh", "mqtt", "snmp", "alert"]),
)
def test_any_json_row(row, kind, event):
    context = LogContext(source="test")
    zeek, eve = ZeekLog(context, f"{kind}.log"), EveLog(context, "eve.json")
    row = {"timestamp": "2026-01-01T00:00:00+0000", "event_type": event, "ts": 1.0, "uid": "C", **row}
    line = msgspec.json.encode(row)
    for one in (*zeek.feed(line), *eve.feed(line)):
        msgspec.json.encode(one)
