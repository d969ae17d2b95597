"""Network namespaces without names: they live as long as somebody holds them, so nothing is left behind.

As root the kernel gives them at once; an ordinary user gets them inside a user namespace of its own, where allowed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from thingward.model.errors import UnsupportedHere

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_MS_REC_PRIVATE: Final = 0x4000 | 1 << 18
_PR_SET_PDEATHSIG: Final = 1
_THREAD_NET: Final = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


class NetworkNamespace:
    """A network of its own, empty but for a loopback interface that is down."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def path(self) -> str:
        """A path by which other programs of this machine can name it while it is held."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Make this thread create its sockets and children there; they stay there afterwards. Do not await inside."""
        home = os.open(_THREAD_NET, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.setns(self._fd, _CLONE_NEWNET), "enter a network namespace")
            try:
                yield
            finally:
                _call(_libc.setns(home, _CLONE_NEWNET), "leave a network namespace")
        finally:
            os.close(home)

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """Make a socket that lives there, non-blocking."""
        with self.inside():
            sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        return sock

    def run(self, *command: str, given: str = "") -> None:
        """Run a program there to its end; raises UnsupportedHere with what it said if it failed."""
        with self.inside():
            run_program(command, given)

    def close(self) -> None:
        """Let go; the kernel removes it, and every interface in it, when nobody else holds it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def own_namespace() -> NetworkNamespace:
    """Give the network namespace that this thread is in."""
    return NetworkNamespace(os.open(_THREAD_NET, os.O_RDONLY | os.O_CLOEXEC))


def new_namespace() -> NetworkNamespace:
    """Make an empty network namespace and stay where we are; raises UnsupportedHere where that is forbidden."""
    home = os.open(_THREAD_NET, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(_libc.unshare(_CLONE_NEWNET), "make a network namespace")
        try:
            return own_namespace()
        finally:
            _call(_libc.setns(home, _CLONE_NEWNET), "leave a network namespace")
    finally:
        os.close(home)


def move_into_new_namespaces() -> str:
    """Move this process, which must have a single thread, into network and mount namespaces of its own.

    Returns:
        `root`, or `user` if it took an unprivileged user namespace, in which this process then is root.
    Raises:
        UnsupportedHere: this machine forbids both.
    """
    how = "root"
    if _libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
        uid, gid = os.geteuid(), os.getegid()
        _call(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWNS), "make namespaces as an ordinary user")
        with contextlib.suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
        how = "user"
    # What is mounted here stays here.
    _call(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None), "keep mounts to itself")
    return how


def namespaces_work() -> bool:
    """Tell whether `move_into_new_namespaces` would succeed, by letting a child try."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(Exception):
            move_into_new_namespaces()
            code = 0
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def run_program(command: Sequence[str], given: str = "") -> None:
    """Run a program to its end; raises UnsupportedHere with what it said if it is missing or failed."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnsupportedHere(f"{command[0]} does not run: {error}.") from error
    if done.returncode:
        raise UnsupportedHere(f"{' '.join(command)} failed: {done.stderr.strip()[:300]}.")


def dies_with_parent() -> Callable[[], None]:
    """Give what a child must run before it becomes its program, so that no child outlives a killed parent."""
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _call(result: int, what: str) -> None:
    if result != 0:
        raise UnsupportedHere(f"this machine does not let us {what}: {os.strerror(ctypes.get_errno())}.")
