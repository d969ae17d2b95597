"""Follow a file that another program appends to: rotation, truncation, and going on where the last run ended."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

MAX_LINE_BYTES: Final = 262144
POLL_BYTES: Final = 4 << 20
MAX_HEAD_BYTES: Final = 65536


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where reading goes on: which file (inode), how far in bytes, and how many lines came before."""

    inode: int
    offset: int = 0
    lines: int = 0


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What one look gave.

    Attributes:
        is_new: the lines are of another file than the ones before (the first one, or after a rotation).
        head: where reading went on in the middle of a file: its first lines that begin with `#`.
        before: lines of this file that were read earlier.
        lost: why something may be missing, empty if nothing is.
        is_behind: more is there already.
    """

    lines: tuple[bytes, ...] = ()
    is_new: bool = False
    head: tuple[bytes, ...] = ()
    before: int = 0
    lost: str = ""
    is_behind: bool = False


class FileFollower:
    """Reads whole lines as they are appended; a line that is not ended yet waits.

    Attributes:
        position: what to keep so that another run goes on here; None before the file was seen.
        error: why the file cannot be read now, empty if it can.
        cut: lines that were longer than the bound: their first part was given.
    """

    def __init__(self, path: Path, position: Position | None = None) -> None:
        self.path = path
        self.position = position
        self.error = ""
        self.cut = 0
        self._stream: BinaryIO | None = None
        self._is_skipping = False

    def poll(self) -> Chunk:
        """Look once; gives at most POLL_BYTES of lines."""
        opened = self._open() if self._stream is None else Chunk()
        if self._stream is None or self.position is None:
            return opened
        lost = opened.lost
        try:
            size = os.fstat(self._stream.fileno()).st_size
            if size < self.position.offset:
                # Truncated and written anew (copytruncate): what came between the last look and that is gone.
                self.position = Position(inode=self.position.inode)
                self._stream.seek(0)
                opened = Chunk(is_new=True)
                lost = "the file was truncated"
            lines, is_behind = self._read()
            if not lines and not is_behind:
                self._leave_if_rotated()
        except OSError as error:
            self._close(error.strerror or "cannot be read")
            return Chunk(lost=lost)
        before = self.position.lines - len(lines) if self.position else 0
        return Chunk(
            lines=tuple(lines),
            is_new=opened.is_new,
            head=opened.head,
            before=max(before, 0),
            lost=lost,
            is_behind=is_behind or self._stream is None,
        )

    def close(self) -> None:
        """Close the file."""
        self._close("")

    def _open(self) -> Chunk:
        wanted = self.position
        path, lost = self.path, ""
        try:
            inode = path.stat().st_ino
            if wanted is not None and wanted.inode != inode:
                older = self._renamed(wanted.inode)
                if older is None:
                    wanted, lost = None, "the file was rotated away before its end was read"
                path = older or path
            self._stream = path.open("rb")
            state = os.fstat(self._stream.fileno())
            if wanted is not None and state.st_size < wanted.offset:
                wanted, lost = None, "the file was truncated"
            self.position = wanted or Position(inode=state.st_ino)
            head = self._head() if self.position.offset else ()
            self._stream.seek(self.position.offset)
        except OSError as error:
            self._close(error.strerror or "cannot be read")
            return Chunk()
        self.error = ""
        return Chunk(is_new=True, head=head, lost=lost)

    def _renamed(self, inode: int) -> Path | None:
        """Find the file that was read last, if it was renamed in its folder."""
        with contextlib.suppress(OSError), os.scandir(self.path.parent) as entries:
            for entry in entries:
                if entry.inode() == inode and not entry.name.endswith(".gz") and entry.is_file(follow_symlinks=False):
                    return Path(entry.path)
        return None

    def _head(self) -> tuple[bytes, ...]:
        assert self._stream is not None
        self._stream.seek(0)
        lines = self._stream.read(MAX_HEAD_BYTES).split(b"\n")
        return tuple(line.rstrip(b"\r") for line in lines if line.startswith(b"#"))

    def _read(self) -> tuple[list[bytes], bool]:
        assert self._stream is not None
        assert self.position is not None
        data = self._stream.read(POLL_BYTES)
        end = data.rfind(b"\n") + 1
        if not end and len(data) > MAX_LINE_BYTES:
            end = len(data)  # one endless line: its beginning is given once, the rest passed over
        lines = data[:end].split(b"\n")
        has_end = data[:end].endswith(b"\n")
        if has_end:
            lines.pop()
        if self._is_skipping and lines:
            lines.pop(0)
        self._is_skipping = bool(end) and not has_end if lines or end else self._is_skipping
        self.cut += sum(len(line) > MAX_LINE_BYTES for line in lines)
        whole = [line[:MAX_LINE_BYTES].rstrip(b"\r") for line in lines if line or has_end]
        position = self.position
        self.position = Position(inode=position.inode, offset=position.offset + end, lines=position.lines + len(whole))
        self._stream.seek(self.position.offset)
        return whole, len(data) == POLL_BYTES

    def _leave_if_rotated(self) -> None:
        """At the end of a file that is not under its name any more: the next look opens the new one."""
        assert self.position is not None
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return  # between rename and the new file
        if inode != self.position.inode:
            self._close("")
            self.position = None

    def _close(self, error: str) -> None:
        self.error = error
        if self._stream is not None:
            self._stream.close()
            self._stream = None
