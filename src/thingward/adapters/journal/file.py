"""A journal in files: segments of length- and CRC-framed entries, one fsync for all that waited.

File `<first sequence, 20 digits>.log`: 8 bytes of magic, then per entry length (u32), CRC-32 over sequence and entry
(u32), entry; little endian. The sequence number is not written: it follows from the file's name and the order.
"""

from __future__ import annotations

import bisect
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from thingward.model.errors import InvalidInput, Unavailable

MAGIC = b"TWJRNL1\n"
MAX_ENTRY_BYTES = 64 << 20
_HEAD = struct.Struct("<II")


class Disk:
    """The few calls that reach the file system, in one place, so that a test can make them fail."""

    def open(self, path: Path) -> int:
        """Make or empty a file for appending, owner-only."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of it or raise OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def sync(self, fd: int) -> None:
        """Force a file's content to disk."""
        os.fdatasync(fd)

    def sync_folder(self, path: Path) -> None:
        """Force a folder's entries to disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class FileJournal:
    """The journal on disk. `append` and `sync` may run in different threads; one process at a time may hold it.

    Attributes:
        cut_bytes: what a torn tail lost at opening (it was never acknowledged).
        damaged: places met while reading where a whole segment's rest could not be read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 8 << 20,
        max_bytes: int = 1 << 30,
        max_pending_bytes: int = 32 << 20,
        durable: bool = True,
        disk: Disk | None = None,
    ) -> None:
        """Open or make a journal.

        Args:
            folder: made owner-only if missing.
            segment_bytes: a new file is begun above this size.
            max_bytes: bound of everything on disk; `max_pending_bytes`: of what waits for `sync`.
            durable: False leaves the fsync to the operating system (survives kill -9, not a power cut).
        Raises:
            Unavailable: another process holds it. InvalidInput: a file is no journal.
        """
        self.cut_bytes = 0
        self.damaged = 0
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._worth_bytes = max(min(segment_bytes // 4, 256 << 10), len(MAGIC) + 1)
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._is_durable = durable
        self._disk = disk or Disk()
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._unforced: set[int] = set()
        self._fd = -1
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_fd = _lock(folder / "lock")
        self._firsts = sorted(int(path.stem) for path in folder.glob("*.log"))
        self._sizes = {first: self._path(first).stat().st_size for first in self._firsts}
        self._stored_bytes = sum(self._sizes.values())
        self._last = self._durable = self._recover()

    def append(self, entry: bytes) -> int:
        """Add an entry; raises Unavailable when a bound is reached, InvalidInput above 64 MiB."""
        if len(entry) > MAX_ENTRY_BYTES:
            raise InvalidInput(f"an entry of {len(entry)} bytes is too large for the journal.")
        with self._guard:
            size = _HEAD.size + len(entry)
            if self._pending_bytes + size > self._max_pending_bytes:
                raise Unavailable("too much waits to be written to the journal.", hint="Is the disk full?")
            if self.size_bytes() + size > self._max_bytes:
                raise Unavailable("the journal has reached its bound.", hint="See store.journal_limit_mb.")
            self._last += 1
            self._pending.append(_frame(self._last, entry))
            self._pending_bytes += size
            return self._last

    def sync(self) -> int:
        """Write and force to disk what waits; on failure it goes on waiting and is written anew next time."""
        with self._writing:
            with self._guard:
                waiting = len(self._pending)
                data = b"".join(self._pending)
            if not waiting:
                return self._durable
            try:
                self._write(data)
            except OSError as error:
                self._abandon_segment()
                raise Unavailable(
                    f"the journal cannot be written: {error.strerror}.", hint="Free some space."
                ) from error
            with self._guard:
                del self._pending[:waiting]
                self._pending_bytes -= len(data)
                self._count(self._firsts[-1], len(data))
                self._durable += waiting
                return self._durable

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Iterate durable entries above `after`; a damaged segment is left at the damage and counted."""
        upto = self._durable
        start = max(bisect.bisect_right(self._firsts, after + 1) - 1, 0)
        firsts = self._firsts[start:]
        for first, following in zip(firsts, [*firsts[1:], upto + 1], strict=False):
            try:
                stream = self._path(first).open("rb")
            except FileNotFoundError:
                continue
            with stream:
                if stream.read(len(MAGIC)) != MAGIC:
                    self.damaged += 1
                    continue
                yield from self._read_segment(stream, first, after, min(upto, following - 1))

    def truncate(self, upto: int) -> None:
        """Delete segments that hold nothing above `upto`; the newest, once it is worth it, for an empty one."""
        with self._writing:
            self._delete_before(upto)
            if upto >= self._durable and self._firsts and self._sizes[self._firsts[-1]] >= self._worth_bytes:
                self._close_segment()
                try:
                    self._open_segment(self._durable + 1)
                except OSError:
                    return  # a full disk: the last segment stays for now
                self._delete_before(upto)

    def size_bytes(self) -> int:
        """Tell the size of all segments and of what waits to be written."""
        return self._stored_bytes + self._pending_bytes

    def force(self) -> None:
        """Force to disk what a journal with `durable=False` wrote; raises Unavailable if the disk refuses."""
        with self._writing:
            try:
                for first in sorted(self._unforced & set(self._firsts)):
                    fd = os.open(self._path(first), os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        self._disk.sync(fd)
                    finally:
                        os.close(fd)
                if self._unforced:
                    self._disk.sync_folder(self._folder)
            except OSError as error:
                raise Unavailable(
                    f"the journal cannot be written: {error.strerror}.", hint="Free some space."
                ) from error
            self._unforced.clear()

    def close(self) -> None:
        """Sync if possible, and close; idempotent."""
        if self._lock_fd < 0:
            return
        try:
            self.sync()
        finally:
            self._close_segment()
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _delete_before(self, upto: int) -> None:
        while len(self._firsts) > 1 and self._firsts[1] - 1 <= upto:
            first = self._firsts.pop(0)
            self._path(first).unlink(missing_ok=True)
            self._stored_bytes -= self._sizes.pop(first)

    def _count(self, first: int, size: int) -> None:
        self._sizes[first] = self._sizes.get(first, 0) + size
        self._stored_bytes += size

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:020d}.log"

    def _recover(self) -> int:
        """Cut a torn tail off the newest segment; gives the last sequence number."""
        if not self._firsts:
            return 0
        first = self._firsts[-1]
        with self._path(first).open("r+b") as stream:
            magic = stream.read(len(MAGIC))
            if magic != MAGIC and not MAGIC.startswith(magic):
                raise InvalidInput(f"{self._path(first)} is no journal.", hint="Move it away and start again.")
            last, end = first - 1, len(MAGIC) if magic == MAGIC else 0
            for _ in self._read_segment(stream, first, first - 1, MAX_ENTRY_BYTES << 20) if end else ():
                last, end = last + 1, stream.tell()
            self.damaged = 0
            self.cut_bytes = self._sizes[first] - end
            stream.truncate(end)
            stream.flush()
            os.fsync(stream.fileno())
        self._count(first, end - self._sizes[first])
        return last

    def _read_segment(self, stream: BinaryIO, first: int, after: int, upto: int) -> Iterator[tuple[int, bytes]]:
        number = first
        while number <= upto:
            head = stream.read(_HEAD.size)
            if not head:
                return
            length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (MAX_ENTRY_BYTES + 1, 0)
            entry = stream.read(length) if length <= MAX_ENTRY_BYTES else b""
            if len(entry) != length or _checksum(number, entry) != checksum:
                self.damaged += 1
                return
            if number > after:
                yield number, entry
            number += 1

    def _write(self, data: bytes) -> None:
        full = self._firsts and self._sizes[self._firsts[-1]] >= self._segment_bytes
        if self._fd < 0 or full:
            self._close_segment()
            self._open_segment(self._durable + 1)
        self._disk.write(self._fd, data)
        if self._is_durable:
            self._disk.sync(self._fd)
        else:
            self._unforced.add(self._firsts[-1])

    def _open_segment(self, first: int) -> None:
        fd = self._disk.open(self._path(first))
        try:
            self._disk.write(fd, MAGIC)
            if self._is_durable:
                self._disk.sync(fd)
                self._disk.sync_folder(self._folder)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        if not self._firsts or self._firsts[-1] != first:
            self._firsts.append(first)
        self._count(first, len(MAGIC) - self._sizes.get(first, 0))

    def _abandon_segment(self) -> None:
        """After a failed write nobody knows what the file holds: cut it back, and let the next write begin a new one."""
        if self._fd < 0:
            return
        try:
            os.ftruncate(self._fd, self._sizes[self._firsts[-1]])
        except OSError:
            pass  # what is left there fails its checksum or is repeated in the next segment
        self._close_segment()

    def _close_segment(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _frame(number: int, entry: bytes) -> bytes:
    return _HEAD.pack(len(entry), _checksum(number, entry)) + entry


def _checksum(number: int, entry: bytes) -> int:
    return zlib.crc32(entry, zlib.crc32(number.to_bytes(8, "little")))


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise Unavailable(
            f"another process holds {path.parent}.", hint="Is the platform running already with this data folder?"
        ) from error
    return fd
