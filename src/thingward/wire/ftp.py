"""FTP control connections (RFC 959): greeting and log-ins."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.lines import LoginDecoder
from thingward.wire.message import clean_text


class FtpDecoder(LoginDecoder):
    """Reads USER and PASS and the server's verdict; stops at AUTH TLS."""

    protocol: ClassVar[str] = "ftp"

    def _client_line(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if verb == b"USER":
            self._user = clean_text(rest.strip())
        elif verb == b"PASS":
            self._offer(self._user, rest.decode("utf-8", "replace"))

    def _server_line(self, line: bytes) -> None:
        code = line[:3]
        if code == b"220":
            self._greet(line[4:])
        elif code == b"230":
            self._verdict("success")
            self._over = True
        elif code in (b"530", b"430", b"332", b"421"):
            self._verdict("failure")
        elif code == b"234":
            self._encrypt()

    def _verdict(self, outcome: str) -> None:
        """Settle an attempt; a server may also decide on the user's name alone."""
        if self._pending is None and self._user:
            self._offer(self._user, None)
        self._settle(outcome)
        self._user = ""
