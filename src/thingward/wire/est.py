"""Bodies of EST (RFC 7030): requests in base64, certificates as PKCS#7 without a signer, attributes as DER."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from thingward.model.record import Malformed

MAX_REQUEST_BYTES: Final = 16_384
MAX_CREDENTIAL_BYTES: Final = 1024

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_SIGNED_DATA: Final = bytes.fromhex("06092a864886f70d010702")
_DATA: Final = bytes.fromhex("06092a864886f70d010701")
_VERSION_1: Final = bytes.fromhex("020101")
#: ecdsa-with-SHA256, and id-ecPublicKey with the curve P-256: what a device that can choose should take.
_ECDSA_SHA256: Final = bytes.fromhex("06082a8648ce3d040302")
_EC_KEY: Final = bytes.fromhex("06072a8648ce3d0201")
_P256: Final = bytes.fromhex("06082a8648ce3d030107")

_HEADER: Final = b"-----BEGIN "
_WHITE: Final = b" \t\r\n"


def decode_request(body: bytes) -> bytes | Malformed:
    """Give the DER of a PKCS#10 request: sent as base64 with or without line ends, as PEM, or as it is."""
    if len(body) > MAX_REQUEST_BYTES:
        return _malformed("est: request too long", body)
    if body[:1] == b"\x30" and body[1:2] > b"\x7f":
        return body
    text = body.strip(_WHITE)
    if text.startswith(_HEADER):
        lines = [line.strip(_WHITE) for line in text.splitlines()]
        text = b"".join(line for line in lines if b"-----" not in line)
    try:
        der = base64.b64decode(text.translate(None, _WHITE), validate=True)
    except binascii.Error:
        return _malformed("est: request is not base64", body)
    if der[:1] != b"\x30":
        return _malformed("est: request is no DER sequence", body)
    return der


def decode_basic(header: str) -> tuple[str, str] | Malformed:
    """Give user name and password of an `Authorization: Basic` header."""
    scheme, _, coded = header.strip().partition(" ")
    if scheme.lower() != "basic" or len(coded) > MAX_CREDENTIAL_BYTES:
        return Malformed(reason="est: no basic credentials", protocol="est")
    try:
        text = base64.b64decode(coded.strip().encode("ascii"), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError):
        return Malformed(reason="est: basic credentials are not base64", protocol="est")
    user, colon, password = text.partition(":")
    if not colon:
        return Malformed(reason="est: basic credentials without a colon", protocol="est")
    return user, password


def encode_body(der: bytes) -> bytes:
    """Give base64 on one line: a client in the field breaks on line ends."""
    return base64.b64encode(der)


def encode_certificates(certificates: Sequence[bytes]) -> bytes:
    """Give a PKCS#7 SignedData without content or signers that holds these DER certificates.

    Source: RFC 5272 section 4.1 ("certs-only"), RFC 2315 section 9.1.
    """
    held = _element(0xA0, b"".join(certificates))
    signed = _element(
        _SEQUENCE, _VERSION_1 + _element(_SET, b"") + _element(_SEQUENCE, _DATA) + held + _element(_SET, b"")
    )
    return _element(_SEQUENCE, _SIGNED_DATA + _element(0xA0, signed))


def encode_attributes() -> bytes:
    """Give the CsrAttrs: ECDSA with SHA-256 and a key on P-256. Source: RFC 7030 section 4.5.2."""
    curve = _element(_SEQUENCE, _EC_KEY + _element(_SET, _P256))
    return _element(_SEQUENCE, curve + _ECDSA_SHA256)


def _element(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def _malformed(reason: str, body: bytes) -> Malformed:
    return Malformed(reason=reason, sample=body[:32], protocol="est")
