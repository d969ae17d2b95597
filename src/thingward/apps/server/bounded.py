"""Run a command with less: no capability, bounded time, memory, files and file sizes, then become it.

`python -m thingward.apps.server.bounded --cpu-s 60 --memory-bytes 1000000000 --file-bytes 1000000 -- COMMAND...`
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import sys
from typing import Final

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPSET: Final = {"x86_64": 126, "aarch64": 91}
_CAP_VERSION_3: Final = 0x20080522
_LAST_CAP: Final = 63
_OPEN_FILES: Final = 256


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def drop_capabilities() -> None:
    """Give up every capability for good, also those that root would get back by exec.

    Raises:
        OSError: the kernel refused: then the command must not run.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs refused")
    if os.geteuid() == 0:
        for capability in range(_LAST_CAP + 1):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    number = _CAPSET.get(os.uname().machine)
    if number is None:
        return
    header, data = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    if libc.syscall(number, ctypes.byref(header), ctypes.byref(data)) != 0:
        raise OSError(ctypes.get_errno(), "capset refused")


def set_limits(*, cpu_s: int, memory_bytes: int, file_bytes: int) -> None:
    """Set hard limits of the process: processor time, address space, size of a file, open files; no core dump."""
    rows = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for what, value in rows.items():
        _, hard = resource.getrlimit(what)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (least, least))


def main(arguments: list[str]) -> int:
    """Set the bounds and become the command."""
    parser = argparse.ArgumentParser(prog="bounded")
    parser.add_argument("--cpu-s", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--file-bytes", type=int, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    os.umask(0o077)
    os.nice(5)
    drop_capabilities()
    set_limits(cpu_s=given.cpu_s, memory_bytes=given.memory_bytes, file_bytes=given.file_bytes)
    os.execv(given.command[0], given.command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
