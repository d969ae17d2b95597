"""How devices enrol: claims that let one in, enrolments that decide about a key, certificates that came of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from thingward.model.record import Record

#: Whom core believes that it is the registrar: the only one that asks for certificates and says what was issued.
REGISTRAR = "registrar"

RevocationReason = Literal[
    "unspecified",
    "key_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "privilege_withdrawn",
]


class Claim(Record, frozen=True, kw_only=True, tag="claim"):
    """A one-time token that lets one device enrol; only a digest of it is kept.

    Attributes:
        name: the device's name, common name of its certificate.
        device: uid in the inventory, if it is known there.
        serial: the maker's serial number, written into the subject.
        key: SHA-256 of the public key of the first request, hexadecimal; no other key may use the claim.
    """

    name: str
    digest: str
    expires: float
    device: str = ""
    serial: str = ""
    kind: str = ""
    needs_approval: bool = False
    by: str = ""
    key: str = ""
    state: Literal["open", "bound", "withdrawn"] = "open"


class Enrolment(Record, frozen=True, kw_only=True, tag="enrolment"):
    """One key that asks for a certificate, and what was decided.

    Attributes:
        identity: URI that stays the device's over all its certificates.
        claim: uid of the claim it came by; `replaces`: serial of the certificate it came with instead.
        is_late: the certificate that it came with had expired; it came back within the time of grace.
        lifetime_s: how long the certificate lasts, in seconds, with its jitter.
    """

    name: str
    identity: str
    key: str
    key_type: str
    state: Literal["pending", "approved", "refused"]
    device: str = ""
    serial: str = ""
    kind: str = ""
    claim: str = ""
    replaces: str = ""
    reason: str = ""
    is_late: bool = False
    lifetime_s: float = 0.0
    address: str = ""
    by: str = ""


class Certificate(Record, frozen=True, kw_only=True, tag="certificate"):
    """A certificate that the registrar issued; the uid is its serial number in hexadecimal.

    Attributes:
        renew_after: when the device should ask for the next one, seconds since 1970.
        replaces: serial of the certificate before it.
    """

    name: str
    identity: str
    key: str
    not_before: float
    not_after: float
    pem: str
    device: str = ""
    kind: str = ""
    enrolment: str = ""
    replaces: str = ""
    renew_after: float = 0.0
    state: Literal["valid", "revoked"] = "valid"
    revoked_at: float = 0.0
    reason: str = ""
    by: str = ""


class RequestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate request (PKCS#10) asks for; its signature was verified with its own key.

    Attributes:
        key: SHA-256 of the SubjectPublicKeyInfo, hexadecimal.
        key_type: `ec-p256`, `ec-p384`, `ed25519`, `rsa-2048` ...
        names: subject alternative names as `dns:..`, `uri:..`, other kinds as `other:..`.
    """

    key: str
    key_type: str
    common_name: str = ""
    serial: str = ""
    names: tuple[str, ...] = ()


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What the authority puts into a certificate: nothing of a request but its public key.

    Attributes:
        public_key: SubjectPublicKeyInfo, DER.
        uris, dns_names, addresses: subject alternative names.
        not_before, not_after: seconds since 1970.
        crl_url, ocsp_url: where its state is told; empty: nowhere.
    """

    use: Literal["device", "server"]
    name: str
    public_key: bytes
    not_before: float
    not_after: float
    serial: str = ""
    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    crl_url: str = ""
    ocsp_url: str = ""


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the revocation list; `serial` in hexadecimal, `time` in seconds since 1970."""

    serial: str
    time: float
    reason: str = "unspecified"
