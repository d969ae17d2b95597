"""The sender's spool: bounds, priorities, restarts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingward.adapters.journal.memory import MemoryJournal
from thingward.adapters.link.frames import LENGTH, decode_frame
from thingward.adapters.link.spool import PRIORITIES, Numbers, Spool, file_spool, memory_spool
from thingward.model.errors import InvalidInput


def drain(spool: Spool, after: int = 0) -> list[tuple[int, bytes]]:
    found = []
    while (entry := spool.next(after)) is not None:
        after = entry[0]
        found.append((after, decode_frame(entry[1][LENGTH.size :]).body))
    return found


def test_batches_of_all_priorities_come_in_the_order_of_their_numbers() -> None:
    spool = memory_spool()
    for number in range(9):
        spool.put("c", b"%d" % number, number % 3)
    assert [body for _, body in drain(spool)] == [b"%d" % number for number in range(9)]
    spool.acknowledge(5)
    assert [number for number, _ in drain(spool, 5)] == [6, 7, 8, 9]
    assert spool.pending == 4


def test_above_the_bound_telemetry_goes_first_and_security_last() -> None:
    one = memory_spool()
    one.put("c", b"s" * 100, 2)
    spool = memory_spool(max_bytes=7 * one.pending_bytes)
    for _ in range(3):
        spool.put("c", b"t" * 100, 0)
        spool.put("c", b"s" * 100, 2)
    for _ in range(5):
        spool.put("c", b"s" * 100, 2)
    kept = [body[:1] for _, body in drain(spool)]
    assert kept.count(b"t") == 0
    assert kept.count(b"s") == 7
    assert spool.dropped == {0: 3, 2: 1}
    spool.put("c", b"t" * 100, 0)
    assert spool.dropped[0] == 4, "telemetry never pushes a security event out"
    assert spool.pending_bytes <= 7 * one.pending_bytes


def test_a_batch_larger_than_the_spool_is_dropped_and_counted() -> None:
    spool = memory_spool(max_bytes=100)
    spool.put("c", b"x" * 500, 2)
    assert spool.dropped == {2: 1}
    assert drain(spool) == []
    with pytest.raises(InvalidInput):
        spool.put("c", b"", 3)


def test_what_was_not_acknowledged_survives_and_numbers_never_repeat(tmp_path: Path) -> None:
    spool = file_spool(tmp_path, max_bytes=1 << 20)
    stream = spool.stream
    numbers = [spool.put("c", b"%d" % n, n % 3) for n in range(30)]
    spool.acknowledge(numbers[9])
    spool.close()
    spool = file_spool(tmp_path, max_bytes=1 << 20)
    assert spool.stream == stream
    assert {n for n, _ in drain(spool)} >= set(numbers[10:])
    assert spool.put("c", b"new", 1) > numbers[-1]
    spool.close()


def test_a_lost_number_file_begins_a_new_stream_and_goes_on_after_what_is_kept(tmp_path: Path) -> None:
    spool = file_spool(tmp_path, max_bytes=1 << 20)
    stream, last = spool.stream, [spool.put("c", b"kept", 1) for _ in range(3)][-1]
    spool.close()
    (tmp_path / "numbers.json").write_text("{torn")
    spool = file_spool(tmp_path, max_bytes=1 << 20)
    assert spool.stream != stream
    assert len(drain(spool)) == 3
    assert spool.put("c", b"new", 1) > last
    spool.close()


def test_content_is_read_from_disk_once_the_cache_has_let_it_go(tmp_path: Path) -> None:
    spool = file_spool(tmp_path, max_bytes=64 << 20)
    bodies = [bytes([n % 251]) * 40_000 for n in range(300)]
    numbers = [spool.put("c", body, n % 2) for n, body in enumerate(bodies)]
    assert [body for _, body in drain(spool)] == bodies
    spool.acknowledge(numbers[250])
    assert [body for _, body in drain(spool)] == bodies[251:]
    spool.close()


def test_on_a_full_disk_batches_wait_in_memory_and_in_order() -> None:
    journals = [MemoryJournal() for _ in range(PRIORITIES)]
    spool = Spool(journals, Numbers(), max_bytes=10_000, cache_bytes=30)
    spool.put("c", b"before", 1)
    journals[1].full = True
    for n in range(5):
        spool.put("c", b"%d" % n, 1)
    assert [body for _, body in drain(spool)] == [b"before", b"0", b"1", b"2", b"3", b"4"]
    journals[1].full = False
    spool.put("c", b"after", 1)
    assert [body for _, body in drain(spool)][-1] == b"after"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300), st.booleans()), max_size=80))
def test_the_spool_holds_its_bound_and_its_order(steps: list[tuple[int, int, bool]]) -> None:
    spool = memory_spool(max_bytes=2000)
    for priority, size, acknowledge in steps:
        spool.put("c", bytes(size), priority)
        if acknowledge and (entry := spool.next(spool.acknowledged)):
            spool.acknowledge(entry[0])
        assert spool.pending_bytes <= 2000
    numbers = [number for number, _ in drain(spool, spool.acknowledged)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == spool.pending
