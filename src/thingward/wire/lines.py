"""Line-based log-in dialogues: what FTP, POP3, IMAP and SMTP have in common."""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar

import msgspec

from thingward.model.record import Malformed, Secret
from thingward.wire.message import Credential, Message, StreamDecoder, clean_text
from thingward.wire.tls import TlsDecoder

MAX_LINE_BYTES = 2048
MAX_SEEN_BYTES = 65536
MAX_LOGINS = 64


class ServiceBanner(Message, frozen=True, kw_only=True):
    """How a server greets, or a client names itself.

    Attributes:
        scheme: `ftp`, `smtp`, `pop3`, `imap`, `ssh`.
        role: `server` or `client`; the endpoint that sent it.
    """

    protocol: ClassVar[str] = "banner"
    scheme: str
    text: str
    role: str = "server"


class LineBuffer:
    """Splits one direction into lines; what is longer than MAX_LINE_BYTES is cut, the rest of it passed over."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._cutting = False
        self.seen = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Give the lines that are complete now, without their ends."""
        self.seen += len(data)
        parts = data.split(b"\n")
        if len(parts) == 1:
            self._keep(data)
            return []
        lines: list[bytes] = []
        for part in parts[:-1]:
            self._keep(part)
            lines.append(bytes(self._rest).rstrip(b"\r"))
            self._rest.clear()
            self._cutting = False
        self._keep(parts[-1])
        return lines

    def _keep(self, part: bytes) -> None:
        if self._cutting:
            return
        self._rest += part[: MAX_LINE_BYTES - len(self._rest)]
        self._cutting = len(self._rest) >= MAX_LINE_BYTES


class LoginDecoder:
    """Base of the four machines: a pending credential is settled by the server's next verdict.

    Subclasses read lines in `_client_line` and `_server_line`, call `_offer` when a password was sent and `_settle`
    when the server answered it, set `_over` once nothing more can be learnt, and call `_encrypt` where TLS begins.
    """

    protocol: ClassVar[str] = ""

    def __init__(self) -> None:
        self._lines = {True: LineBuffer(), False: LineBuffer()}
        self._user = ""
        self._pending: Credential | None = None
        self._found: list[Message | Malformed] = []
        self._logins = 0
        self._over = False
        self._greeted = False
        self._inner: StreamDecoder | None = None

    @property
    def done(self) -> bool:
        """Logged in, encrypted from here on and the hellos seen, or a bound was reached."""
        return self._over if self._inner is None else self._inner.done

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction; the initiator is the client."""
        if self._inner is not None:
            return self._inner.feed(from_initiator, data)
        if self._over:
            return []
        buffer = self._lines[from_initiator]
        for line in buffer.feed(data):
            if self.done:
                break
            if from_initiator:
                self._client_line(line)
            else:
                self._server_line(line)
        if buffer.seen > MAX_SEEN_BYTES or self._logins >= MAX_LOGINS:
            self._over = True
        found, self._found = self._found, []
        return found

    def finish(self) -> list[Message | Malformed]:
        """Give a credential that was never answered."""
        self._settle("unknown")
        found, self._found = self._found, []
        return found + (self._inner.finish() if self._inner is not None else [])

    def _encrypt(self) -> None:
        """The server agreed to TLS: from here on only the hellos can be read."""
        self._inner = TlsDecoder()

    def _client_line(self, line: bytes) -> None:
        raise NotImplementedError

    def _server_line(self, line: bytes) -> None:
        raise NotImplementedError

    def _greet(self, text: bytes) -> None:
        if not self._greeted and text:
            self._greeted = True
            self._found.append(ServiceBanner(scheme=self.protocol, text=clean_text(text), from_initiator=False))

    def _offer(self, user: str, password: str | None) -> None:
        self._settle("unknown")
        self._logins += 1
        self._pending = Credential(
            scheme=self.protocol, user=user, password=None if password is None else Secret(password)
        )

    def _offer_plain(self, token: bytes) -> None:
        """Take a SASL PLAIN answer (RFC 4616): authorisation, user and password between NULs."""
        parts = unbase64(token).split(b"\0")
        if len(parts) == 3:
            self._offer(clean_text(parts[1]), parts[2].decode("utf-8", "replace"))

    def _settle(self, outcome: str) -> None:
        if self._pending is not None:
            self._found.append(msgspec.structs.replace(self._pending, outcome=outcome))
            self._pending = None


def unbase64(token: bytes) -> bytes:
    """Undo base64; empty where it is none."""
    try:
        return base64.b64decode(token[:MAX_LINE_BYTES].strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
