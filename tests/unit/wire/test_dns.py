"""DNS, mDNS and LLMNR messages, and DNS over TCP."""

import struct

import pytest

from thingward.model.record import Malformed
from thingward.wire.dns import (
    MAX_RECORDS,
    DnsMessage,
    DnsStreamDecoder,
    decode_dns,
    decode_mdns,
    is_dns,
    read_name,
)

QUERY = bytes.fromhex("a1b20100000100000000000003777777076578616d706c6503636f6d0000010001")


def name(text: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes, ttl: int = 60) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def answer(*records: bytes, additionals: tuple[bytes, ...] = (), question: bytes = name("a.example")) -> bytes:
    head = struct.pack("!HHHHHH", 1, 0x8180, 1, len(records), 0, len(additionals))
    return head + question + b"\0\1\0\1" + b"".join(records) + b"".join(additionals)


def read(data: bytes) -> DnsMessage:
    message = decode_dns(data)
    assert isinstance(message, DnsMessage), message
    return message


def test_a_query_has_a_name_and_a_type():
    message = read(QUERY)
    assert not message.is_response
    assert [(one.name, one.rrtype) for one in message.questions] == [("www.example.com", "A")]


def test_compressed_names_addresses_and_aliases_are_read():
    message = read(
        answer(
            record(b"\xc0\x0c", 5, b"\1b\xc0\x0e"),
            record(b"\1b\xc0\x0e", 1, bytes([10, 0, 0, 9]), ttl=300),
            record(b"\1b\xc0\x0e", 28, bytes.fromhex("20010db8") + bytes(11) + b"\1"),
        )
    )
    assert [(one.name, one.rrtype, one.value, one.ttl_s) for one in message.answers] == [
        ("a.example", "CNAME", "b.example", 60),
        ("b.example", "A", "10.0.0.9", 300),
        ("b.example", "AAAA", "2001:db8::1", 60),
    ]


def test_service_records_name_host_port_and_texts():
    message = read(
        answer(
            record(b"\xc0\x0c", 33, struct.pack("!HHH", 0, 5, 8009) + name("tv.local")),
            record(b"\xc0\x0c", 16, b"\x07md=Plug\x05fn=TV\x00"),
        )
    )
    service, text = message.answers
    assert (service.target, service.port, service.value) == ("tv.local", 8009, "0 5 8009 tv.local")
    assert text.texts == ("md=Plug", "fn=TV")


def test_service_bindings_carry_address_hints_and_protocols():
    parameters = struct.pack("!HH", 1, 3) + b"\x02h2" + struct.pack("!HH", 4, 4) + bytes([192, 0, 2, 1])
    parameters += struct.pack("!HH", 6, 16) + bytes.fromhex("20010db8") + bytes(11) + b"\2"
    (binding,) = read(answer(record(b"\xc0\x0c", 65, b"\0\1\0" + parameters))).answers
    assert binding.rrtype == "HTTPS"
    assert binding.hints == ("192.0.2.1", "2001:db8::2")
    assert binding.alpn == ("h2",)


def test_a_dot_inside_a_label_stays_distinguishable():
    label = b"\x09Hue - 1.2"
    assert read_name(label + b"\x05local\0", 0) == ("Hue - 1\\.2.local", 17)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "dns: truncated"),
        (QUERY[:20], "dns: truncated"),
        (QUERY[:12] + b"\xc0\x0c\0\1\0\1", "dns: name loops"),
        (QUERY[:12] + b"\xc0\x10\0\1\0\1" + b"\xc0\x0c", "dns: name loops"),
        (QUERY[:12] + b"\x80abc\0\1\0\1", "dns: unknown label type"),
        (QUERY[:12] + b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 3 + b"\0\0\1\0\1", "dns: name too long"),
        (QUERY[:4] + b"\xff\xff" + QUERY[6:], "dns: absurd record count"),
    ],
)
def test_hostile_messages_are_malformed(data, reason):
    message = decode_dns(data)
    assert isinstance(message, Malformed)
    assert message.reason == reason
    assert len(message.sample) <= 32


def test_what_was_read_before_the_cut_is_kept():
    whole = answer(record(b"\xc0\x0c", 1, bytes([10, 0, 0, 1])), record(b"\xc0\x0c", 1, bytes([10, 0, 0, 2])))
    message = read(whole[:-3])
    assert [one.value for one in message.answers] == ["10.0.0.1"]
    assert message.problem is not None
    assert message.problem.reason == "dns: record truncated"


def test_the_number_of_records_is_bounded():
    message = read(answer(*[record(b"\xc0\x0c", 1, bytes([10, 0, 0, 1]))] * (MAX_RECORDS + 50)))
    assert len(message.answers) == MAX_RECORDS


def test_mdns_questions_may_want_a_unicast_answer():
    data = QUERY[:-2] + b"\x80\x01"
    message = decode_mdns(data)
    assert isinstance(message, DnsMessage)
    assert message.transport == "mdns"
    assert message.questions[0].unicast


def test_dns_is_known_by_content_on_any_port():
    assert is_dns(QUERY)
    assert not is_dns(QUERY[:-1])
    assert not is_dns(bytes(40))


def test_dns_over_tcp_is_read_across_any_split():
    stream = len(QUERY).to_bytes(2, "big") + QUERY
    decoder = DnsStreamDecoder()
    found = [message for byte in stream for message in decoder.feed(True, bytes([byte]))]
    assert [message.questions[0].name for message in found] == ["www.example.com"]
    reply = answer(record(b"\xc0\x0c", 1, bytes([10, 0, 0, 1])))
    (back,) = decoder.feed(False, len(reply).to_bytes(2, "big") + reply)
    assert back.is_response
    assert not back.from_initiator


def test_dns_over_tcp_stops_at_what_is_no_dns():
    decoder = DnsStreamDecoder()
    (problem,) = decoder.feed(True, b"\0\4abcd")
    assert isinstance(problem, Malformed)
    assert decoder.done
