"""What every journal promises."""

from collections.abc import Callable
from pathlib import Path

import pytest

from thingward.adapters.journal.file import FileJournal
from thingward.adapters.journal.memory import MemoryJournal
from thingward.model.errors import Unavailable
from thingward.ports.journal import Journal

Make = Callable[..., Journal]


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def build(**more: int) -> Journal:
        if request.param == "memory":
            return MemoryJournal(**more)
        return FileJournal(tmp_path / "journal", segment_bytes=64, **more)

    return build


def test_entries_come_back_in_order_once_synced(make: Make) -> None:
    journal = make()
    assert [journal.append(b"a"), journal.append(b""), journal.append(b"ccc")] == [1, 2, 3]
    assert list(journal.read(0)) == []
    assert journal.sync() == 3
    assert list(journal.read(0)) == [(1, b"a"), (2, b""), (3, b"ccc")]
    assert list(journal.read(2)) == [(3, b"ccc")]
    assert list(journal.read(3)) == []
    assert journal.sync() == 3
    journal.close()
    journal.close()


def test_truncate_forgets_the_old_and_keeps_the_new(make: Make) -> None:
    journal = make()
    for number in range(100):
        journal.append(b"%04d" % number)
        journal.sync()
    before = journal.size_bytes()
    journal.truncate(90)
    assert journal.size_bytes() < before
    assert [n for n, _ in journal.read(90)] == list(range(91, 101))
    journal.truncate(100)
    journal.append(b"next")
    assert journal.sync() == 101
    assert list(journal.read(100)) == [(101, b"next")]
    journal.close()


def test_truncate_never_forgets_what_is_not_durable(make: Make) -> None:
    journal = make()
    journal.append(b"one")
    journal.sync()
    journal.append(b"two")
    journal.truncate(10)
    journal.sync()
    assert list(journal.read(1)) == [(2, b"two")]
    journal.close()


def test_the_bound_holds_and_truncating_makes_room(make: Make) -> None:
    journal = make(max_bytes=2000)
    with pytest.raises(Unavailable):
        for _ in range(100):
            journal.append(b"x" * 50)
            journal.sync()
    assert journal.size_bytes() <= 2000
    journal.truncate(journal.sync())
    journal.append(b"fits")
    journal.sync()
    journal.close()
