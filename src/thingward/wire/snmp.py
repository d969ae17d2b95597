"""SNMP (RFC 1901, 3416, 3412): version, community, and the system group's answers."""

from __future__ import annotations

from typing import ClassVar

from thingward.model.record import Secret
from thingward.wire.message import Message, Unreadable, clean_text, fenced

MAX_BINDINGS = 64
_PDUS = {
    0xA0: "get",
    0xA1: "get-next",
    0xA2: "response",
    0xA3: "set",
    0xA4: "trap",
    0xA5: "get-bulk",
    0xA6: "inform",
    0xA7: "trap",
    0xA8: "report",
}
_SYSTEM = {"1.3.6.1.2.1.1.1.0": "descr", "1.3.6.1.2.1.1.2.0": "object_id", "1.3.6.1.2.1.1.5.0": "name"}


class SnmpMessage(Message, frozen=True, kw_only=True):
    """One SNMP message.

    Attributes:
        version: 1, 2 (community based) or 3.
        community: the shared secret of versions 1 and 2; None in version 3.
        user: version 3's user name where it can be read.
        system: (name, value) of sysDescr, sysObjectID and sysName in a response: `descr`, `object_id`, `name`.
    """

    protocol: ClassVar[str] = "snmp"
    version: int
    pdu: str = ""
    community: Secret | None = None
    user: str = ""
    system: tuple[tuple[str, str], ...] = ()


def read_element(data: bytes, offset: int) -> tuple[int, bytes, int]:
    """Read one BER element with a short tag: gives its tag, content and the offset after it."""
    tag, length = data[offset], data[offset + 1]
    offset += 2
    if length == 0x80:
        raise Unreadable("indefinite length", offset - 1)
    if length > 0x80:
        count = length & 0x7F
        if count > 4:
            raise Unreadable("absurd length", offset - 1)
        length = int.from_bytes(data[offset : offset + count], "big")
        offset += count
    value = data[offset : offset + length]
    if len(value) != length:
        raise Unreadable("truncated", offset)
    return tag, value, offset + length


def object_id_text(data: bytes) -> str:
    """Give an OBJECT IDENTIFIER's content as dotted numbers, at most 64 of them."""
    if not data:
        return ""
    parts: list[int] = []
    value = 0
    for byte in data[:256]:
        value = (value << 7 | byte & 0x7F) & 0xFFFFFFFFFF
        if byte < 0x80:
            parts.append(value)
            value = 0
    if not parts:
        return ""
    first = min(parts[0] // 40, 2)
    return ".".join(map(str, [first, parts[0] - 40 * first, *parts[1:64]]))


def _read_bindings(data: bytes) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    offset = 0
    for _ in range(MAX_BINDINGS):
        if offset >= len(data):
            break
        _, pair, offset = read_element(data, offset)
        _, name, after = read_element(pair, 0)
        tag, value, _ = read_element(pair, after)
        known = _SYSTEM.get(object_id_text(name))
        if known and tag == 4:
            found.append((known, clean_text(value)))
        elif known and tag == 6:
            found.append((known, object_id_text(value)))
    return tuple(found)


def _read_user(data: bytes) -> str:
    """Find the user name in version 3's security parameters (RFC 3414, 2.4); empty if the model is another."""
    try:
        tag, inner, _ = read_element(data, 0)
        offset = 0
        for _ in range(3):
            _, _, offset = read_element(inner, offset)
        kind, user, _ = read_element(inner, offset)
    except (Unreadable, IndexError):
        return ""
    return clean_text(user) if tag == 0x30 and kind == 4 else ""


@fenced("snmp")
def decode_snmp(data: bytes) -> SnmpMessage:
    """Decode a datagram of ports 161 and 162."""
    if data[0] != 0x30:
        raise Unreadable("not a sequence", 0)
    _, body, _ = read_element(data, 0)
    tag, version_bytes, offset = read_element(body, 0)
    version = int.from_bytes(version_bytes[:4], "big")
    if tag != 2 or version not in (0, 1, 3):
        raise Unreadable("unknown version", 2)
    tag, value, offset = read_element(body, offset)
    if version == 3:
        tag, parameters, _ = read_element(body, offset)
        return SnmpMessage(version=3, user=_read_user(parameters) if tag == 4 else "")
    if tag != 4:
        raise Unreadable("no community", 2)
    community = Secret(value[:256].decode("utf-8", "replace"))
    kind, pdu, _ = read_element(body, offset)
    name = _PDUS.get(kind)
    if name is None:
        raise Unreadable("unknown PDU", offset)
    system: tuple[tuple[str, str], ...] = ()
    if name == "response":
        after = 0
        for _ in range(3):
            _, _, after = read_element(pdu, after)
        _, bindings, _ = read_element(pdu, after)
        system = _read_bindings(bindings)
    return SnmpMessage(version=version + 1, pdu=name, community=community, system=system)
