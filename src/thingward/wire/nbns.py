"""NetBIOS name service (RFC 1001, 1002): the names that hosts register and ask for."""

from __future__ import annotations

import struct
from typing import ClassVar

from thingward.wire.address import ipv4_text
from thingward.wire.dns import read_name
from thingward.wire.message import Message, Unreadable, clean_text, fenced

_OPERATIONS = {0: "query", 5: "registration", 6: "release", 7: "wait", 8: "refresh", 9: "refresh"}


class NbnsMessage(Message, frozen=True, kw_only=True):
    """One name service packet.

    Attributes:
        operation: `query`, `registration`, `refresh`, `release`, `wait`.
        suffix: last byte of the name: 0x00 workstation, 0x20 file server, 0x1b-0x1e browsers and groups.
        addresses: addresses in the record. is_group: the record's name belongs to a group.
        names: (name, suffix, is_group) of a node status answer.
    """

    protocol: ClassVar[str] = "nbns"
    operation: str
    is_response: bool
    name: str = ""
    suffix: int = 0
    rcode: int = 0
    addresses: tuple[str, ...] = ()
    is_group: bool = False
    names: tuple[tuple[str, int, bool], ...] = ()


def _unmangle(label: str) -> tuple[str, int]:
    """Undo the first-level encoding (RFC 1001, 14.1): two letters A-P for each of sixteen bytes."""
    if len(label) != 32 or not all("A" <= letter <= "P" for letter in label):
        return label, 0
    data = bytes((ord(label[at]) - 65) << 4 | ord(label[at + 1]) - 65 for at in range(0, 32, 2))
    return _plain(data[:15]), data[15]


def _plain(data: bytes) -> str:
    return clean_text(data.rstrip(b" \0"))


@fenced("nbns")
def decode_nbns(data: bytes) -> NbnsMessage:
    """Decode a datagram of port 137."""
    _ident, flags, questions, answers, _authorities, additionals = struct.unpack_from("!HHHHHH", data)
    operation = _OPERATIONS.get((flags >> 11) & 15)
    if operation is None or questions > 1 or answers > 32 or additionals > 32:
        raise Unreadable("unknown operation or counts", 2)
    label, offset = read_name(data, 12)
    name, suffix = _unmangle(label.split(".")[0])
    addresses: tuple[str, ...] = ()
    names: tuple[tuple[str, int, bool], ...] = ()
    group = False
    if questions:
        offset += 4
        if additionals:
            _, offset = read_name(data, offset)
    if answers or additionals:
        if not questions:
            kind = int.from_bytes(data[offset : offset + 2], "big")
        else:
            kind = 0x20
        length = int.from_bytes(data[offset + 8 : offset + 10], "big")
        body = data[offset + 10 : offset + 10 + length]
        if kind == 0x21:
            names = _read_status(body)
        else:
            group = bool(body and body[0] & 0x80)
            addresses = tuple(ipv4_text(body[at + 2 : at + 6]) for at in range(0, min(len(body) - 5, 48), 6))
    return NbnsMessage(
        operation=operation,
        is_response=flags > 0x7FFF,
        name=name,
        suffix=suffix,
        rcode=flags & 15,
        addresses=addresses,
        is_group=group,
        names=names,
    )


def _read_status(body: bytes) -> tuple[tuple[str, int, bool], ...]:
    """Read a node status answer: a count, then 18 bytes for each name (RFC 1002, 4.2.18)."""
    count = min(body[0], 16) if body else 0
    rows = []
    for index in range(count):
        row = body[1 + 18 * index : 19 + 18 * index]
        if len(row) == 18:
            rows.append((_plain(row[:15]), row[15], row[16] & 0x80 != 0))
    return tuple(rows)
