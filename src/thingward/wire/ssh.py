"""SSH identification strings (RFC 4253, 4.2): the software of both sides."""

from __future__ import annotations

from typing import ClassVar

from thingward.model.record import Malformed
from thingward.wire.lines import LineBuffer, ServiceBanner
from thingward.wire.message import Message, clean_text, malformed

MAX_PREAMBLE_LINES = 32


class SshDecoder:
    """Waits for each side's `SSH-` line; a server may send other lines before it."""

    protocol: ClassVar[str] = "ssh"

    def __init__(self) -> None:
        self._lines = {True: LineBuffer(), False: LineBuffer()}
        self._open = {True: MAX_PREAMBLE_LINES, False: MAX_PREAMBLE_LINES}

    @property
    def done(self) -> bool:
        """Both strings were seen, or neither side will send one."""
        return not self._open[True] and not self._open[False]

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction."""
        if not self._open[from_initiator]:
            return []
        buffer = self._lines[from_initiator]
        for line in buffer.feed(data[:8192]):
            if line.startswith(b"SSH-"):
                self._open[from_initiator] = 0
                role = "client" if from_initiator else "server"
                text = clean_text(line, 255)
                return [ServiceBanner(scheme="ssh", text=text, role=role, from_initiator=from_initiator)]
            self._open[from_initiator] -= 1
            if not self._open[from_initiator]:
                return [malformed("ssh", "no identification string", line)]
        if buffer.seen > 16384:
            self._open[from_initiator] = 0
        return []

    def finish(self) -> list[Message | Malformed]:
        """Nothing waits for an answer here."""
        return []
