"""Certificate requests (PKCS#10): what one asks for, once its signature shows that the asker holds the key."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from thingward.model.certificate import RequestSummary
from thingward.model.record import Malformed

MAX_NAMES: Final = 16
MAX_TEXT: Final = 200
RSA_BITS: Final = (2048, 4096)
RSA_EXPONENT: Final = 65537
CURVES: Final = {"secp256r1": "ec-p256", "secp384r1": "ec-p384"}
HASHES: Final = ("sha256", "sha384", "sha512")
#: What the library raises on bytes that it cannot read; not all of it is a ValueError.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class ParsedRequest(RequestSummary, frozen=True, kw_only=True):
    """A summary, with the public key itself as DER."""

    public_key: bytes


def read_request(der: bytes) -> ParsedRequest | Malformed:
    """Read a request and verify its proof of possession; anything that cannot be trusted to be one is Malformed."""
    try:
        return _read(x509.load_der_x509_csr(der))
    except _Refused as refused:
        return _malformed(str(refused), der)
    except _UNREADABLE:
        return _malformed("request: cannot be read", der)


class _Refused(Exception):
    """A reason not to take a request that can be read."""


def _read(csr: x509.CertificateSigningRequest) -> ParsedRequest:
    key_type = key_type_of(csr.public_key())
    if not key_type:
        raise _Refused("request: key type or size not allowed")
    if key_type != "ed25519" and (
        csr.signature_hash_algorithm is None or csr.signature_hash_algorithm.name not in HASHES
    ):
        raise _Refused("request: weak signature")
    if not csr.is_signature_valid:
        raise _Refused("request: signature is not its own key's")
    public = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ParsedRequest(
        key=key_digest(public),
        key_type=key_type,
        common_name=_one(csr.subject, NameOID.COMMON_NAME),
        serial=_one(csr.subject, NameOID.SERIAL_NUMBER),
        names=_names(csr),
        public_key=public,
    )


def key_digest(public_key: bytes) -> str:
    """Name a public key (SubjectPublicKeyInfo, DER): its SHA-256, hexadecimal."""
    return hashlib.sha256(public_key).hexdigest()


def key_type_of(key: object) -> str:
    """Name an allowed kind of public key; empty for any other."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return CURVES.get(key.curve.name, "")
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPublicKey):
        is_good = RSA_BITS[0] <= key.key_size <= RSA_BITS[1] and key.public_numbers().e == RSA_EXPONENT
        return f"rsa-{key.key_size}" if is_good else ""
    return ""


def _one(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = subject.get_attributes_for_oid(oid)
    if len(found) > 1:
        raise _Refused("request: a name twice in the subject")
    if not found:
        return ""
    value = found[0].value
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise _Refused("request: subject cannot be used")
    return value


def _names(csr: x509.CertificateSigningRequest) -> tuple[str, ...]:
    try:
        found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = list(found)
    if len(names) > MAX_NAMES:
        raise _Refused("request: too many names")
    return tuple(_spell(name) for name in names)


def _spell(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DNSName):
        return f"dns:{name.value[:MAX_TEXT]}"
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"uri:{name.value[:MAX_TEXT]}"
    return f"other:{type(name).__name__}"


def _malformed(reason: str, der: bytes) -> Malformed:
    return Malformed(reason=reason, sample=der[:32], protocol="pkcs10")
