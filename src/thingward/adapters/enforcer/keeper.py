"""A small owner-only file that is replaced as one."""

from __future__ import annotations

import os
from pathlib import Path


class FileKeeper:
    """Keeps bytes in a file; the folder is made owner-only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes:
        """Give what was saved last, empty if nothing; raises OSError."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def save(self, data: bytes) -> None:
        """Write beside it, force it to disk, and put it in place; raises OSError."""
        write_atomically(self._path, data, mode=0o600)


def write_atomically(path: Path, data: bytes, *, mode: int) -> None:
    """Replace a file so that a reader, or a crash, finds the old or the new one; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
