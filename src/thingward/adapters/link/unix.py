"""The link over Unix sockets: owner-only, and both ends are of one user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from thingward.adapters.link.frames import MAX_FRAME_BYTES
from thingward.adapters.link.spool import Spool
from thingward.adapters.link.stream import RETRY_S, Connect, Listen, StreamLinkClient, StreamLinkServer, Welcome
from thingward.model.errors import Forbidden, Unavailable

_CREDENTIALS = struct.Struct("3i")
_MAX_ADDRESS_BYTES = 100


class UnixLinkClient(StreamLinkClient):
    """Connects to a socket in the file system."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        spool: Spool | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        retry_s: tuple[float, float] = RETRY_S,
    ) -> None:
        super().__init__(unix_connect(path), name=name, spool=spool, max_frame_bytes=max_frame_bytes, retry_s=retry_s)


class UnixLinkServer(StreamLinkServer):
    """Listens on a socket in the file system, mode 0600 in a folder 0700."""

    def __init__(self, path: Path, *, name: str, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        super().__init__(unix_listen(path), name=name, identify=verify_same_user, max_frame_bytes=max_frame_bytes)


def unix_connect(path: Path) -> Connect:
    """Give the way to connect to this socket."""

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            with unix_address(path) as address:
                await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_unix_connection(sock=sock)

    return connect


def unix_listen(path: Path) -> Listen:
    """Give the way to listen here; a socket that nobody answers on is replaced."""

    async def listen(welcome: Welcome) -> asyncio.AbstractServer:
        with contextlib.suppress(OSError):
            _, writer = await unix_connect(path)()
            writer.close()
            raise Unavailable(f"somebody listens on {path} already.", hint="Is the platform running?")
        return await asyncio.start_unix_server(welcome, sock=_bind(path))

    return listen


def _bind(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        os.fchmod(sock.fileno(), 0o600)
        with unix_address(path) as address:
            sock.bind(address)
    except OSError as error:
        sock.close()
        raise Unavailable(f"cannot listen on {path}: {error.strerror}.") from error
    return sock


def verify_same_user(writer: asyncio.StreamWriter) -> str:
    """Raise Forbidden unless the other end belongs to this user or root; it may then name itself."""
    peer: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if uid not in (os.geteuid(), 0):
        raise Forbidden(f"user {uid} may not use this link.")
    return ""


@contextlib.contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """Give an address for a path of any length: the kernel's field holds 107 bytes, so long ones go by their folder."""
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
