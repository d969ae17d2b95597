"""The CA in files: made once, sealed, its certificates and answers as others read them."""

from __future__ import annotations

import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from tests.unit.identity.csrs import KEY
from thingward.adapters.authority.file import FileAuthority
from thingward.model.certificate import Revoked, Template
from thingward.model.errors import Unavailable

NOW = 1_800_000_000.0
PUBLIC = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def opened(folder, passphrase=b""):
    return FileAuthority(folder / "ca", site="home", passphrase=passphrase, now=NOW)


def template(**fields):
    given = {"use": "device", "name": "pump-7", "public_key": PUBLIC, "not_before": NOW, "not_after": NOW + 86_400.0}
    return Template(**{**given, "uris": ("urn:uuid:1",), **fields})


def question(authority, serial, issuer=None):
    chain = [x509.load_der_x509_certificate(der) for der in authority.chain()]
    issuer = issuer or chain[0]
    name = hashes.Hash(hashes.SHA1())
    name.update(issuer.subject.public_bytes())
    key = hashes.Hash(hashes.SHA1())
    key.update(issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name.finalize(), key.finalize(), int(serial, 16), hashes.SHA1()
    )
    return builder.add_extension(x509.OCSPNonce(b"n" * 16), critical=False).build().public_bytes(Encoding.DER)


def test_it_is_made_once_and_for_its_owner_only(tmp_path):
    chain = opened(tmp_path).chain()
    assert opened(tmp_path).chain() == chain
    files = list((tmp_path / "ca").iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    issuing, root = (x509.load_der_x509_certificate(der) for der in chain)
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)


def test_a_device_certificate_holds_what_the_template_says_and_nothing_else(tmp_path):
    authority = opened(tmp_path)
    leaf = x509.load_der_x509_certificate(authority.issue(template(serial="A1", dns_names=("pump-7",))))
    leaf.verify_directly_issued_by(x509.load_der_x509_certificate(authority.chain()[0]))
    assert leaf.subject.rfc4514_string() == "2.5.4.5=A1,CN=pump-7"
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:uuid:1"]


def test_nothing_outlives_the_ca(tmp_path):
    authority = opened(tmp_path)
    leaf = x509.load_der_x509_certificate(authority.issue(template(not_after=NOW + 1e9)))
    assert leaf.not_valid_after_utc == x509.load_der_x509_certificate(authority.chain()[0]).not_valid_after_utc


def test_keys_are_sealed_by_a_passphrase(tmp_path):
    chain = opened(tmp_path, b"open sesame").chain()
    assert b"ENCRYPTED" in (tmp_path / "ca" / "issuing.key").read_bytes()
    assert opened(tmp_path, b"open sesame").chain() == chain
    for wrong in (b"", b"guess"):
        with pytest.raises(Unavailable, match="passphrase_file"):
            opened(tmp_path, wrong)


def test_a_ca_that_others_may_read_or_that_lacks_its_root_is_not_used(tmp_path):
    opened(tmp_path)
    key = tmp_path / "ca" / "issuing.key"
    key.chmod(0o640)
    with pytest.raises(Unavailable, match="chmod 600"):
        opened(tmp_path)
    key.chmod(0o600)
    (tmp_path / "ca" / "root.key").unlink()
    with pytest.raises(Unavailable, match="root is missing"):
        opened(tmp_path)
    assert not (tmp_path / "ca" / "root.key").exists()


def test_ocsp_tells_good_revoked_and_unknown(tmp_path):
    authority = opened(tmp_path)
    states = {"aa": None, "bb": Revoked(serial="bb", time=NOW - 5, reason="key_compromise")}
    for serial, status in (
        ("aa", ocsp.OCSPCertStatus.GOOD),
        ("bb", ocsp.OCSPCertStatus.REVOKED),
        ("cc", ocsp.OCSPCertStatus.UNKNOWN),
    ):
        asked = question(authority, serial)
        assert authority.asked_serial(asked) == serial
        answer = ocsp.load_der_ocsp_response(authority.status(asked, states, NOW, NOW + 900))
        assert answer.certificate_status is status
        assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 16
    root = x509.load_der_x509_certificate(authority.chain()[1])
    other = ocsp.load_der_ocsp_response(authority.status(question(authority, "aa", root), states, NOW, NOW + 900))
    assert other.certificate_status is ocsp.OCSPCertStatus.UNKNOWN, "another CA's certificate"


@pytest.mark.parametrize("asked", [b"", b"\x30\x00", b"\x30\x03\x02\x01\x00", bytes(100)])
def test_what_is_no_ocsp_request_gets_an_ocsp_error(tmp_path, asked):
    authority = opened(tmp_path)
    assert authority.asked_serial(asked) == ""
    answer = ocsp.load_der_ocsp_response(authority.status(asked, {}, NOW, NOW + 900))
    assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_the_list_of_revoked(tmp_path):
    authority = opened(tmp_path)
    rows = [Revoked(serial="bb", time=NOW, reason="superseded"), Revoked(serial="cc", time=NOW)]
    crl = x509.load_der_x509_crl(authority.revocation_list(rows, 7, NOW, NOW + 86_400))
    assert crl.is_signature_valid(x509.load_der_x509_certificate(authority.chain()[0]).public_key())  # type: ignore[arg-type]
    assert [row.serial_number for row in crl] == [0xBB, 0xCC]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
