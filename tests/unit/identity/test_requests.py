"""Requests are read, their proof of possession verified, and weak keys refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.unit.identity.csrs import KEY, csr
from thingward.identity.requests import ParsedRequest, read_request
from thingward.model.record import Malformed


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ec-p256"),
        (ec.generate_private_key(ec.SECP384R1()), "ec-p384"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (rsa.generate_private_key(65537, 2048), "rsa-2048"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_tells_name_key_and_names(key, kind):
    found = read_request(csr(key=key, serial="A1", names=(x509.DNSName("pump-7"), x509.RFC822Name("a@b.example"))))
    assert isinstance(found, ParsedRequest)
    assert (found.common_name, found.serial, found.key_type) == ("pump-7", "A1", kind)
    assert found.names == ("dns:pump-7", "other:RFC822Name")
    assert len(found.key) == 64


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        rsa.generate_private_key(3, 2048),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP521R1()),
        dsa.generate_private_key(2048),
    ],
    ids=("rsa-1024", "rsa-e3", "p224", "p521", "dsa"),
)
def test_keys_that_are_not_allowed_are_refused(key):
    found = read_request(csr(key=key))
    assert isinstance(found, Malformed)
    assert found.reason == "request: key type or size not allowed"


def test_another_curve_of_edwards_is_refused():
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = builder.sign(ed448.Ed448PrivateKey.generate(), None).public_bytes(Encoding.DER)
    assert isinstance(read_request(der), Malformed)


def test_a_signature_that_is_not_the_keys_is_refused():
    der = bytearray(csr())
    der[-1] ^= 1
    found = read_request(bytes(der))
    assert isinstance(found, Malformed)
    assert found.reason == "request: signature is not its own key's"


def test_a_key_that_was_put_into_anothers_request_is_refused():
    mine, theirs = read_request(csr()), csr(key=ec.generate_private_key(ec.SECP256R1()))
    assert isinstance(mine, ParsedRequest)
    point = theirs.index(b"\x03\x42\x00\x04") + 4
    own = mine.public_key[-64:]
    assert isinstance(read_request(theirs[:point] + own + theirs[point + 64 :]), Malformed)


def test_a_name_twice_is_refused():
    name = x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "a")
    other = x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "b")
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([name, other]))
    der = request.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    found = read_request(der)
    assert isinstance(found, Malformed)
    assert found.reason == "request: a name twice in the subject"
