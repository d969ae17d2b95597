"""TLS hellos, JA4 and certificates."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from thingward.model.record import Malformed
from thingward.wire.tls import TlsClientHello, TlsDecoder, TlsServerHello, compute_ja4, is_client_hello, is_old_hello
from thingward.wire.x509 import read_certificate


def vector(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(code: int, data: bytes) -> bytes:
    return code.to_bytes(2, "big") + vector(data, 2)


def handshake(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + vector(body, 3)


def record(data: bytes) -> bytes:
    return b"\x16\x03\x01" + vector(data, 2)


def client_hello(ciphers: bytes = bytes.fromhex("1a1a13011302c02b"), *extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\0" + vector(ciphers, 2) + b"\1\0" + vector(b"".join(extensions), 2)
    return handshake(1, body)


HELLO = client_hello(
    bytes.fromhex("1a1a13011302c02b"),
    extension(0x2A2A, b""),
    extension(0, vector(b"\0" + vector(b"Hub.Maker.Example", 2), 2)),
    extension(16, vector(b"\x02h2\x08http/1.1", 2)),
    extension(13, vector(bytes.fromhex("04030804"), 2)),
    extension(43, vector(bytes.fromhex("3a3a03040303"), 1)),
)


def server_hello(version: bytes = b"\x03\x03", *extensions: bytes) -> bytes:
    return handshake(2, version + bytes(32) + b"\0\xc0\x2b\0" + vector(b"".join(extensions), 2))


def feed(decoder: TlsDecoder, from_initiator: bool, data: bytes) -> list:
    return decoder.feed(from_initiator, data) + decoder.finish()


def test_a_client_hello_gives_name_protocols_version_and_fingerprint():
    (hello,) = feed(TlsDecoder(), True, record(HELLO))
    assert isinstance(hello, TlsClientHello)
    assert hello.sni == "hub.maker.example"
    assert hello.alpn == ("h2", "http/1.1")
    assert hello.version == "1.3"
    assert hello.ciphers == (0x1301, 0x1302, 0xC02B)
    assert hello.extensions == (0, 16, 13, 43)
    assert hello.ja4.startswith("t13d0304h2_")


def test_a_hello_is_joined_across_records_and_segments():
    stream = record(HELLO[:50]) + record(HELLO[50:])
    decoder = TlsDecoder()
    found = [message for byte in stream for message in decoder.feed(True, bytes([byte]))]
    assert [message.sni for message in found] == ["hub.maker.example"]


@pytest.mark.parametrize(
    ("alpn", "mark"),
    [
        (b"", "00"),
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"0\xab", "3b"),
    ],
)
def test_ja4_marks_the_first_protocol(alpn, mark):
    assert compute_ja4("t", 0x0303, (0x002F,), (0, 16), alpn, ()).startswith(f"t12d0102{mark}_")


def test_ja4_of_nothing():
    assert compute_ja4("t", 0x0301, (), (), b"", ()) == "t10i000000_000000000000_000000000000"


def test_ja4_does_not_depend_on_the_order_of_ciphers_and_extensions():
    one = compute_ja4("t", 0x0304, (1, 2, 3), (0, 10, 43), b"h2", (5, 4))
    assert one == compute_ja4("t", 0x0304, (3, 1, 2), (43, 0, 10), b"h2", (5, 4))
    assert one != compute_ja4("t", 0x0304, (3, 1, 2), (43, 0, 10), b"h2", (4, 5))


def certificate(name: str = "cam-7.local") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Maker GmbH")]
    )
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Maker CA")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("Cam.Example"), x509.DNSName("b.example")]), False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def test_a_server_of_tls_1_2_shows_its_certificate():
    decoder = TlsDecoder()
    chain = handshake(11, vector(vector(certificate(), 3), 3))
    decoder.feed(True, record(HELLO))
    (hello,) = decoder.feed(False, record(server_hello() + chain))
    assert isinstance(hello, TlsServerHello)
    assert (hello.version, hello.cipher, hello.from_initiator) == ("1.2", 0xC02B, False)
    assert hello.certificate is not None
    assert hello.certificate.subject == "cam-7.local"
    assert hello.certificate.organisation == "Maker GmbH"
    assert hello.certificate.issuer == "Maker CA"
    assert hello.certificate.dns_names == ("cam.example", "b.example")
    assert not hello.certificate.self_issued
    assert decoder.done


def test_every_cut_of_a_certificate_is_survived():
    whole = certificate()
    assert all(read_certificate(whole[:end]) is None for end in range(0, 150, 7))


def test_a_server_of_tls_1_3_is_told_at_once():
    decoder = TlsDecoder()
    (hello,) = decoder.feed(False, record(server_hello(b"\x03\x03", extension(43, b"\x03\x04"))))
    assert (hello.version, hello.certificate) == ("1.3", None)


def test_a_resumed_session_has_no_certificate():
    decoder = TlsDecoder()
    found = decoder.feed(False, record(server_hello()) + b"\x14\x03\x03\0\1\1")
    assert [message.certificate for message in found] == [None]


def test_a_hello_in_the_form_of_ssl_2():
    data = b"\x80\x1f\x01\x03\x01" + b"\0\x06\0\0\0\x10" + bytes.fromhex("00002f000035") + bytes(16)
    assert is_old_hello(data)
    assert is_client_hello(data)
    (hello,) = feed(TlsDecoder(), True, data)
    assert (hello.version, hello.ciphers, hello.ja4) == ("1.0", (0x2F, 0x35), "")


def test_what_is_no_tls_ends_the_machine():
    decoder = TlsDecoder()
    (problem,) = decoder.feed(True, b"GET / HTTP/1.1\r\n")
    assert isinstance(problem, Malformed)
    assert problem.reason == "tls: bad record header"
    assert decoder.done
    assert decoder.feed(False, record(server_hello())) == []


def test_an_endless_handshake_is_bounded():
    decoder = TlsDecoder()
    for _ in range(10):
        decoder.feed(True, record(b"\1\x7f\xff\xff" + bytes(16000)))
    assert decoder._sides[True].over
    assert len(decoder._sides[True].handshake) < 64_000
