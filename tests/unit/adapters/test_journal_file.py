"""The journal on disk when things go wrong."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingward.adapters.journal.file import Disk, FileJournal
from thingward.model.errors import InvalidInput, Unavailable


class FullDisk(Disk):
    """Takes `room` more bytes, then says that the disk is full, after writing what fits."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.failing_syncs = 0

    def write(self, fd: int, data: bytes) -> None:
        super().write(fd, data[: self.room])
        if len(data) > self.room:
            self.room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)

    def sync(self, fd: int) -> None:
        if self.failing_syncs:
            self.failing_syncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)


def reopened(folder: Path) -> list[tuple[int, bytes]]:
    journal = FileJournal(folder)
    entries = list(journal.read(0))
    journal.close()
    return entries


def test_entries_survive_reopening_and_numbers_go_on(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(b"one")
    journal.close()
    journal = FileJournal(tmp_path)
    assert journal.append(b"two") == 2
    journal.close()
    assert reopened(tmp_path) == [(1, b"one"), (2, b"two")]


def test_numbers_go_on_after_everything_was_truncated(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, segment_bytes=32)
    for _ in range(20):
        journal.append(b"entry")
        journal.sync()
    journal.truncate(20)
    journal.close()
    journal = FileJournal(tmp_path)
    assert list(journal.read(0)) == []
    assert journal.append(b"next") == 21
    journal.close()


@given(cut=st.integers(0, 200), flip=st.integers(0, 200))
def test_a_torn_or_damaged_tail_costs_the_tail_only(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    journal = FileJournal(folder)
    entries = [b"entry %d" % number * 2 for number in range(8)]
    for entry in entries:
        journal.append(entry)
    journal.close()
    (file,) = folder.glob("*.log")
    data = bytearray(file.read_bytes())
    data = data[: max(len(data) - cut, 0)]
    if flip < len(data) and flip >= 8:
        data[flip] ^= 0x40
    file.write_bytes(data)
    kept = [entry for _, entry in reopened(folder)]
    assert kept == entries[: len(kept)]
    if cut == 0 and not 8 <= flip < len(data):
        assert kept == entries
    journal = FileJournal(folder)
    assert journal.append(b"after") == len(kept) + 1
    journal.close()
    assert [entry for _, entry in reopened(folder)] == [*kept, b"after"]


@pytest.mark.parametrize("room", [0, 5, 8, 9, 20, 40])
def test_on_a_full_disk_nothing_is_durable_and_all_of_it_later(tmp_path: Path, room: int) -> None:
    disk = FullDisk(room)
    journal = FileJournal(tmp_path, disk=disk)
    journal.append(b"a" * 30)
    journal.append(b"b" * 30)
    with pytest.raises(Unavailable):
        journal.sync()
    assert list(journal.read(0)) == []
    journal.append(b"c")
    disk.room = 10_000
    assert journal.sync() == 3
    expected = [(1, b"a" * 30), (2, b"b" * 30), (3, b"c")]
    assert list(journal.read(0)) == expected
    journal.close()
    assert reopened(tmp_path) == expected


def test_after_a_failed_fsync_entries_are_written_anew_elsewhere(tmp_path: Path) -> None:
    disk = FullDisk(100_000)
    journal = FileJournal(tmp_path, disk=disk)
    journal.append(b"durable")
    journal.sync()
    journal.append(b"doubtful")
    disk.failing_syncs = 1
    with pytest.raises(Unavailable):
        journal.sync()
    assert journal.sync() == 2
    assert list(journal.read(0)) == [(1, b"durable"), (2, b"doubtful")]
    assert len(list(tmp_path.glob("*.log"))) == 2
    journal.close()
    assert reopened(tmp_path) == [(1, b"durable"), (2, b"doubtful")]


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, max_pending_bytes=100)
    with pytest.raises(Unavailable):
        for _ in range(10):
            journal.append(b"x" * 30)
    with pytest.raises(InvalidInput):
        journal.append(bytes((64 << 20) + 1))
    journal.close()


def test_damage_in_an_old_segment_is_counted_and_costs_its_rest_only(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, segment_bytes=16)
    for number in range(6):
        journal.append(b"entry %d" % number)
        journal.sync()
    journal.close()
    first = sorted(tmp_path.glob("*.log"))[0]
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    journal = FileJournal(tmp_path)
    assert [number for number, _ in journal.read(0)] == [2, 3, 4, 5, 6]
    assert journal.damaged == 1
    journal.close()


def test_a_foreign_file_and_a_second_process_are_refused(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "a")
    code = (
        "import sys; from pathlib import Path; from thingward.adapters.journal.file import FileJournal\n"
        "from thingward.model.errors import Unavailable\n"
        "try: FileJournal(Path(sys.argv[1]))\nexcept Unavailable: sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False).returncode == 7
    journal.close()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / f"{1:020d}.log").write_bytes(b"something else entirely")
    with pytest.raises(InvalidInput):
        FileJournal(tmp_path / "b")


@pytest.mark.root
def test_a_really_full_disk(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)], check=True)
    try:
        journal = FileJournal(tmp_path / "journal", segment_bytes=32 << 10)
        durable = 0
        with pytest.raises(Unavailable):
            while True:
                journal.append(b"x" * 5000)
                durable = journal.sync()
        assert [number for number, _ in journal.read(0)] == list(range(1, durable + 1))
        journal.truncate(durable)
        assert journal.sync() == durable + 1
        assert list(journal.read(durable)) == [(durable + 1, b"x" * 5000)]
        journal.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
