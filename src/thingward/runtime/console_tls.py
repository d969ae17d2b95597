"""TLS for the console: a given certificate, or one of our own small CA, made on first use and renewed by itself."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from thingward.model.errors import InvalidInput
from thingward.runtime.config import Settings

CA_DAYS = 3650
LEAF_DAYS = 90
RENEW_DAYS = 30


class ConsoleCertificate(msgspec.Struct, frozen=True):
    """Files for the listener, and what to tell people about them (empty for a given certificate)."""

    chain_file: str
    key_file: str
    note: str = ""


def is_loopback(host: str) -> bool:
    """Tell whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def console_certificate(settings: Settings, host: str, now: datetime.datetime | None = None) -> ConsoleCertificate:
    """Give the certificate for the console.

    Raises:
        InvalidInput: a certificate is set without its key, or either cannot be read.
    """
    server = settings.server
    if server.tls_certificate:
        for name, path in (("tls_certificate", server.tls_certificate), ("tls_key", server.tls_key)):
            if not path or not os.access(path, os.R_OK):
                raise InvalidInput(f"server.{name}: {path or 'nothing'} cannot be read.", hint="Set both files.")
        return ConsoleCertificate(server.tls_certificate, server.tls_key)
    moment = now or datetime.datetime.now(datetime.UTC)
    folder = settings.home / "tls"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_file, leaf_file, key_file = folder / "ca.pem", folder / "console.pem", folder / "console.key"
    ca_key, ca = _own_ca(folder, moment)
    if not _is_good(leaf_file, key_file, moment):
        _make_leaf(leaf_file, key_file, ca_key, ca, host, moment)
    fingerprint = ca.fingerprint(hashes.SHA256()).hex(":", 2).upper()
    note = f"Served with a certificate of this platform's own CA ({ca_file}); its SHA-256 fingerprint is {fingerprint}."
    return ConsoleCertificate(str(leaf_file), str(key_file), note)


def _own_ca(folder: Path, now: datetime.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_file, file = folder / "ca.key", folder / "ca.pem"
    if key_file.exists() and file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key, x509.load_pem_x509_certificate(file.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"thingward console CA on {socket.gethostname()}"[:64])])
    ca = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _pem(key), 0o600)
    _write(file, ca.public_bytes(serialization.Encoding.PEM), 0o644)
    return key, ca


def _make_leaf(
    file: Path,
    key_file: Path,
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    host: str,
    now: datetime.datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = socket.gethostname()[:64] or "thingward"
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=LEAF_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(key_file, _pem(key), 0o600)
    encoding = serialization.Encoding.PEM
    _write(file, leaf.public_bytes(encoding) + ca.public_bytes(encoding), 0o644)


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname() or "thingward")]
    addresses = {"127.0.0.1", "::1"}
    try:
        if not ipaddress.ip_address(host).is_unspecified:
            addresses.add(host)
    except ValueError:
        names.append(x509.DNSName(host))
    return names + [x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(addresses)]


def _is_good(file: Path, key_file: Path, now: datetime.datetime) -> bool:
    if not (file.exists() and key_file.exists()):
        return False
    leaf = x509.load_pem_x509_certificate(file.read_bytes())
    return leaf.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    draft.replace(path)
