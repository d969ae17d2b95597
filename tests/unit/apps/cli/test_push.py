"""`push` cuts files into pieces that can each be read alone, and names lines by their place in the file."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from thingward.apps.cli import push as module
from thingward.apps.cli.client import Refused
from thingward.apps.cli.push import PIECE_LINES, kind_of, pieces_of, push
from thingward.model.errors import InvalidInput

HEADER = [b"#separator \\x09", b"#path\tdns", b"#fields\tts\tuid"]


class Platform:
    """Takes what is sent; rejects lines that say so."""

    def __init__(self, refuse=False):
        self.sent = []
        self.refuse = refuse

    def raw(self, method, path, *, params, content, dry_run, key):
        self.sent.append((params, content, key))
        lines = content.splitlines()
        bad = [f"line {number}: eve: not JSON" for number, line in enumerate(lines, 1) if line == b"bad"]
        if bad and self.refuse:
            raise Refused({"detail": "1 line", "code": "input.bad_lines", "errors": bad}, 422)
        result = {"lines": len(lines), "taken": len(lines) - len(bad), "rejected": len(bad), "errors": bad}
        return msgspec.json.encode(result)


@pytest.fixture
def platform(monkeypatch):
    made = Platform()
    monkeypatch.setattr(module, "connect", lambda: made)
    return made


def test_every_piece_begins_with_the_table_s_header():
    rows = [b"%d\tC" % n for n in range(PIECE_LINES * 2)]
    pieces = list(pieces_of(iter([*HEADER, *rows])))
    assert len(pieces) == 3
    for piece in pieces[1:]:
        assert piece.body.splitlines()[:3] == HEADER
    assert [row for piece in pieces for row in piece.body.splitlines() if not row.startswith(b"#")] == rows


def test_pieces_are_bounded_in_bytes():
    pieces = list(pieces_of(iter([b"x" * 200_000] * 50)))
    assert max(len(piece.body) for piece in pieces) <= module.PIECE_BYTES + 50
    assert sum(piece.body.count(b"\n") for piece in pieces) == 50


def test_rejected_lines_are_named_by_their_place_in_the_file(platform, tmp_path, capsys):
    file = tmp_path / "dns.log"
    rows = [b"ok"] * (PIECE_LINES + 10)
    rows[-1] = b"bad"
    file.write_bytes(b"\n".join([*HEADER, *rows]) + b"\n")
    assert push(file, name="probe", partial=True) == 1
    assert f"line {3 + len(rows)}: eve: not JSON" in capsys.readouterr().err
    assert platform.sent[0][0]["kind"] == "dns"


def test_a_refused_piece_names_its_lines_and_ends_it(platform, tmp_path, capsys):
    platform.refuse = True
    file = tmp_path / "eve.json"
    file.write_bytes(b"ok\nbad\n")
    with pytest.raises(Refused):
        push(file, name="probe")
    assert "line 2: eve: not JSON" in capsys.readouterr().err


def test_the_same_piece_has_the_same_key_and_a_dry_run_another(platform, tmp_path):
    file = tmp_path / "eve.json.gz"
    file.write_bytes(gzip.compress(b"ok\n"))
    push(file, name="probe")
    push(file, name="probe")
    push(file, name="probe", dry_run=True)
    keys = [key for _, _, key in platform.sent]
    assert keys[0] == keys[1] != keys[2]


def test_a_cut_archive_is_said(platform, tmp_path):
    file = tmp_path / "eve.json.gz"
    file.write_bytes(gzip.compress(b"ok\n" * 100_000)[:-30])
    with pytest.raises(InvalidInput, match="cut off or damaged"):
        push(file, name="probe")


def test_nothing_to_push_is_said(platform):
    with pytest.raises(InvalidInput):
        push(name="probe")


@pytest.mark.parametrize(("name", "kind"), [("conn.log", "conn"), ("conn.2026-01-01.log.gz", "conn"), ("eve.json", "")])
def test_kinds_are_read_off_names_of_logs(name, kind):
    assert kind_of(Path(name)) == kind
