"""The base of decoded messages, and the fence around decoders: any bytes in, a message or Malformed out."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar

import msgspec

from thingward.model.record import Malformed, Secret

SAMPLE_BYTES = 32
TEXT_LIMIT = 256


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What one decoder understood.

    Attributes:
        protocol: class attribute, the protocol's short name (`dns`, `tls` ...).
        from_initiator: stream messages: the side that opened the connection sent it; datagrams: always true.
        problem: what of the same bytes could not be understood, if anything.
    """

    protocol: ClassVar[str] = ""
    from_initiator: bool = True
    problem: Malformed | None = None


class Credential(Message, frozen=True, kw_only=True):
    """A log-in in clear text, as one protocol's decoder saw it.

    Attributes:
        scheme: `telnet`, `ftp`, `http-basic`, `http-form`, `mqtt`, `pop3`, `imap`, `smtp`, `snmp`, `rtsp`.
        user: as sent, at most 256 characters.
        password: None if none was sent; an empty one is a Secret of an empty string.
        outcome: `success`, `failure` or `unknown`, from the answer.
    """

    protocol: ClassVar[str] = "credential"
    scheme: str
    user: str = ""
    password: Secret | None = None
    outcome: str = "unknown"


class Unreadable(Exception):
    """Raised inside a decoder, turned into Malformed at its fence."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class StreamDecoder(Protocol):
    """A machine over the first bytes of a connection, both directions, in order, without holes."""

    protocol: ClassVar[str]

    @property
    def done(self) -> bool:
        """Whether further bytes cannot matter; the caller may stop feeding."""
        ...

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction; never raises, whatever they are."""
        ...

    def finish(self) -> list[Message | Malformed]:
        """Say that no more bytes come: gives what was waiting for an answer. Safe to call twice."""
        ...


_M = TypeVar("_M")


def malformed(protocol: str, reason: str, data: bytes, offset: int = 0) -> Malformed:
    """Build the record for bytes that could not be read, with a short sample from the offset on."""
    offset = max(0, min(offset, len(data)))
    sample = data[offset : offset + SAMPLE_BYTES] or data[:SAMPLE_BYTES]
    return Malformed(reason=f"{protocol}: {reason}", offset=offset, sample=sample, protocol=protocol)


def fenced(protocol: str) -> Callable[[Callable[[bytes], _M]], Callable[[bytes | memoryview], _M | Malformed]]:
    """Make a decoder total: `Unreadable`, an index or struct error inside becomes Malformed."""

    def wrap(function: Callable[[bytes], _M]) -> Callable[[bytes | memoryview], _M | Malformed]:
        @functools.wraps(function)
        def decode(payload: bytes | memoryview) -> _M | Malformed:
            data = payload if isinstance(payload, bytes) else bytes(payload)
            try:
                return function(data)
            except Unreadable as error:
                return malformed(protocol, error.reason, data, error.offset)
            except (IndexError, struct.error):
                return malformed(protocol, "truncated", data, 0)

        return decode

    return wrap


def clean_text(data: bytes, limit: int = TEXT_LIMIT) -> str:
    """Turn bytes from the wire into text that is safe to show: UTF-8, unprintable characters as U+FFFD, cut."""
    text = data[: limit * 4].decode("utf-8", "replace")[:limit]
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def take(data: bytes, offset: int, length: int) -> bytes:
    """Give exactly `length` bytes from `offset`; raises Unreadable where they are not all there."""
    part = data[offset : offset + length]
    if len(part) != length:
        raise Unreadable("truncated", offset)
    return part
