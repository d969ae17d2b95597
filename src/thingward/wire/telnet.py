"""Telnet (RFC 854): log-in dialogues as people and worms type them, negotiation taken out."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from thingward.model.record import Malformed, Secret
from thingward.wire.message import Credential, Message, clean_text

MAX_SEEN_BYTES = 65536
MAX_LINE_BYTES = 256
MAX_LOGINS = 64
_SCREEN_BYTES = 512

_USER_PROMPTS = (b"login", b"user", b"username", b"user name", b"account", b"log in", b"name", b"userid", b"user id")
_PASSWORD_PROMPTS = (b"password", b"passwd", b"passcode", b"pass", b"pwd", b"kennwort", b"passwort")
_FAILURES = (b"incorrect", b"invalid", b"failed", b"failure", b"denied", b"wrong", b"bad password", b"not correct")
_WELCOMES = (b"last login", b"welcome", b"busybox", b"built-in shell")
_IAC, _SE, _SB = 255, 240, 250


class OptionFilter:
    """Takes telnet commands out of one direction, across any split of the bytes."""

    def __init__(self) -> None:
        self._state = 0

    def feed(self, data: bytes) -> bytes:
        """Give the data bytes alone."""
        if not self._state and _IAC not in data:
            return data
        out = bytearray()
        state = self._state
        for byte in data:
            if state == 0:
                if byte == _IAC:
                    state = 1
                else:
                    out.append(byte)
            elif state == 1:
                state = self._command(byte, out)
            elif state == 2:
                state = 0
            elif state == 3:
                state = 4 if byte == _IAC else 3
            else:
                state = 0 if byte == _SE else 3
        self._state = state
        return bytes(out)

    @staticmethod
    def _command(byte: int, out: bytearray) -> int:
        """Give the state after IAC and this byte: 2 waits for an option, 3 is inside a subnegotiation."""
        if byte == _IAC:
            out.append(byte)
            return 0
        if byte == _SB:
            return 3
        return 2 if 251 <= byte <= 254 else 0


class TelnetDecoder:
    """Follows prompts of the responder and lines of the initiator, and guesses how each attempt ended."""

    protocol: ClassVar[str] = "telnet"

    def __init__(self) -> None:
        self._filters = {True: OptionFilter(), False: OptionFilter()}
        self._screen = b""
        self._line = bytearray()
        self._after_return = False
        self._expects = ""
        self._user: str | None = None
        self._blind: list[bytes] = []
        self._server_spoke = False
        self._pending: Credential | None = None
        self._found: list[Message | Malformed] = []
        self._seen = 0
        self._logins = 0
        self._over = False

    @property
    def done(self) -> bool:
        """Logged in, or a bound was reached."""
        return self._over

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction."""
        if self._over:
            return []
        self._seen += len(data)
        text = self._filters[from_initiator].feed(data[:MAX_SEEN_BYTES])
        if from_initiator:
            self._typed(text)
        elif text:
            self._shown(text)
        if self._seen > MAX_SEEN_BYTES or self._logins >= MAX_LOGINS:
            self._over = True
        found, self._found = self._found, []
        return found

    def finish(self) -> list[Message | Malformed]:
        """Give an attempt without a verdict; where only the client was heard, its first two lines count as one."""
        if not self._server_spoke and len(self._blind) == 2 and not self._logins:
            self._offer(clean_text(self._blind[0]), self._blind[1])
        self._settle("unknown")
        found, self._found = self._found, []
        return found

    def _shown(self, text: bytes) -> None:
        """Take what the responder shows: verdicts on the last attempt, and prompts."""
        self._server_spoke = True
        self._screen = (self._screen + text.lower())[-_SCREEN_BYTES:]
        last = self._screen.replace(b"\r", b"\n").rpartition(b"\n")[2].strip(b" \0\x07")
        prompt = _prompt_of(last)
        if self._pending is not None:
            self._judge(last, prompt)
        if prompt:
            self._expects = prompt
            if prompt == "user":
                self._screen = b""

    def _judge(self, last: bytes, prompt: str) -> None:
        if any(word in self._screen for word in _FAILURES) or prompt == "user":
            self._settle("failure")
        elif not prompt and (last[-1:] in (b"$", b"#", b">") or any(word in self._screen for word in _WELCOMES)):
            self._settle("success")
            self._over = True

    def _typed(self, text: bytes) -> None:
        """Take what the initiator types, character by character or in lines."""
        for byte in text:
            if byte in (10, 13):
                if byte == 10 and self._after_return:
                    self._after_return = False
                    continue
                self._after_return = byte == 13
                self._entered(bytes(self._line))
                self._line.clear()
                continue
            self._after_return = self._after_return and byte == 0
            if byte in (8, 127):
                del self._line[-1:]
            elif byte >= 32 and len(self._line) < MAX_LINE_BYTES:
                self._line.append(byte)

    def _entered(self, line: bytes) -> None:
        if not self._server_spoke and len(self._blind) < 2:
            self._blind.append(line)
        if self._expects == "user":
            self._user = clean_text(line)
            self._expects = "" if self._user else "user"
        elif self._expects == "password":
            self._offer(self._user or "", line)
            self._expects = ""
        elif self._server_spoke and self._user is None and line:
            self._user = clean_text(line)

    def _offer(self, user: str, password: bytes) -> None:
        self._settle("unknown")
        self._logins += 1
        self._screen = b""
        self._user = None
        self._pending = Credential(scheme="telnet", user=user, password=Secret(password.decode("utf-8", "replace")))

    def _settle(self, outcome: str) -> None:
        if self._pending is not None:
            self._found.append(msgspec.structs.replace(self._pending, outcome=outcome))
            self._pending = None


def _prompt_of(last: bytes) -> str:
    """Say what the last line on the screen asks for: `user`, `password` or nothing."""
    if not last.endswith((b":", b">", b"?")) or len(last) > 128:
        return ""
    words = last[:-1].rstrip()
    if words.endswith(_PASSWORD_PROMPTS) or (b"password" in words and last.endswith(b":")):
        return "password"
    return "user" if words.endswith(_USER_PROMPTS) else ""
