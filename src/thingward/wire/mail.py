"""Mail log-ins in the clear: POP3 (RFC 1939, 5034), IMAP (RFC 9051), SMTP (RFC 5321, 4954)."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.lines import LoginDecoder, ServiceBanner, unbase64
from thingward.wire.message import clean_text


class PopDecoder(LoginDecoder):
    """Reads USER and PASS, AUTH PLAIN, and APOP (which shows the user only)."""

    protocol: ClassVar[str] = "pop3"

    def __init__(self) -> None:
        super().__init__()
        self._plain = False
        self._encrypting = False

    def _client_line(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if self._plain:
            self._plain = False
            self._offer_plain(line)
        elif verb == b"USER":
            self._user = clean_text(rest.strip())
        elif verb == b"PASS":
            self._offer(self._user, rest.decode("utf-8", "replace"))
        elif verb == b"APOP":
            self._offer(clean_text(rest.partition(b" ")[0]), None)
        elif verb == b"AUTH" and rest.upper().startswith(b"PLAIN"):
            self._plain = len(rest) <= 6
            if not self._plain:
                self._offer_plain(rest[6:])
        elif verb == b"STLS":
            self._encrypting = True

    def _server_line(self, line: bytes) -> None:
        if line.startswith(b"+OK"):
            if self._encrypting:
                self._encrypt()
            elif self._pending is not None:
                self._settle("success")
                self._over = True
            self._greet(line[4:])
        elif line.startswith(b"-ERR"):
            self._encrypting = False
            self._settle("failure")


class ImapDecoder(LoginDecoder):
    """Reads LOGIN and AUTHENTICATE PLAIN; the answer carries the command's tag."""

    protocol: ClassVar[str] = "imap"

    def __init__(self) -> None:
        super().__init__()
        self._tag = b""
        self._plain = False
        self._encrypting = False

    def _client_line(self, line: bytes) -> None:
        if self._plain:
            self._plain = False
            self._offer_plain(line)
            return
        tag, _, rest = line.partition(b" ")
        verb, _, arguments = rest.partition(b" ")
        verb = verb.upper()
        if verb == b"LOGIN":
            words = split_quoted(arguments)
            if len(words) >= 2:
                self._tag = tag
                self._offer(clean_text(words[0]), words[1].decode("utf-8", "replace"))
        elif verb == b"AUTHENTICATE" and arguments.upper().startswith(b"PLAIN"):
            self._tag = tag
            self._plain = len(arguments) <= 6
            if not self._plain:
                self._offer_plain(arguments[6:])
        elif verb == b"STARTTLS":
            self._tag = tag
            self._encrypting = True

    def _server_line(self, line: bytes) -> None:
        tag, _, rest = line.partition(b" ")
        if tag == b"*" and rest[:3].upper() == b"OK ":
            self._greet(rest[3:])
        elif tag and tag == self._tag:
            good = rest[:2].upper() == b"OK"
            self._settle("success" if good else "failure")
            if good and self._encrypting:
                self._encrypt()
            self._over = good
            self._encrypting = False


class SmtpDecoder(LoginDecoder):
    """Reads AUTH PLAIN and AUTH LOGIN, the greeting, and the name that the client gives itself."""

    protocol: ClassVar[str] = "smtp"

    def __init__(self) -> None:
        super().__init__()
        self._mode = ""
        self._encrypting = False

    def _client_line(self, line: bytes) -> None:
        if self._mode:
            self._continue(line)
            return
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if verb in (b"EHLO", b"HELO") and rest:
            text = clean_text(rest.strip())
            self._found.append(ServiceBanner(scheme="smtp", text=text, role="client"))
        elif verb == b"AUTH":
            mechanism, _, initial = rest.strip().partition(b" ")
            self._begin(mechanism.upper(), initial)
        elif verb == b"STARTTLS":
            self._encrypting = True
        elif verb == b"DATA":
            self._over = True

    def _begin(self, mechanism: bytes, initial: bytes) -> None:
        if mechanism == b"PLAIN" and initial:
            self._offer_plain(initial)
        elif mechanism == b"PLAIN":
            self._mode = "plain"
        elif mechanism == b"LOGIN" and initial:
            self._user, self._mode = clean_text(unbase64(initial)), "password"
        elif mechanism == b"LOGIN":
            self._mode = "user"

    def _continue(self, line: bytes) -> None:
        mode, self._mode = self._mode, ""
        if mode == "plain":
            self._offer_plain(line)
        elif mode == "user":
            self._user, self._mode = clean_text(unbase64(line)), "password"
        else:
            self._offer(self._user, unbase64(line).decode("utf-8", "replace"))

    def _server_line(self, line: bytes) -> None:
        code = line[:3]
        if code == b"220" and self._encrypting:
            self._encrypt()
        elif code == b"220":
            self._greet(line[4:])
        elif code == b"235":
            self._settle("success")
            self._over = True
        elif code in (b"535", b"534", b"454"):
            self._mode = ""
            self._settle("failure")
        elif code[:1] in (b"4", b"5"):
            self._mode = ""
            self._encrypting = False


def split_quoted(data: bytes) -> list[bytes]:
    """Split IMAP arguments: atoms and quoted strings, at most four; literals end it."""
    words: list[bytes] = []
    offset = 0
    while offset < len(data) and len(words) < 4:
        if data[offset] == 0x20:
            offset += 1
        elif data[offset] == 0x22:
            word, offset = _quoted(data, offset + 1)
            words.append(word)
        else:
            end = data.find(b" ", offset)
            end = len(data) if end < 0 else end
            words.append(data[offset:end])
            offset = end
    return words


def _quoted(data: bytes, offset: int) -> tuple[bytes, int]:
    word = bytearray()
    while offset < len(data) and data[offset] != 0x22:
        if data[offset] == 0x5C and offset + 1 < len(data):
            offset += 1
        word.append(data[offset])
        offset += 1
    return bytes(word), offset + 1
