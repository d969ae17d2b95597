"""TFTP requests (RFC 1350): which file is read or written, as IoT malware's loaders do."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.message import Message, Unreadable, clean_text, fenced


class TftpMessage(Message, frozen=True, kw_only=True):
    """A read or write request: `read` or `write`, and the file's name."""

    protocol: ClassVar[str] = "tftp"
    operation: str
    file: str


@fenced("tftp")
def decode_tftp(data: bytes) -> TftpMessage:
    """Decode a datagram to port 69."""
    if data[0] or data[1] not in (1, 2):
        raise Unreadable("not a request", 0)
    name, end, rest = data[2:].partition(b"\0")
    mode, second_end, _ = rest.partition(b"\0")
    if not name or not end or not second_end or mode.lower() not in (b"octet", b"netascii", b"mail"):
        raise Unreadable("bad file name or mode", 2)
    return TftpMessage(operation="read" if data[1] == 1 else "write", file=clean_text(name))
