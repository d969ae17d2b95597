"""Content first, port second."""

import pytest

from tests.unit.wire.test_dhcp import option, packet
from tests.unit.wire.test_dns import QUERY
from thingward.model.record import Malformed
from thingward.wire.dispatch import LLDP_ETHERTYPE, decode_datagram, decode_frame, stream_decoder


@pytest.mark.parametrize(
    ("sport", "dport", "payload", "protocol"),
    [
        (40000, 53, QUERY, "dns"),
        (53, 40000, QUERY, "dns"),
        (40000, 9953, QUERY, "dns"),
        (5353, 5353, QUERY, "dns"),
        (68, 67, packet(option(53, b"\1")), "dhcp"),
        (40000, 4000, packet(option(53, b"\1")), "dhcp"),
        (40000, 49152, b"NOTIFY * HTTP/1.1\r\nNT: a\r\n\r\n", "ssdp"),
        (40000, 443, b"\xc3\0\0\0\1\x08" + bytes(8) + b"\0" + bytes(20), "quic"),
        (40000, 9, b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12), "stun"),
        (40000, 5678, b"OPTIONS sip:a SIP/2.0\r\n\r\n", "sip"),
        (40000, 123, b"\x23" + bytes(47), "ntp"),
    ],
)
def test_datagrams_find_their_decoder(sport, dport, payload, protocol):
    (message,) = decode_datagram(17, sport, dport, payload)
    assert message.protocol == protocol
    assert not isinstance(message, Malformed)


def test_nobody_claims_the_rest():
    assert decode_datagram(17, 40000, 40001, b"hello") == ()
    assert decode_datagram(17, 40000, 53, b"") == ()
    assert decode_datagram(6, 40000, 53, QUERY) == ()
    assert decode_frame(0x0800, b"x") == ()


def test_a_problem_comes_beside_its_message():
    message, problem = decode_datagram(17, 68, 67, packet(option(12, b"a"), end=b"\x3c\xff"))
    assert message.hostname == "a"
    assert isinstance(problem, Malformed)


def test_frames_of_lldp_are_decoded():
    (message,) = decode_frame(LLDP_ETHERTYPE, b"\x02\x02\x07x\0\0")
    assert message.chassis == "x"


@pytest.mark.parametrize(
    ("dport", "first", "from_initiator", "protocol"),
    [
        (9999, b"GET / HTTP/1.1\r\n", True, "http"),
        (9999, b"\x16\x03\x01\x00\x40\x01", True, "tls"),
        (9999, b"\x10\x10\0\x04MQTT\x04", True, "mqtt"),
        (1883, b"\x30", True, "mqtt"),
        (9999, b"SSH-2.0-x\r\n", False, "ssh"),
        (9999, b"\xff\xfd\x18", False, "telnet"),
        (23, b"r", True, "telnet"),
        (8554, b"DESCRIBE rtsp://a/ RTSP/1.0\r\n", True, "rtsp"),
        (2121, b"220 FTP ready\r\n", False, "ftp"),
        (2121, b"220 mail ESMTP\r\n", False, "smtp"),
        (25, b"220 mail\r\n", False, "smtp"),
        (9999, b"+OK ready\r\n", False, "pop3"),
        (9999, b"* OK ready\r\n", False, "imap"),
        (80, b"GE", True, "http"),
        (53, b"\0\x1d", True, "dns"),
    ],
)
def test_streams_find_their_machine(dport, first, from_initiator, protocol):
    decoder = stream_decoder(6, 40000, dport, first, from_initiator)
    assert decoder is not None
    assert decoder.protocol == protocol


def test_no_machine_for_foreign_content():
    assert stream_decoder(6, 40000, 80, b"\x00\x01binary stuff", True) is None
    assert stream_decoder(6, 40000, 9999, b"anything", True) is None
    assert stream_decoder(17, 40000, 80, b"GET / HTTP/1.1\r\n", True) is None


def test_in_mid_stream_the_port_says_nothing():
    assert stream_decoder(6, 40000, 1883, b"\x30\x05", True, mid_stream=True) is None
    assert stream_decoder(6, 40000, 1883, b"GET / HTTP/1.1\r\n", True, mid_stream=True) is not None
