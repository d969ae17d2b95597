"""Imported lists: kept by content, replaced by name, bounded; no list means unknown."""

import io
import json
import stat

import pytest
from rich.console import Console

from thingward.apps.cli.terminal import print_result
from thingward.detection.indicators import Indicator
from thingward.model.errors import InvalidInput, LimitExceeded, NotFound
from thingward.model.observation import CaptureData
from thingward.runtime import packs
from thingward.runtime.guard_result import GuardResult, SourceReport
from thingward.runtime.packs import content_of, import_pack, list_packs, load_packs, packs_text, read_pack, remove_pack

NOW = 1_700_000_000.0
STIX = {
    "type": "bundle",
    "id": "bundle--1",
    "objects": [{"type": "indicator", "id": "indicator--1", "pattern": "[ipv4-addr:value = '198.51.100.7']"}],
}
LISTS = {
    "plain.txt": "# a comment\n198.51.100.7\n",
    "maltrail.txt": "# Reference: https://example.org/\n198.51.100.7:23\n/bin.sh\n",
    "table.csv": "id,ip,port\n1,198.51.100.7,23\n",
    "stix.json": json.dumps(STIX),
}


def imported(home, tmp_path, name="bad.txt", text="198.51.100.7\n", **more):
    path = tmp_path / name
    path.write_text(text)
    pack, digest = read_pack(path)
    return import_pack(home, pack, digest, now=NOW, **more)


@pytest.mark.parametrize("name", LISTS)
def test_every_form_is_imported_and_matched(tmp_path, name):
    home = tmp_path / "data"
    info = imported(home, tmp_path, name, LISTS[name])
    assert info.count == 1
    loaded = load_packs(home)
    assert loaded.problems == ()
    assert loaded.packs[0].indicators == (Indicator("address", "198.51.100.7"),)
    sighting = content_of(loaded.packs).matcher.match_address("198.51.100.7")
    assert sighting is not None
    assert sighting.pack == info.name


def test_files_are_owner_only_and_a_name_is_there_once(tmp_path):
    home = tmp_path / "data"
    imported(home, tmp_path)
    imported(home, tmp_path, text="198.51.100.8\n192.0.2.0/24\n")
    files = list((home / "packs").iterdir())
    assert len(files) == 1
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "packs")] == [0o700, 0o700]
    assert [info.count for info in list_packs(home)] == [2]


def test_a_list_that_cannot_be_used_is_named_with_line_and_reason(tmp_path):
    with pytest.raises(InvalidInput, match=r"bad\.txt: no indicator in 1 entries; line 2: several words: not a list"):
        imported(tmp_path / "data", tmp_path, text="# a comment\nnot a list\n")


def test_a_trial_keeps_nothing(tmp_path):
    assert imported(tmp_path / "data", tmp_path, dry_run=True).count == 1
    assert not (tmp_path / "data").exists()


def test_a_damaged_pack_is_named_and_the_rest_is_loaded(tmp_path):
    home = tmp_path / "data"
    imported(home, tmp_path)
    imported(home, tmp_path, "other.txt", "evil.example.org\n")
    path = sorted((home / "packs").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    loaded = load_packs(home)
    assert len(loaded.packs) == 1
    assert path.name in loaded.problems[0]


def test_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "MAX_FILE_BYTES", 10)
    with pytest.raises(InvalidInput, match="larger"):
        imported(tmp_path / "data", tmp_path)
    monkeypatch.setattr(packs, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(packs, "MAX_PACKS", 1)
    imported(tmp_path / "data", tmp_path)
    with pytest.raises(LimitExceeded):
        imported(tmp_path / "data", tmp_path, "second.txt")
    imported(tmp_path / "data", tmp_path)  # the same name is no second one


@pytest.mark.parametrize("text", ["", "# only comments\n", "{", "\0\xff not a list"])
def test_what_holds_no_indicator_is_refused(tmp_path, text):
    with pytest.raises(InvalidInput):
        imported(tmp_path / "data", tmp_path, text=text)


def test_names_cannot_leave_the_folder(tmp_path):
    (tmp_path / "f").write_text("198.51.100.7\n")
    for name in ("../x", "a/b", ".hidden", "x" * 65, "a b"):
        with pytest.raises(InvalidInput):
            read_pack(tmp_path / "f", name=name)


def test_remove(tmp_path):
    home = tmp_path / "data"
    imported(home, tmp_path)
    remove_pack(home, "bad", dry_run=True)
    assert len(list_packs(home)) == 1
    remove_pack(home, "bad")
    assert list_packs(home) == []
    with pytest.raises(NotFound):
        remove_pack(home, "bad")


def test_no_pack_is_unknown_and_an_old_one_says_so(tmp_path):
    assert "unknown" in packs_text([], NOW)
    info = imported(tmp_path / "data", tmp_path)
    assert "today" not in packs_text([info], NOW + 86400)
    assert "say little" in packs_text([info], NOW + 90 * 86400)


@pytest.mark.parametrize(("indicators", "said"), [(0, True), (5, False)])
def test_the_report_says_that_nothing_was_looked_for(indicators, said):
    text = io.StringIO()
    capture = SourceReport(source="a.pcap", data=CaptureData(file="a.pcap", format="pcap", packets=1, complete=True))
    result = GuardResult(site="home", tenant="default", version="0", indicators=indicators, sources=(capture,))
    print_result(Console(file=text, width=200), result)
    assert ("known-bad addresses is unknown" in text.getvalue()) is said


@pytest.mark.data
def test_lists_of_others(tmp_path, data_dir):
    folder = data_dir / "maltrail-iot" / "trails" / "static" / "malware"
    counts = []
    for path in sorted(folder.glob("*.txt")):
        try:
            counts.append(len(read_pack(path)[0].indicators))
        except InvalidInput as error:
            assert "no indicator" in str(error)
    assert sum(counts) > 10_000
    pack, _ = read_pack(data_dir / "stix2-oasis" / "examples" / "indicator-for-c2-ip-address.json")
    assert pack.indicators
