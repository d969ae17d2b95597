"""Following a file that another program appends to."""

import os

import pytest

from thingward.adapters.log_source import follow
from thingward.adapters.log_source.follow import FileFollower


@pytest.fixture
def path(tmp_path):
    return tmp_path / "eve.json"


def append(path, data):
    with path.open("ab") as stream:
        stream.write(data)


def test_lines_are_given_once_and_only_when_they_end(path):
    follower = FileFollower(path)
    assert follower.poll().lines == ()
    assert follower.error
    append(path, b"one\ntw")
    assert follower.poll().lines == (b"one",)
    assert follower.error == ""
    append(path, b"o\r\n\nthree\n")
    chunk = follower.poll()
    assert chunk.lines == (b"two", b"", b"three")
    assert chunk.before == 1
    assert follower.poll().lines == ()


def test_a_rotated_file_is_read_to_its_end_then_the_new_one(path):
    follower = FileFollower(path)
    append(path, b"one\n")
    follower.poll()
    path.rename(path.with_suffix(".1"))
    append(path.with_suffix(".1"), b"late\n")
    append(path, b"new\n")
    found = [follower.poll() for _ in range(4)]
    assert [line for chunk in found for line in chunk.lines] == [b"late", b"new"]
    assert [chunk.is_new for chunk in found if chunk.lines] == [False, True]
    assert not any(chunk.lost for chunk in found)


def test_a_truncated_file_is_read_from_its_start_and_said(path):
    follower = FileFollower(path)
    append(path, b"one\ntwo\n")
    follower.poll()
    path.write_bytes(b"x\n")
    chunk = follower.poll()
    assert (chunk.lines, chunk.is_new, chunk.before) == ((b"x",), True, 0)
    assert "truncated" in chunk.lost


def test_another_run_goes_on_where_the_last_one_ended(path):
    follower = FileFollower(path)
    append(path, b"#fields\tts\n#types\ttime\n1\n")
    follower.poll()
    follower.close()
    append(path, b"2\n")
    chunk = FileFollower(path, follower.position).poll()
    assert chunk.lines == (b"2",)
    assert chunk.head == (b"#fields\tts", b"#types\ttime")
    assert chunk.before == 3


def test_another_run_finishes_a_file_that_was_rotated_meanwhile(path):
    follower = FileFollower(path)
    append(path, b"1\n")
    follower.poll()
    follower.close()
    append(path, b"2\n")
    path.rename(path.with_suffix(".1"))
    append(path, b"3\n")
    second = FileFollower(path, follower.position)
    assert [line for _ in range(3) for line in second.poll().lines] == [b"2", b"3"]


def test_what_was_rotated_out_of_reach_is_said(path):
    follower = FileFollower(path)
    append(path, b"1\n")
    follower.poll()
    kept = path.open("rb")  # so that the inode is not taken again
    path.unlink()
    append(path, b"3\n")
    chunk = FileFollower(path, follower.position).poll()
    kept.close()
    follower.close()
    assert chunk.lines == (b"3",)
    assert "rotated away" in chunk.lost


def test_an_endless_line_costs_bounded_memory_and_what_follows_is_read(path, monkeypatch):
    monkeypatch.setattr(follow, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(follow, "POLL_BYTES", 250)
    append(path, b"x" * 1000 + b"\nafter\n")
    follower = FileFollower(path)
    lines = [line for _ in range(8) for line in follower.poll().lines]
    assert lines == [b"x" * 100, b"after"]
    assert follower.cut == 1


def test_a_file_that_cannot_be_read_is_an_error_and_then_works(path):
    os.mkdir(path)
    follower = FileFollower(path)
    follower.poll()
    assert follower.error
    os.rmdir(path)
    append(path, b"1\n")
    assert follower.poll().lines == (b"1",)
