"""Syslog over TCP as messages: octet counting and newlines (RFC 6587), told apart message by message."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 65536
_MAX_DIGITS: Final = 5


class SyslogFramer:
    """Cuts a stream of bytes into messages.

    Attributes:
        dropped: messages that were too long; the framer goes on behind the next newline.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._buffer = bytearray()
        self._is_skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; gives the messages that are whole."""
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            if message:
                messages.append(message)
        return messages

    def finish(self) -> list[bytes]:
        """Give what is left when the sender closed without a last newline."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return [rest] if rest.strip() and not self._is_skipping and rest[:1] == b"<" else []

    def _next(self) -> bytes | None:
        """Give one message, empty for none yet worth giving, None if more bytes are needed."""
        counted = None if self._is_skipping else self._counted()
        if counted is not None:
            start, length = counted
            if len(self._buffer) < start + length:
                return None
            message = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            return message.rstrip(b"\r\n\0")
        if not self._is_skipping and self._may_be_count():
            return None
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                self.dropped += not self._is_skipping
                self._is_skipping = True
                self._buffer.clear()
            return None
        message = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if self._is_skipping:
            self._is_skipping = False
            return b""
        if len(message) > MAX_MESSAGE_BYTES:
            self.dropped += 1
            return b""
        return message.rstrip(b"\r\0")

    def _counted(self) -> tuple[int, int] | None:
        """Read `<digits> <`: where the message begins and how long it is."""
        head = bytes(self._buffer[: _MAX_DIGITS + 2])
        digits, space, rest = head.partition(b" ")
        if not space or not digits.isdigit() or digits[:1] == b"0" or len(digits) > _MAX_DIGITS:
            return None
        length = int(digits)
        if length > MAX_MESSAGE_BYTES or (rest and rest[:1] != b"<"):
            return None
        return len(digits) + 1, length

    def _may_be_count(self) -> bool:
        head = bytes(self._buffer[: _MAX_DIGITS + 1])
        return bool(head) and len(head) <= _MAX_DIGITS and head.isdigit() and head[:1] != b"0"
