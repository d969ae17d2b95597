"""DNS messages (RFC 1035, 2782, 9460): names, questions and records, over UDP and TCP; also what LLMNR and mDNS carry."""

from __future__ import annotations

import struct
from typing import ClassVar

import msgspec

from thingward.model.record import Malformed
from thingward.wire.address import ipv4_text, ipv6_text
from thingward.wire.message import Message, Unreadable, clean_text, fenced, malformed, take

MAX_RECORDS = 256
MAX_QUESTIONS = 32
MAX_NAME_BYTES = 255
MAX_TEXTS = 64

_TYPE_NAMES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    10: "NULL",
    12: "PTR",
    13: "HINFO",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    32: "NB",
    33: "SRV",
    35: "NAPTR",
    39: "DNAME",
    41: "OPT",
    43: "DS",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    50: "NSEC3",
    64: "SVCB",
    65: "HTTPS",
    252: "AXFR",
    255: "ANY",
    257: "CAA",
}
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_NAME_TYPES = frozenset({2, 5, 12, 39})


class DnsQuestion(msgspec.Struct, frozen=True):
    """One question; `unicast` is mDNS's wish for an answer to the asker alone."""

    name: str
    rrtype: str
    unicast: bool = False


class DnsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One resource record.

    Attributes:
        value: presentation form; for SVCB and HTTPS `priority target`, for SRV `priority weight port target`.
        target: the name that CNAME, PTR, NS, SRV, SVCB and HTTPS point at.
        port: SRV's port. texts: TXT's strings. hints: addresses that SVCB and HTTPS carry. alpn: theirs.
    """

    name: str
    rrtype: str
    ttl_s: int = 0
    value: str = ""
    target: str = ""
    port: int = 0
    texts: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()


class DnsMessage(Message, frozen=True, kw_only=True):
    """One DNS message.

    Attributes:
        transport: `dns`, `mdns` or `llmnr`; the port decides.
        authorities, additionals: as sent; OPT pseudo records are left out.
        truncated: the sender says that its answer did not fit (TC).
    """

    protocol: ClassVar[str] = "dns"
    transport: str = "dns"
    ident: int = 0
    is_response: bool = False
    opcode: int = 0
    rcode: int = 0
    truncated: bool = False
    questions: tuple[DnsQuestion, ...] = ()
    answers: tuple[DnsRecord, ...] = ()
    authorities: tuple[DnsRecord, ...] = ()
    additionals: tuple[DnsRecord, ...] = ()


def _type_name(number: int) -> str:
    """Give a record type's mnemonic, or `TYPE` and its number (RFC 3597)."""
    return _TYPE_NAMES.get(number) or f"TYPE{number}"


def read_name(data: bytes, offset: int) -> tuple[str, int]:
    """Read a possibly compressed name; gives it without the final dot, and the offset after it.

    Pointers must point before the run of labels that they end, so the walk always comes to an end. A dot inside a
    label (as service instances have) is written as a backslash and a dot.
    """
    labels: list[bytes] = []
    after = -1
    start = offset
    total = 0
    while length := data[offset]:
        if length < 64:
            offset += 1
            label = data[offset : offset + length]
            offset += length
            total += length + 1
            if total > MAX_NAME_BYTES or len(label) != length:
                raise Unreadable("name too long" if total > MAX_NAME_BYTES else "truncated", start)
            labels.append(label)
        elif length >= 192:
            target = ((length & 63) << 8) | data[offset + 1]
            if after < 0:
                after = offset + 2
            if target >= start:
                raise Unreadable("name loops", offset)
            start = offset = target
        else:
            raise Unreadable("unknown label type", offset)
    return _join_labels(labels), offset + 1 if after < 0 else after


def _join_labels(labels: list[bytes]) -> str:
    joined = b".".join(labels)
    if joined.count(b".") >= len(labels) > 0:
        joined = b".".join(label.replace(b".", b"\\.") for label in labels)
    return clean_text(joined, 512)


def _read_record(data: bytes, offset: int) -> tuple[DnsRecord | None, int]:
    name, offset = read_name(data, offset)
    kind, _class, ttl_s, length = _RECORD.unpack_from(data, offset)
    offset += 10
    end = offset + length
    if end > len(data):
        raise Unreadable("record truncated", offset)
    if kind == 41:
        return None, end
    rrtype = _type_name(kind)
    if kind == 1 and length == 4:
        value = f"{data[offset]}.{data[offset + 1]}.{data[offset + 2]}.{data[offset + 3]}"
        return DnsRecord(name=name, rrtype=rrtype, ttl_s=ttl_s, value=value), end
    if kind == 28 and length == 16:
        return DnsRecord(name=name, rrtype=rrtype, ttl_s=ttl_s, value=ipv6_text(data[offset:end])), end
    if kind in _NAME_TYPES:
        target, _ = read_name(data, offset)
        return DnsRecord(name=name, rrtype=rrtype, ttl_s=ttl_s, value=target, target=target), end
    return _read_rich_record(data, offset, end, kind, DnsRecord(name=name, rrtype=rrtype, ttl_s=ttl_s)), end


def _read_rich_record(data: bytes, offset: int, end: int, kind: int, base: DnsRecord) -> DnsRecord:
    """Read the record types whose data is more than one address or name."""
    replace = msgspec.structs.replace
    if kind == 16:
        texts = _read_texts(data[offset:end])
        return replace(base, value=" ".join(texts)[:512], texts=texts)
    if kind == 33:
        priority, weight, port = struct.unpack_from("!HHH", data, offset)
        target, _ = read_name(data, offset + 6)
        return replace(base, value=f"{priority} {weight} {port} {target}", target=target, port=port)
    if kind in (64, 65):
        return _read_service_binding(data, offset, end, base)
    if kind == 15:
        target, _ = read_name(data, offset + 2)
        return replace(base, value=f"{int.from_bytes(data[offset : offset + 2], 'big')} {target}", target=target)
    if kind == 13:
        texts = _read_texts(data[offset:end])
        return replace(base, value=" ".join(texts)[:512], texts=texts)
    return replace(base, value=data[offset : min(end, offset + 32)].hex())


def _read_texts(data: bytes) -> tuple[str, ...]:
    """Split character strings; one that overruns its record is cut there."""
    texts: list[str] = []
    offset = 0
    while offset < len(data) and len(texts) < MAX_TEXTS:
        length = data[offset]
        if length:
            texts.append(clean_text(data[offset + 1 : offset + 1 + length]))
        offset += 1 + length
    return tuple(texts)


def _read_service_binding(data: bytes, offset: int, end: int, base: DnsRecord) -> DnsRecord:
    """Read SVCB and HTTPS data (RFC 9460, 2.2): priority, target, then parameters by key."""
    priority = int.from_bytes(take(data, offset, 2), "big")
    target, offset = read_name(data, offset + 2)
    hints: list[str] = []
    alpn: tuple[str, ...] = ()
    while offset + 4 <= end:
        key, length = struct.unpack_from("!HH", data, offset)
        value = data[offset + 4 : min(offset + 4 + length, end)]
        offset += 4 + length
        if key == 1:
            alpn = _read_texts(value)[:8]
        elif key == 4:
            hints += [ipv4_text(value[at : at + 4]) for at in range(0, min(len(value) - 3, 64), 4)]
        elif key == 6:
            hints += [ipv6_text(value[at : at + 16]) for at in range(0, min(len(value) - 15, 256), 16)]
    value_text = f"{priority} {target or '.'}"
    return msgspec.structs.replace(base, value=value_text, target=target, hints=tuple(hints), alpn=alpn)


def decode_dns_as(data: bytes, transport: str) -> DnsMessage:
    """Decode inside another decoder's fence: raises Unreadable, IndexError or struct.error.

    A message whose records end too early is given as far as it was read, with `problem` set.
    """
    ident, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if questions + answers + authorities + additionals > 4096:
        raise Unreadable("absurd record count", 4)
    offset = 12
    asked: list[DnsQuestion] = []
    for _ in range(min(questions, MAX_QUESTIONS)):
        name, offset = read_name(data, offset)
        kind, klass = struct.unpack_from("!HH", data, offset)
        offset += 4
        asked.append(DnsQuestion(name, _type_name(kind), klass > 0x7FFF))
    sections: tuple[list[DnsRecord], ...] = ([], [], [])
    problem = None
    if questions <= MAX_QUESTIONS and answers + authorities + additionals:
        problem = _read_sections(data, offset, (answers, authorities, additionals), sections)
    return DnsMessage(
        transport=transport,
        ident=ident,
        is_response=flags > 0x7FFF,
        opcode=(flags >> 11) & 15,
        rcode=flags & 15,
        truncated=flags & 0x0200 != 0,
        questions=tuple(asked),
        answers=tuple(sections[0]),
        authorities=tuple(sections[1]),
        additionals=tuple(sections[2]),
        problem=problem,
    )


def _read_sections(
    data: bytes, offset: int, counts: tuple[int, int, int], sections: tuple[list[DnsRecord], ...]
) -> Malformed | None:
    left = MAX_RECORDS
    try:
        for count, records in zip(counts, sections, strict=True):
            for _ in range(min(count, left)):
                left -= 1
                record, offset = _read_record(data, offset)
                if record is not None:
                    records.append(record)
    except Unreadable as error:
        return malformed("dns", error.reason, data, error.offset)
    except (IndexError, struct.error):
        return malformed("dns", "record truncated", data, offset)
    return None


@fenced("dns")
def decode_dns(data: bytes) -> DnsMessage:
    """Decode a datagram of port 53."""
    return decode_dns_as(data, "dns")


@fenced("mdns")
def decode_mdns(data: bytes) -> DnsMessage:
    """Decode a datagram of port 5353 (RFC 6762)."""
    return decode_dns_as(data, "mdns")


@fenced("llmnr")
def decode_llmnr(data: bytes) -> DnsMessage:
    """Decode a datagram of port 5355 (RFC 4795)."""
    return decode_dns_as(data, "llmnr")


class DnsStreamDecoder:
    """DNS over TCP (RFC 7766): messages behind two-byte lengths, both directions."""

    protocol: ClassVar[str] = "dns"

    def __init__(self) -> None:
        self._buffers = {True: bytearray(), False: bytearray()}
        self._left = 64

    @property
    def done(self) -> bool:
        """Enough messages were read, or one direction is no DNS."""
        return self._left <= 0

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction."""
        buffer = self._buffers[from_initiator]
        buffer += data[:131072]
        found: list[Message | Malformed] = []
        while self._left > 0 and len(buffer) >= 2:
            length = buffer[0] << 8 | buffer[1]
            if len(buffer) < 2 + length:
                break
            message = decode_dns(bytes(buffer[2 : 2 + length]))
            del buffer[: 2 + length]
            self._left -= 1
            found.append(message)
            if isinstance(message, Malformed):
                self._left = 0
            elif not from_initiator:
                found[-1] = msgspec.structs.replace(message, from_initiator=False)
        if self._left <= 0:
            buffer.clear()
        return found

    def finish(self) -> list[Message | Malformed]:
        """Nothing waits for an answer here."""
        return []


def is_dns(data: bytes) -> bool:
    """Tell a DNS datagram on a foreign port: one question, a plain header, and all of it must read well."""
    if len(data) < 17 or data[4:6] != b"\0\1" or data[2] & 0x78 or data[3] & 0x40 or data[6] or data[8] or data[10]:
        return False
    message = decode_dns(data)
    return isinstance(message, DnsMessage) and message.problem is None and "\ufffd" not in message.questions[0].name
