"""The names inside an X.509 certificate (RFC 5280), by walking its DER; nothing is verified here."""

from __future__ import annotations

import msgspec

from thingward.wire.message import Unreadable, clean_text

MAX_NAMES = 16
_COMMON_NAME = bytes.fromhex("550403")
_ORGANISATION = bytes.fromhex("55040a")
_ALT_NAMES = bytes.fromhex("551d11")


class CertificateNames(msgspec.Struct, frozen=True, kw_only=True):
    """Common name and organisation of subject and issuer, and the subject's DNS names; as claimed, not verified."""

    subject: str = ""
    organisation: str = ""
    issuer: str = ""
    dns_names: tuple[str, ...] = ()
    self_issued: bool = False


def _element(data: bytes, offset: int) -> tuple[int, int, int]:
    """Give (tag, start of content, end of content) of the element at `offset`; raises Unreadable or IndexError."""
    tag, length = data[offset], data[offset + 1]
    start = offset + 2
    if length >= 0x80:
        count = length & 0x7F
        if count == 0 or count > 3:
            raise Unreadable("absurd certificate length", offset)
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + length > len(data):
        raise Unreadable("certificate truncated", offset)
    return tag, start, start + length


def _read_name(data: bytes, start: int, end: int) -> dict[bytes, str]:
    """Collect the attributes of a Name: SEQUENCE of SET of SEQUENCE (type, value)."""
    found: dict[bytes, str] = {}
    while start < end and len(found) < MAX_NAMES:
        _, set_start, start = _element(data, start)
        _, pair_start, _ = _element(data, set_start)
        _, type_start, type_end = _element(data, pair_start)
        tag, value_start, value_end = _element(data, type_end)
        value = data[value_start:value_end]
        text = value.decode("utf-16-be", "replace").encode() if tag == 30 else value
        found.setdefault(data[type_start:type_end], clean_text(text))
    return found


def _read_alt_names(data: bytes, start: int, end: int) -> tuple[str, ...]:
    """Find the subjectAltName extension in the Extensions and give its DNS names."""
    _, offset, last = _element(data, start)
    for _ in range(64):
        if offset >= min(last, end):
            break
        _, entry, offset = _element(data, offset)
        _, type_start, type_end = _element(data, entry)
        if data[type_start:type_end] != _ALT_NAMES:
            continue
        tag, value_start, value_end = _element(data, type_end)
        if tag == 1:
            tag, value_start, value_end = _element(data, value_end)
        _, name, names_end = _element(data, value_start)
        names: list[str] = []
        while name < names_end and len(names) < MAX_NAMES:
            kind, name_start, name = _element(data, name)
            if kind == 0x82:
                names.append(clean_text(data[name_start:name]).lower())
        return tuple(names)
    return ()


def read_certificate(data: bytes) -> CertificateNames | None:
    """Read the names of one DER certificate; None if it cannot be walked."""
    try:
        _, start, _ = _element(data, 0)
        _, offset, end = _element(data, start)
        if data[offset] == 0xA0:
            _, _, offset = _element(data, offset)
        for _ in range(2):
            _, _, offset = _element(data, offset)
        _, issuer_start, issuer_end = _element(data, offset)
        _, _, offset = _element(data, issuer_end)
        _, subject_start, subject_end = _element(data, offset)
        issuer = _read_name(data, issuer_start, issuer_end)
        subject = _read_name(data, subject_start, subject_end)
        _, _, offset = _element(data, subject_end)
        names: tuple[str, ...] = ()
        for _ in range(3):
            if offset >= end:
                break
            tag, inner, offset = _element(data, offset)
            if tag == 0xA3:
                names = _read_alt_names(data, inner, offset)
    except (Unreadable, IndexError):
        return None
    return CertificateNames(
        subject=subject.get(_COMMON_NAME, ""),
        organisation=subject.get(_ORGANISATION, ""),
        issuer=issuer.get(_COMMON_NAME, "") or issuer.get(_ORGANISATION, ""),
        dns_names=names,
        self_issued=data[subject_start:subject_end] == data[issuer_start:issuer_end],
    )
