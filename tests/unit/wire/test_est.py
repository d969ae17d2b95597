"""EST bodies: what clients send in their several ways, and what they read."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from thingward.adapters.authority.file import FileAuthority
from thingward.model.record import Malformed
from thingward.wire import est

DER = b"\x30\x82\x01\x00" + bytes(256)


@pytest.mark.parametrize(
    "body",
    [
        DER,
        base64.b64encode(DER),
        base64.encodebytes(DER),
        base64.b64encode(DER) + b"\r\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(DER) + b"-----END CERTIFICATE REQUEST-----\n",
    ],
    ids=("der", "one-line", "lines", "line-end", "pem"),
)
def test_requests_come_in_many_forms(body):
    assert est.decode_request(body) == DER


@pytest.mark.parametrize("body", [b"", b"!", b"AAAA", b"\x30", b"x" * (est.MAX_REQUEST_BYTES + 1), b"-----BEGIN "])
def test_anything_else_is_malformed(body):
    assert isinstance(est.decode_request(body), Malformed)


def test_basic_credentials():
    assert est.decode_basic("Basic " + base64.b64encode(b"d:a:b").decode()) == ("d", "a:b")
    for header in (
        "",
        "Bearer x",
        "Basic",
        "Basic ???",
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic \u00e9",
    ):
        assert isinstance(est.decode_basic(header), Malformed), header


def test_certificates_are_read_by_others_and_sent_on_one_line(tmp_path):
    chain = FileAuthority(tmp_path / "ca", site="home", passphrase=b"", now=1_800_000_000.0).chain()
    body = est.encode_body(est.encode_certificates(chain))
    assert b"\n" not in body
    found = load_der_pkcs7_certificates(base64.b64decode(body))
    assert {row.public_bytes(Encoding.DER) for row in found} == set(chain)


def test_attributes_are_two():
    der = est.encode_attributes()
    assert der == bytes.fromhex("3021301506072a8648ce3d0201310a06082a8648ce3d03010706082a8648ce3d040302")
