"""How the command line finds a running platform: a file in its data folder, readable by its owner only."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FILE_NAME = "console.json"


class LocalAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Address and token of a running platform; `ca_file` verifies its own certificate, empty for the system's CAs."""

    url: str
    token: str
    ca_file: str = ""
    pid: int = 0

    def __repr__(self) -> str:
        return f"LocalAccess(url={self.url!r}, token=***)"


def write_local_access(run_dir: Path, access: LocalAccess) -> None:
    """Write the file, owner-only, whole or not at all."""
    path = run_dir / FILE_NAME
    temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.encode(access))
    temporary.replace(path)


def read_local_access(run_dir: Path) -> LocalAccess | None:
    """Give what a running platform left, None if there is none or it cannot be read."""
    try:
        return msgspec.json.decode((run_dir / FILE_NAME).read_bytes(), type=LocalAccess)
    except (OSError, msgspec.DecodeError):
        return None


def remove_local_access(run_dir: Path) -> None:
    """Take the file away when the platform stops."""
    (run_dir / FILE_NAME).unlink(missing_ok=True)
