"""Run a command with less: no capability, no network, bounded time, memory, files and file sizes, then become it.

`python -m thingward.apps.server.bounded --cpu-s 60 --memory-bytes 1000000000 --file-bytes 1000000 -- COMMAND...`
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import Final

from thingward.runtime.capabilities import keep_capabilities

_OPEN_FILES: Final = 256
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000


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


def leave_network() -> bool:
    """Move into an empty network of one's own; False where this machine does not let ordinary processes do that.

    Files stay as they are: the user is the same one inside.
    """
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    return True


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
    keep_capabilities(())
    if leave_network():
        keep_capabilities(())  # those of the new network
    set_limits(cpu_s=given.cpu_s, memory_bytes=given.memory_bytes, file_bytes=given.file_bytes)
    os.execv(given.command[0], given.command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
