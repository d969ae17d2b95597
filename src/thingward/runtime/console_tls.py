"""TLS for the console: a given certificate, or one of our own small CA, made on first use and renewed by itself."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from thingward.model.errors import InvalidInput
from thingward.runtime.config import Settings
from thingward.runtime.own_addresses import local_addresses

CA_DAYS = 3650
LEAF_DAYS = 90
RENEW_DAYS = 30
#: Most addresses that a certificate names; a host with many containers has hundreds.
MAX_ADDRESSES = 64
#: A host's name; its last part begins with a letter, as that of no address does.
_NAME = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_-]{1,63}\.)*[A-Za-z_][A-Za-z0-9_-]{0,62}")


class ConsoleCertificate(msgspec.Struct, frozen=True):
    """Files for the listener, and what to tell people about them (empty for a given certificate)."""

    chain_file: str
    key_file: str
    note: str = ""


def console_certificate(
    settings: Settings,
    host: str,
    now: datetime.datetime | None = None,
    *,
    hostname: str | None = None,
    addresses: Collection[str] | None = None,
) -> ConsoleCertificate:
    """Give the certificate for the console; our own is made anew when it ends soon or lacks a name or address.

    Args:
        host: the address that the console listens on.
        hostname, addresses: of this machine; default: asked of it.
    Raises:
        InvalidInput: a certificate is set without its key, either cannot be read, or our own CA is damaged.
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
    named = hostname if hostname is not None else socket.gethostname()
    wanted = _names(host, settings.server.host, named, local_addresses() if addresses is None else addresses)
    if not _is_good(leaf_file, key_file, ca, wanted, moment):
        _make_leaf(leaf_file, key_file, (ca_key, ca), wanted, moment)
    fingerprint = ca.fingerprint(hashes.SHA256()).hex(":", 2).upper()
    note = f"Served with a certificate of this platform's own CA ({ca_file}); its SHA-256 fingerprint is {fingerprint}."
    return ConsoleCertificate(str(leaf_file), str(key_file), note)


def _own_ca(folder: Path, now: datetime.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_file, file = folder / "ca.key", folder / "ca.pem"
    if key_file.exists() and file.exists():
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            ca = x509.load_pem_x509_certificate(file.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            hint = f"Remove {folder}: a new CA is made, which browsers must be told to trust again."
            raise InvalidInput(f"the console's own CA in {folder} cannot be read: {error}.", hint=hint) from error
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == ca.public_key():
            return key, ca
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
    issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate],
    names: Sequence[x509.GeneralName],
    now: datetime.datetime,
) -> None:
    ca_key, ca = issuer
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "thingward console")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=LEAF_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(key_file, _pem(key), 0o600)
    encoding = serialization.Encoding.PEM
    _write(file, leaf.public_bytes(encoding) + ca.public_bytes(encoding), 0o644)


def _names(host: str, said: str, hostname: str, addresses: Collection[str]) -> list[x509.GeneralName]:
    """Give what a browser may call this console: loopback, and the address that it listens on, or all if it is any."""
    names = {"localhost", *_as_names(hostname), *_as_names(said)}
    wanted = {"127.0.0.1", "::1"}
    try:
        wanted |= set(addresses) if ipaddress.ip_address(host).is_unspecified else {host}
    except ValueError:
        names |= _as_names(host)
    parsed = sorted(map(ipaddress.ip_address, wanted), key=lambda ip: (not ip.is_loopback, ip.version, int(ip)))
    return [
        *map(x509.DNSName, sorted(names)),
        *map(x509.IPAddress, parsed[:MAX_ADDRESSES]),
    ]


def _as_names(text: str) -> set[str]:
    """Give a host's name, with `.local` too if it is bare; nothing for an address or what is no name."""
    if not _NAME.fullmatch(text):
        return set()
    name = text.lower()
    return {name} if "." in name or name == "localhost" else {name, f"{name}.local"}


def _is_good(
    file: Path, key_file: Path, ca: x509.Certificate, wanted: Sequence[x509.GeneralName], now: datetime.datetime
) -> bool:
    """Tell whether the certificate there is ours, fits its key, lasts, and has all names; what is broken is not good."""
    try:
        leaf = x509.load_pem_x509_certificate(file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        leaf.verify_directly_issued_by(ca)
        held = set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    lasts = leaf.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
    return lasts and key.public_key() == leaf.public_key() and held >= set(wanted)


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
