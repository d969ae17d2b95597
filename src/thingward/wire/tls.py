"""TLS hellos in the clear (RFC 8446, 5246, 6066, 7301): names, versions, the JA4 fingerprint, the server's certificate."""

from __future__ import annotations

import hashlib
import struct
from typing import ClassVar

import msgspec

from thingward.model.record import Malformed
from thingward.wire.message import Message, Unreadable, clean_text, malformed
from thingward.wire.x509 import CertificateNames, read_certificate

MAX_BUFFER_BYTES = 32768
MAX_RECORD_BYTES = 16384 + 2048
_VERSIONS = {0x0304: "1.3", 0x0303: "1.2", 0x0302: "1.1", 0x0301: "1.0", 0x0300: "ssl3", 0x0002: "ssl2"}
_JA4_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}
_NOTHING = "000000000000"


class TlsClientHello(Message, frozen=True, kw_only=True):
    """A client's hello.

    Attributes:
        version: highest version offered, as text (`1.3`, `1.2`, `ssl3`).
        ciphers: all offered, GREASE left out, in order. extensions: likewise.
        ja4: fingerprint as FoxIO's public description computes it (JA4, the TLS client part alone).
    """

    protocol: ClassVar[str] = "tls"
    sni: str = ""
    alpn: tuple[str, ...] = ()
    version: str = ""
    ciphers: tuple[int, ...] = ()
    extensions: tuple[int, ...] = ()
    ja4: str = ""


class TlsServerHello(Message, frozen=True, kw_only=True):
    """A server's hello: chosen version and cipher; `certificate` where it is sent in the clear (TLS 1.2 and older)."""

    protocol: ClassVar[str] = "tls"
    from_initiator: bool = False
    version: str = ""
    cipher: int = 0
    certificate: CertificateNames | None = None


def _is_grease(value: int) -> bool:
    """Tell the reserved values of RFC 8701 (0x0a0a, 0x1a1a ...)."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def _shorts(data: bytes) -> tuple[int, ...]:
    count = len(data) // 2
    return struct.unpack(f"!{count}H", data[: 2 * count])


def _counted(data: bytes, offset: int, size: int) -> tuple[bytes, int]:
    """Read a vector with a length field of `size` bytes; gives it and the offset after it."""
    start = offset + size
    if start > len(data):
        raise Unreadable("vector truncated", offset)
    end = start + int.from_bytes(data[offset:start], "big")
    if end > len(data):
        raise Unreadable("vector truncated", offset)
    return data[start:end], end


def _read_extensions(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset + 4 <= len(data) and len(found) < 256:
        code = data[offset] << 8 | data[offset + 1]
        value, offset = _counted(data, offset + 2, 2)
        found.append((code, value))
    return found


def _server_name(value: bytes) -> str:
    """Read the first host name of the SNI extension (RFC 6066, 3)."""
    if len(value) < 5 or value[2] != 0:
        return ""
    length = value[3] << 8 | value[4]
    return clean_text(value[5 : 5 + length]).rstrip(".").lower()


def _protocols(value: bytes) -> tuple[bytes, ...]:
    names: list[bytes] = []
    offset = 2
    while offset < len(value) and len(names) < 16:
        length = value[offset]
        names.append(value[offset + 1 : offset + 1 + length])
        offset += 1 + length
    return tuple(names)


def _alpn_mark(name: bytes) -> str:
    """Give JA4's two characters for the first protocol: first and last, of the hexadecimal form if not alphanumeric."""
    if not name:
        return "00"
    ends = bytes((name[0], name[-1]))
    if ends.isalnum():
        return ends.decode("ascii")
    text = name.hex()
    return text[0] + text[-1]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12] if text else _NOTHING


def compute_ja4(
    transport: str,
    version: int,
    ciphers: tuple[int, ...],
    extensions: tuple[int, ...],
    alpn: bytes,
    signatures: tuple[int, ...],
) -> str:
    """Compute a JA4 fingerprint from a hello's lists, GREASE already left out.

    Args:
        transport: `t` TCP, `q` QUIC, `d` DTLS.
        version: highest offered. alpn: the first protocol, empty if none.
        signatures: signature algorithms in the order sent.
    Source: FoxIO, "JA4: TLS Client Fingerprinting", technical details (BSD 3-Clause).
    """
    first = (
        f"{transport}{_JA4_VERSIONS.get(version, '00')}{'d' if 0 in extensions else 'i'}"
        f"{min(len(ciphers), 99):02d}{min(len(extensions), 99):02d}{_alpn_mark(alpn)}"
    )
    second = _short_hash(",".join(sorted([f"{cipher:04x}" for cipher in ciphers])))
    third = ",".join(sorted([f"{code:04x}" for code in extensions if code not in (0, 16)]))
    if signatures:
        third += "_" + ",".join([f"{value:04x}" for value in signatures])
    return f"{first}_{second}_{_short_hash(third) if extensions else _NOTHING}"


def read_client_hello(body: bytes, transport: str = "t") -> TlsClientHello:
    """Read a ClientHello without its handshake header; raises Unreadable, IndexError or struct.error."""
    legacy = body[0] << 8 | body[1]
    if legacy not in _JA4_VERSIONS:
        raise Unreadable("unknown version", 0)
    _session, offset = _counted(body, 34, 1)
    if transport == "d":
        _cookie, offset = _counted(body, offset, 1)
    cipher_bytes, offset = _counted(body, offset, 2)
    _compressions, offset = _counted(body, offset, 1)
    pairs = _read_extensions(_counted(body, offset, 2)[0]) if offset + 2 <= len(body) else []
    first: dict[int, bytes] = {}
    for code, value in pairs:
        first.setdefault(code, value)
    offered = first.get(43, b"")
    versions = [value for value in _shorts(offered[1:]) if not _is_grease(value)] if offered else []
    version = max(versions, default=legacy)
    ciphers = tuple([value for value in _shorts(cipher_bytes) if not _is_grease(value)])
    extensions = tuple([code for code, _ in pairs if not _is_grease(code)])
    protocols = _protocols(first.get(16, b""))
    signatures = tuple([value for value in _shorts(first.get(13, b"")[2:]) if not _is_grease(value)])
    alpn = protocols[0] if protocols else b""
    return TlsClientHello(
        sni=_server_name(first.get(0, b"")),
        alpn=tuple([clean_text(name, 32) for name in protocols if not (len(name) == 2 and name[0] == name[1])]),
        version=_version_text(version),
        ciphers=ciphers,
        extensions=extensions,
        ja4=compute_ja4(transport, version, ciphers, extensions, alpn, signatures),
    )


def read_server_hello(body: bytes) -> TlsServerHello:
    """Read a ServerHello without its handshake header; raises like `read_client_hello`."""
    version = body[0] << 8 | body[1]
    if version >> 8 == 0x7F:
        return TlsServerHello(version="1.3", cipher=body[34] << 8 | body[35])
    if version not in _JA4_VERSIONS:
        raise Unreadable("unknown version", 0)
    _session, offset = _counted(body, 34, 1)
    cipher = body[offset] << 8 | body[offset + 1]
    offset += 3
    if offset + 2 <= len(body):
        for code, value in _read_extensions(_counted(body, offset, 2)[0]):
            if code == 43 and len(value) == 2:
                version = value[0] << 8 | value[1]
    return TlsServerHello(version=_version_text(version), cipher=cipher)


def is_client_hello(data: bytes) -> bool:
    """Tell by a record header (handshake, version 3.x) and a handshake type, or by the form of SSL 2."""
    return (len(data) >= 6 and data[0] == 22 and data[1] == 3 and data[2] <= 4 and data[5] == 1) or is_old_hello(data)


def is_old_hello(data: bytes) -> bool:
    """Tell a hello in the form of SSL 2 that offers SSL 3 or TLS (RFC 5246, E.2): old devices send it."""
    return len(data) >= 11 and data[0] & 0x80 != 0 and data[2:4] == b"\x01\x03" and data[4] <= 3


def read_old_hello(record: bytes) -> TlsClientHello:
    """Read a hello in the form of SSL 2: it has neither names nor extensions, and no JA4 is defined for it."""
    version = record[3] << 8 | record[4]
    (length,) = struct.unpack_from("!H", record, 5)
    specs = record[11 : 11 + length]
    triples = [specs[at : at + 3] for at in range(0, len(specs) - 2, 3)]
    ciphers = tuple([triple[1] << 8 | triple[2] for triple in triples if triple[0] == 0])
    return TlsClientHello(version=_version_text(version), ciphers=ciphers)


def _version_text(version: int) -> str:
    """Name a version; drafts of TLS 1.3 (0x7f..) count as it."""
    return _VERSIONS.get(version) or ("1.3" if version >> 8 == 0x7F else f"0x{version:04x}")


def is_server_hello(data: bytes) -> bool:
    """Tell likewise for the other direction."""
    return len(data) >= 6 and data[0] == 22 and data[1] == 3 and data[2] <= 4 and data[5] == 2


class _Side:
    """One direction: joins records to handshake messages within a bound."""

    def __init__(self) -> None:
        self.records = bytearray()
        self.handshake = bytearray()
        self.over = False

    def feed(self, data: bytes) -> None:
        """Add stream bytes and move whole (and the start of unfinished) handshake records over."""
        self.records += data[: max(0, MAX_BUFFER_BYTES - len(self.records))]
        records = self.records
        while not self.over and len(records) >= 5:
            length = records[3] << 8 | records[4]
            if records[0] == 21 and length <= 2:
                self.over = True
                return
            if records[0] != 22 or records[1] != 3 or not 0 < length <= MAX_RECORD_BYTES:
                self.over = True
                if records[0] not in (20, 23):
                    raise Unreadable("bad record header", 0)
                return
            if len(records) < 5 + length:
                self.over = len(records) >= MAX_BUFFER_BYTES
                return
            self.handshake += records[5 : 5 + length]
            del records[: 5 + length]
            if len(self.handshake) > MAX_BUFFER_BYTES:
                self.over = True

    def next_message(self) -> tuple[int, bytes] | None:
        """Give the next whole handshake message: its type and body."""
        if len(self.handshake) < 4:
            return None
        length = int.from_bytes(self.handshake[1:4], "big")
        if length > MAX_BUFFER_BYTES:
            self.over = True
            return None
        if len(self.handshake) < 4 + length:
            return None
        kind, body = self.handshake[0], bytes(self.handshake[4 : 4 + length])
        del self.handshake[: 4 + length]
        return kind, body


class TlsDecoder:
    """Reads the client's hello, the server's hello and its certificate, then is done."""

    protocol: ClassVar[str] = "tls"

    def __init__(self) -> None:
        self._sides = {True: _Side(), False: _Side()}
        self._server: TlsServerHello | None = None
        self._failed = False

    @property
    def done(self) -> bool:
        """Both directions were read as far as they are in the clear."""
        return self._failed or (self._sides[True].over and self._sides[False].over)

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction."""
        side = self._sides[from_initiator]
        if side.over or self._failed:
            return []
        found = self._read(side, from_initiator, data)
        if self._server is not None and self._sides[self._server.from_initiator].over:
            found += self.finish()
        return found

    def _read(self, side: _Side, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        found: list[Message | Malformed] = []
        try:
            if not side.records and is_old_hello(data):
                side.over = True
                return [msgspec.structs.replace(read_old_hello(data), from_initiator=from_initiator)]
            side.feed(data)
            while (message := side.next_message()) is not None:
                found += self._handshake(side, message[0], message[1], from_initiator)
        except Unreadable as error:
            found.append(self._give_up(side, error.reason, data))
        except (IndexError, struct.error):
            found.append(self._give_up(side, "truncated", data))
        return found

    def _give_up(self, side: _Side, reason: str, data: bytes) -> Malformed:
        side.over = True
        self._failed = True
        return malformed("tls", reason, data)

    def _handshake(self, side: _Side, kind: int, body: bytes, from_initiator: bool) -> list[Message | Malformed]:
        if kind == 1:
            side.over = True
            hello = read_client_hello(body)
            return [hello if from_initiator else msgspec.structs.replace(hello, from_initiator=False)]
        if kind == 2:
            self._server = msgspec.structs.replace(read_server_hello(body), from_initiator=from_initiator)
            if self._server.version == "1.3":
                side.over = True
            return []
        if kind == 11 and self._server is not None:
            side.over = True
            server, self._server = self._server, None
            names = read_certificate(_first_certificate(body))
            return [msgspec.structs.replace(server, certificate=names)]
        if kind == 14:
            side.over = True
        return []

    def finish(self) -> list[Message | Malformed]:
        """Give the server's hello whose certificate did not come."""
        server, self._server = self._server, None
        return [] if server is None else [server]


def _first_certificate(body: bytes) -> bytes:
    """Give the first (the server's own) certificate of a Certificate message (RFC 5246, 7.4.2)."""
    chain, _ = _counted(body, 0, 3)
    return _counted(chain, 0, 3)[0] if chain else b""
