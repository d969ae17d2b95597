"""A certificate for the console where none was given: made by a small CA of this machine's own, kept in its folder."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from thingward.model.errors import Unavailable

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 397
#: A certificate with less than this left is made anew, in days.
RENEW_DAYS: Final = 30
#: Clocks of browsers may be this late, in hours.
BACKDATE_HOURS: Final = 24

_Key = ec.EllipticCurvePrivateKey


class SelfMade(msgspec.Struct, frozen=True):
    """Files of a certificate: its chain, its key, the CA that browsers may be told to trust; SHA-256 of the leaf."""

    chain: Path
    key: Path
    ca: Path
    fingerprint: str


def ensure_certificate(folder: Path, names: Iterable[str], now: float) -> SelfMade:
    """Give a certificate for these host names and addresses, made anew if none is there that fits.

    Args:
        folder: made owner-only. now: seconds since 1970.
    Raises:
        Unavailable: the folder cannot be used, or what is in it is damaged.
    """
    wanted = tuple(sorted(set(names)))
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    files = SelfMade(folder / "server.pem", folder / "server.key", folder / "ca.pem", "")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca, ca_key = _ensure_ca(folder, at)
        leaf = _usable_leaf(files, ca, wanted, at) or _make_leaf(files, ca, ca_key, wanted, at)
    except OSError as error:
        raise Unavailable(f"{folder} cannot hold a certificate: {error.strerror}.") from error
    except ValueError as error:
        raise Unavailable(f"a file in {folder} is damaged: {error}.", hint="Remove the folder.") from error
    return msgspec.structs.replace(files, fingerprint=leaf.fingerprint(hashes.SHA256()).hex(":").upper())


def _ensure_ca(folder: Path, at: datetime.datetime) -> tuple[x509.Certificate, _Key]:
    cert_path, key_path = folder / "ca.pem", folder / "ca.key"
    if cert_path.is_file() and key_path.is_file():
        cert = x509.load_pem_x509_certificate(cert_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), password=None)
        if isinstance(key, _Key) and cert.not_valid_after_utc > at + datetime.timedelta(days=LEAF_DAYS):
            return cert, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"thingward on {os.uname().nodename}"[:64])])
    cert = (
        _builder(name, name, key, at, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _pem(key), 0o600)
    _write(cert_path, cert.public_bytes(Encoding.PEM), 0o644)
    return cert, key


def _usable_leaf(
    files: SelfMade, ca: x509.Certificate, names: tuple[str, ...], at: datetime.datetime
) -> x509.Certificate | None:
    if not files.chain.is_file() or not files.key.is_file():
        return None
    leaf = x509.load_pem_x509_certificate(files.chain.read_bytes())
    held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    fits = set(held) == set(_alternative(names)) and leaf.issuer == ca.subject
    lasts = leaf.not_valid_before_utc <= at < leaf.not_valid_after_utc - datetime.timedelta(days=RENEW_DAYS)
    with contextlib.suppress(Exception):
        leaf.verify_directly_issued_by(ca)
        return leaf if fits and lasts else None
    return None


def _make_leaf(
    files: SelfMade, ca: x509.Certificate, ca_key: _Key, names: tuple[str, ...], at: datetime.datetime
) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "thingward console")])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = (
        _builder(subject, ca.subject, key, at, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternative(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(files.key, _pem(key), 0o600)
    _write(files.chain, leaf.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM), 0o644)
    return leaf


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _Key, at: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - datetime.timedelta(hours=BACKDATE_HOURS))
        .not_valid_after(at + datetime.timedelta(days=days))
    )


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(names: tuple[str, ...]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _pem(key: _Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    draft.replace(path)
