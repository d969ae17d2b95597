"""A root and an issuing CA whose keys are owner-only files, encrypted if there is a passphrase; made at first use."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from thingward.model.certificate import Revoked, Template
from thingward.model.errors import Unavailable

ROOT_DAYS: Final = 3650
ISSUING_DAYS: Final = 1825
_BACKDATE: Final = datetime.timedelta(hours=1)

_REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key_compromise": x509.ReasonFlags.key_compromise,
    "affiliation_changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation_of_operation": x509.ReasonFlags.cessation_of_operation,
    "privilege_withdrawn": x509.ReasonFlags.privilege_withdrawn,
}

Pair = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


class FileAuthority:
    """Signs with the keys in a folder: `root.key` and `issuing.key`, each with its certificate; `.pem` are public copies.

    Args:
        folder: made owner-only if it is missing, with new keys.
        site: goes into the names of the two CAs.
        passphrase: encrypts the keys; empty: they are protected by the rights of their files alone.
        now: seconds since 1970, for CAs made now.

    Raises:
        Unavailable: a key cannot be read or does not fit its certificate, or others may read it.
    """

    def __init__(self, folder: Path, *, site: str, passphrase: bytes, now: float) -> None:
        self._folder = folder
        self._passphrase = passphrase
        try:
            root, issuing = self._open(site, _moment(now))
        except OSError as error:
            raise Unavailable(f"the CA in {folder} cannot be used: {error.strerror}.") from error
        try:
            issuing[1].verify_directly_issued_by(root[1])
        except (ValueError, TypeError, InvalidSignature) as error:
            raise Unavailable(f"in {folder} the issuing CA is not the root's.", hint="Put the backup back.") from error
        self._key, self._certificate = issuing
        self._root = root[1]
        self._key_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def chain(self) -> tuple[bytes, ...]:
        """Give the certificates of the authority as DER: the issuing one first, the root last."""
        return (self._certificate.public_bytes(Encoding.DER), self._root.public_bytes(Encoding.DER))

    def issue(self, template: Template) -> bytes:
        """Give a new certificate as DER, with a random serial number; it never outlives the CA."""
        key = load_der_public_key(template.public_key)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, template.name)]
        if template.serial:
            subject.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, template.serial))
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if template.use == "device" else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self._certificate.subject)
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(_moment(template.not_before), self._certificate.not_valid_before_utc))
            .not_valid_after(min(_moment(template.not_after), self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_names(template)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # type: ignore[arg-type]
            .add_extension(self._key_identifier, critical=False)
        )
        if template.crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(template.crl_url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        if template.ocsp_url:
            place = x509.UniformResourceIdentifier(template.ocsp_url)
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def revocation_list(self, revoked: Sequence[Revoked], number: int, now: float, next_update: float) -> bytes:
        """Give a signed revocation list (CRL) as DER; times in seconds since 1970."""
        rows = []
        for line in revoked:
            row = (
                x509.RevokedCertificateBuilder().serial_number(int(line.serial, 16)).revocation_date(_moment(line.time))
            )
            if line.reason != "unspecified":
                row = row.add_extension(x509.CRLReason(_REASONS[line.reason]), critical=False)
            rows.append(row.build())
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self._certificate.subject,
            last_update=_moment(now) - datetime.timedelta(seconds=60),
            next_update=_moment(next_update),
            revoked_certificates=rows,  # one by one is quadratic
        )
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        builder = builder.add_extension(self._key_identifier, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def asked_serial(self, request: bytes) -> str:
        """Give the serial number that an OCSP request asks for, hexadecimal; empty if it cannot be read."""
        asked = _read_question(request)
        return f"{asked.serial_number:x}" if asked is not None else ""

    def status(self, request: bytes, states: dict[str, Revoked | None], now: float, next_update: float) -> bytes:
        """Answer an OCSP request as DER, signed by the issuing CA itself."""
        asked = _read_question(request)
        if asked is None:
            return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        serial = f"{asked.serial_number:x}"
        is_ours = self._is_ours(asked)
        line = states.get(serial) if is_ours else None
        known = is_ours and serial in states
        good = ocsp.OCSPCertStatus.GOOD if known else ocsp.OCSPCertStatus.UNKNOWN
        reason = _REASONS[line.reason] if line is not None and line.reason != "unspecified" else None
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            issuer_name_hash=asked.issuer_name_hash,
            issuer_key_hash=asked.issuer_key_hash,
            serial_number=asked.serial_number,
            algorithm=asked.hash_algorithm,
            cert_status=good if line is None else ocsp.OCSPCertStatus.REVOKED,
            this_update=_moment(now) - datetime.timedelta(seconds=60),
            next_update=_moment(next_update),
            revocation_time=None if line is None else _moment(line.time),
            revocation_reason=reason,
        )
        with contextlib.suppress(x509.ExtensionNotFound):
            nonce = asked.extensions.get_extension_for_class(x509.OCSPNonce).value
            builder = builder.add_extension(nonce, critical=False)
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self._certificate)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _is_ours(self, asked: ocsp.OCSPRequest) -> bool:
        """Tell whether the question names this CA by the hash of its key."""
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        digest = hashes.Hash(asked.hash_algorithm)
        digest.update(point)
        return digest.finalize() == asked.issuer_key_hash

    def _open(self, site: str, now: datetime.datetime) -> tuple[Pair, Pair]:
        """Give root and issuing CA; both are made where there is neither."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        root, issuing = self._load("root"), self._load("issuing")
        if issuing is not None and root is None:
            raise Unavailable(f"the root is missing from {self._folder}.", hint="Put the backup back.")
        root = root or self._make("root", f"thingward root CA of {site}"[:64], None, now)
        issuing = issuing or self._make("issuing", f"thingward device CA of {site}"[:64], root, now)
        for name, (_, certificate) in (("root", root), ("issuing", issuing)):
            if not (self._folder / f"{name}.pem").exists():
                _write(self._folder / f"{name}.pem", certificate.public_bytes(Encoding.PEM))
        return root, issuing

    def _load(self, name: str) -> Pair | None:
        key_file = self._folder / f"{name}.key"
        try:
            fd = os.open(key_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise Unavailable(f"others may read the CA key {key_file}.", hint=f"Run: chmod 600 {key_file}")
            pem = stream.read()
        try:
            key = load_pem_private_key(pem, self._passphrase or None)
            certificate = x509.load_pem_x509_certificate(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            hint = "Set registrar.passphrase_file as it was when the CA was made, or put the backup back."
            raise Unavailable(f"the CA key {key_file} cannot be read: {error}.", hint=hint) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise Unavailable(f"{key_file} does not fit its certificate.", hint="Put the backup back.")
        return key, certificate

    def _make(self, name: str, title: str, issuer: Pair | None, now: datetime.datetime) -> Pair:
        key = ec.generate_private_key(ec.SECP384R1() if issuer is None else ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
        signing_key, issuer_name = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
        days = ROOT_DAYS if issuer is None else ISSUING_DAYS
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1 if issuer is None else 0), critical=True)
            .add_extension(_usage(is_ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
            .sign(signing_key, hashes.SHA384() if issuer is None else hashes.SHA256())
        )
        # One file for both: there is never a key without its certificate.
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, self._encryption())
        _write(self._folder / f"{name}.key", pem + certificate.public_bytes(Encoding.PEM))
        return key, certificate

    def _encryption(self) -> KeySerializationEncryption:
        return BestAvailableEncryption(self._passphrase) if self._passphrase else NoEncryption()


def _read_question(request: bytes) -> ocsp.OCSPRequest | None:
    try:
        asked = ocsp.load_der_ocsp_request(request)
        asked.hash_algorithm, asked.extensions, asked.serial_number  # noqa: B018 - each is parsed when it is asked for
    except (ValueError, TypeError, UnsupportedAlgorithm, NotImplementedError, x509.DuplicateExtension, OverflowError):
        return None
    return asked if asked.serial_number > 0 else None


def _unsuccessful(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


def _names(template: Template) -> list[x509.GeneralName]:
    return [
        *map(x509.UniformResourceIdentifier, template.uris),
        *map(x509.DNSName, template.dns_names),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in template.addresses),
    ]


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _write(path: Path, data: bytes) -> None:
    """Write an owner-only file that is whole on disk, or not there."""
    draft = path.with_suffix(path.suffix + ".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
