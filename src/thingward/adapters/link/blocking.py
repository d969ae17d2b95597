"""Calls over a Unix socket without an event loop: for the command line and for callers in threads."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

from thingward.adapters.link.frames import (
    LENGTH,
    MAX_FRAME_BYTES,
    Hello,
    decode_error,
    decode_frame,
    decode_hello,
    encode_frame,
    encode_hello,
)
from thingward.adapters.link.unix import unix_address
from thingward.model.errors import InvalidInput, Unavailable
from thingward.ports.link import Frame

MAX_IDLE = 8


class BlockingLink:
    """Asks and waits; any number of threads may share it, each call has a connection to itself."""

    def __init__(self, path: Path, *, name: str) -> None:
        self._path = path
        self._name = name
        self._guard = threading.Lock()
        self._idle: list[socket.socket] = []

    def call(self, channel: str, body: bytes, *, timeout_s: float = 10.0) -> bytes:
        """Give the answer; raises Unavailable if the other side is away or silent, or its error."""
        frame = Frame(kind="call", sequence=1, channel=channel, body=body)
        kept = self._take()
        try:
            if kept is not None:
                with contextlib.suppress(ConnectionError, EOFError):  # it was restarted since the last call
                    return self._ask(kept, frame, timeout_s)
            return self._ask(self._open(timeout_s), frame, timeout_s)
        except (OSError, EOFError) as error:
            raise Unavailable(
                f"nobody answers at {self._path.name}: {error}.", hint="Is the platform running? Try again."
            ) from error

    def close(self) -> None:
        """Close what is open; idempotent."""
        with self._guard:
            idle, self._idle = self._idle, []
        for sock in idle:
            sock.close()

    def _take(self) -> socket.socket | None:
        with self._guard:
            return self._idle.pop() if self._idle else None

    def _ask(self, sock: socket.socket, frame: Frame, timeout_s: float) -> bytes:
        answer: Frame | None = None
        try:
            sock.settimeout(timeout_s)
            sock.sendall(encode_frame(frame))
            answer = _read(sock)
        finally:
            self._put_back(sock, is_good=answer is not None)
        if answer.error:
            raise decode_error(answer.error)
        return answer.body

    def _put_back(self, sock: socket.socket, *, is_good: bool) -> None:
        with self._guard:
            if is_good and len(self._idle) < MAX_IDLE:
                self._idle.append(sock)
                return
        sock.close()

    def _open(self, timeout_s: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            with unix_address(self._path) as address:
                sock.connect(address)
            sock.sendall(encode_frame(encode_hello(Hello(name=f"{self._name}-{os.getpid()}"))))
            decode_hello(_read(sock))
        except BaseException:
            sock.close()
            raise
        return sock


def _read(sock: socket.socket) -> Frame:
    (length,) = LENGTH.unpack(_read_exactly(sock, LENGTH.size))
    if length > MAX_FRAME_BYTES:
        raise InvalidInput(f"an answer of {length} bytes is above the limit.")
    return decode_frame(_read_exactly(sock, length))


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise EOFError("the other side closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
