"""Certificate requests for tests."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def csr(
    name: str = "pump-7",
    key: Any = KEY,
    *,
    names: tuple[x509.GeneralName, ...] = (),
    serial: str = "",
    digest: Any = None,
) -> bytes:
    """Make a request, DER."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    if serial:
        subject.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    is_ed = isinstance(key, ed25519.Ed25519PrivateKey)
    return builder.sign(key, None if is_ed else digest or hashes.SHA256()).public_bytes(Encoding.DER)
