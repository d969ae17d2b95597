"""Backups of real SQLite, DuckDB and journal files: round trips, damage, hostile archives, conditions."""

import contextlib
import gzip
import io
import json
import os
import sqlite3
import stat
import tarfile

import duckdb
import pytest

from thingward.adapters.control_store.revisions import known_revisions, steps_after
from thingward.adapters.control_store.sql import HEAD, open_store, sqlite_url
from thingward.adapters.event_store.duckdb import DuckdbEventStore
from thingward.adapters.journal.file import FileJournal
from thingward.model.device import Site
from thingward.model.errors import Conflict, InvalidInput
from thingward.model.event import Event
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.observation import StatusData
from thingward.ports.control_store import Put
from thingward.ports.event_store import EventQuery
from thingward.runtime import archive as archive_form
from thingward.runtime import backup as backup_steps
from thingward.runtime.archive import BackupDamaged, read_manifest
from thingward.runtime.backup import SETTINGS_COPY, make_backup, plan_backup
from thingward.runtime.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from thingward.runtime.restore import restore_backup
from thingward.runtime.upgrade import check_upgrade

NOW = 1_700_000_000.0


def site(name: str) -> Site:
    return Site(uid=f"site-{name}", tenant=DEFAULT_TENANT, time=NOW, source="test", name=name)


def event(number: int) -> Event:
    return Event(
        uid=f"{number:032x}",
        tenant=DEFAULT_TENANT,
        time=NOW + number,
        source="test",
        class_uid=6002,
        severity=1,
        data=StatusData(status="alive"),
    )


@pytest.fixture
def home(tmp_path):
    """A data folder as a platform that was stopped leaves it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    store = open_store(sqlite_url(folder / "control.db"))
    store.commit(DEFAULT_TENANT, [Put(site("home"))])
    store.close()
    events = DuckdbEventStore(folder / "events" / "events.duckdb", memory_mb=128, threads=1)
    events.append(DEFAULT_TENANT, [event(number) for number in range(10)])
    events.close()
    journal = FileJournal(folder / "journal")
    for number in range(5):
        journal.append(f"entry {number}".encode())
    journal.close()
    write_checkpoint(folder / "checkpoint", Checkpoint(position=2, time=NOW))
    (folder / "evidence.key").write_text("key")
    (folder / "evidence.key").chmod(0o600)
    (folder / "thingward.toml").write_text('[site]\nname = "home"\n')
    for name in ("run", "spool"):
        (folder / name).mkdir()
        (folder / name / "left.txt").write_text("not kept")
    return folder


def test_a_restored_folder_holds_everything_that_was_there(home, tmp_path):
    target = tmp_path / "backup.tar.gz"
    made = make_backup(home, target, now=NOW)
    assert made.left_out == ()
    assert made.schema == HEAD
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    other = tmp_path / "other"
    manifest, kept = restore_backup(target, other, now=NOW)
    assert kept is None
    assert manifest == made
    names = {str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()}
    journal_file = next((home / "journal").glob("*.log")).name
    assert names == {
        "control.db",
        "events/events.duckdb",
        f"journal/{journal_file}",
        "checkpoint",
        "evidence.key",
        "thingward.toml",
    }
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in other.rglob("*") if path.is_file()} == {0o600}
    store = open_store(sqlite_url(other / "control.db"))
    assert store.get(DEFAULT_TENANT, Site, "site-home") == site("home")
    store.close()
    events = DuckdbEventStore(other / "events" / "events.duckdb", memory_mb=128, threads=1)
    assert len(events.query(DEFAULT_TENANT, EventQuery()).items) == 10
    events.close()
    journal = FileJournal(other / "journal")
    assert [entry for _, entry in journal.read(2)] == [b"entry 2", b"entry 3", b"entry 4"]
    journal.close()
    assert read_checkpoint(other / "checkpoint") == Checkpoint(position=2, time=NOW)


def test_a_database_in_use_is_copied_whole(home, tmp_path):
    store = open_store(sqlite_url(home / "control.db"))
    store.commit(DEFAULT_TENANT, [Put(site("second"))])  # still in the write-ahead log
    make_backup(home, tmp_path / "b", now=NOW)
    store.close()
    restore_backup(tmp_path / "b", tmp_path / "other", now=NOW)
    copy = open_store(sqlite_url(tmp_path / "other" / "control.db"))
    assert copy.count(DEFAULT_TENANT, Site) == 2
    copy.close()


def test_a_checkpoint_that_moves_meanwhile_makes_it_copy_again(home, tmp_path, monkeypatch):
    real, moved = backup_steps.copy_sqlite, []

    def copy_and_move(source, target):
        real(source, target)
        if len(moved) < 2:
            moved.append(1)
            write_checkpoint(home / "checkpoint", Checkpoint(position=3 + len(moved), time=NOW))

    monkeypatch.setattr(backup_steps, "copy_sqlite", copy_and_move)
    make_backup(home, tmp_path / "b", now=NOW)
    restore_backup(tmp_path / "b", tmp_path / "other", now=NOW)
    assert len(moved) == 2
    assert read_checkpoint(tmp_path / "other" / "checkpoint").position == 5


def test_an_event_store_that_cannot_be_copied_is_said(home, tmp_path):
    (home / "events" / "events.duckdb").write_bytes(b"\0" * 8 + b"DUCK" + b"\0" * 4096)
    made = make_backup(home, tmp_path / "b", now=NOW)
    assert len(made.left_out) == 1
    assert made.left_out[0].startswith("events/events.duckdb: ")
    assert read_manifest(tmp_path / "b").left_out == made.left_out


def test_a_settings_file_elsewhere_goes_in_under_a_name_that_is_not_loaded(home, tmp_path):
    (tmp_path / "mine.toml").write_text("log_level = 'debug'\n")
    make_backup(home, tmp_path / "b", now=NOW, settings_file=tmp_path / "mine.toml", elsewhere=["store: elsewhere"])
    manifest, _ = restore_backup(tmp_path / "b", tmp_path / "other", now=NOW)
    assert (tmp_path / "other" / SETTINGS_COPY).read_text() == "log_level = 'debug'\n"
    assert manifest.left_out == ("store: elsewhere",)


def test_links_are_not_followed(home, tmp_path):
    (tmp_path / "secret").write_text("not ours")
    (home / "link").symlink_to(tmp_path / "secret")
    assert "link" not in plan_backup(home, tmp_path / "b")


def test_a_damaged_database_is_no_backup(home, tmp_path):
    size = (home / "control.db").stat().st_size
    with (home / "control.db").open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(size - 4096))
    with pytest.raises(Exception, match=r"control\.db"):
        make_backup(home, tmp_path / "b", now=NOW)
    assert not (tmp_path / "b").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("where", ["missing", "inside"])
def test_places_that_cannot_be(home, tmp_path, where):
    folder, target = (tmp_path / "none", tmp_path / "b") if where == "missing" else (home, home / "b")
    with pytest.raises(InvalidInput):
        make_backup(folder, target, now=NOW)


def test_a_folder_that_is_not_empty_is_kept_beside_with_force_only(home, tmp_path):
    make_backup(home, tmp_path / "b", now=NOW)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("mine")
    with pytest.raises(Conflict, match="not empty"):
        restore_backup(tmp_path / "b", other, now=NOW)
    restore_backup(tmp_path / "b", other, now=NOW, force=True, dry_run=True)
    assert [path.name for path in other.iterdir()] == ["mine"]
    _, kept = restore_backup(tmp_path / "b", other, now=NOW, force=True)
    assert (kept / "mine").read_text() == "mine"
    assert (other / "control.db").is_file()
    assert not list(tmp_path.glob(".other*"))


def test_a_running_platform_is_not_replaced(home, tmp_path):
    make_backup(home, tmp_path / "b", now=NOW)
    journal = FileJournal(home / "journal")
    try:
        with pytest.raises(Conflict, match="runs"):
            restore_backup(tmp_path / "b", home, now=NOW, force=True)
    finally:
        journal.close()


def test_every_damaged_byte_is_noticed_and_nothing_is_changed(home, tmp_path):
    make_backup(home, tmp_path / "b", now=NOW)
    data = bytearray((tmp_path / "b").read_bytes())
    for place in range(10, len(data), max(len(data) // 40, 1)):
        broken = bytes(data[:place]) + bytes([data[place] ^ 0xFF]) + bytes(data[place + 1 :])
        (tmp_path / "broken").write_bytes(broken)
        with contextlib.suppress(BackupDamaged, InvalidInput):
            # A byte of padding or of an unused header field may differ without harm: then the content is right.
            restore_backup(tmp_path / "broken", tmp_path / "other", now=NOW, dry_run=True)
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_backup_is_refused(home, tmp_path, share):
    make_backup(home, tmp_path / "b", now=NOW)
    data = (tmp_path / "b").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    with pytest.raises((BackupDamaged, InvalidInput)):
        restore_backup(tmp_path / "cut", tmp_path / "other", now=NOW)
    assert not (tmp_path / "other").exists()


def rewrite(source, target, change):
    """Pack a backup anew with its entries changed: `change` takes and gives a list of (TarInfo, bytes)."""
    entries = []
    with tarfile.open(source) as tar:
        for info in tar:
            entries.append((info, tar.extractfile(info).read()))
    with tarfile.open(target, "w:gz") as tar:
        for info, body in change(entries):
            if info.isreg():
                info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


def with_path(entries, path):
    """List a member under a hostile path, and name it so."""
    (first, body), (info, content), *rest = entries
    manifest = json.loads(body)
    manifest["members"][0]["path"] = info.name = path
    return [(first, json.dumps(manifest).encode()), (info, content), *rest]


@pytest.mark.parametrize(
    "path", ["../evil", "/tmp/evil", "a/../../evil", "a//b", "./evil", "", "a\nb", "x/" * 20 + "y"]
)
def test_paths_out_of_the_folder_are_refused(home, tmp_path, path):
    make_backup(home, tmp_path / "b", now=NOW)
    rewrite(tmp_path / "b", tmp_path / "evil.tar.gz", lambda entries: with_path(entries, path))
    with pytest.raises(BackupDamaged, match="path"):
        restore_backup(tmp_path / "evil.tar.gz", tmp_path / "other", now=NOW)
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(home, tmp_path, kind):
    def change(entries):
        info = entries[1][0]
        info.type, info.linkname = kind, "/etc/passwd"
        return entries

    make_backup(home, tmp_path / "b", now=NOW)
    rewrite(tmp_path / "b", tmp_path / "evil.tar.gz", change)
    with pytest.raises(BackupDamaged):
        restore_backup(tmp_path / "evil.tar.gz", tmp_path / "other", now=NOW)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda entries: entries[:-1], "missing"),
        (lambda entries: [*entries, entries[-1]], "twice"),
        (lambda entries: [entries[0], (entries[1][0], entries[1][1] + b"x"), *entries[2:]], "size"),
        (lambda entries: [entries[0], (entries[1][0], entries[1][1][:-1] + b"\xff"), *entries[2:]], "SHA-256"),
        (lambda entries: entries[1:], "list"),
    ],
)
def test_what_is_wrong_is_named(home, tmp_path, change, what):
    make_backup(home, tmp_path / "b", now=NOW)
    rewrite(tmp_path / "b", tmp_path / "bad", change)
    with pytest.raises((BackupDamaged, InvalidInput), match=what):
        restore_backup(tmp_path / "bad", tmp_path / "other", now=NOW)


@pytest.mark.parametrize(("field", "value"), [("format", 2), ("schema", "9999")])
def test_a_newer_backup_is_refused(home, tmp_path, field, value):
    def change(entries):
        manifest = json.loads(entries[0][1]) | {field: value}
        return [(entries[0][0], json.dumps(manifest).encode()), *entries[1:]]

    make_backup(home, tmp_path / "b", now=NOW)
    rewrite(tmp_path / "b", tmp_path / "newer", change)
    with pytest.raises(InvalidInput, match="newer"):
        restore_backup(tmp_path / "newer", tmp_path / "other", now=NOW)


@pytest.mark.parametrize("content", [b"", b"hello", gzip.compress(b"hello", mtime=0), b"\x1f\x8b" + b"\0" * 50])
def test_other_files_are_no_backup(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises((InvalidInput, BackupDamaged)):
        restore_backup(tmp_path / "f", tmp_path / "other", now=NOW)


def test_a_huge_list_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_form, "MAX_MANIFEST_BYTES", 10)
    with tarfile.open(tmp_path / "f", "w:gz") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = 11
        tar.addfile(info, io.BytesIO(b"x" * 11))
    with pytest.raises(InvalidInput):
        read_manifest(tmp_path / "f")


def test_upgrade_check_tells_what_a_start_would_do(home):
    report = check_upgrade(home)
    assert (report.data_schema, report.code_schema, report.migrations, report.problems) == (HEAD, HEAD, (), ())
    assert any("cannot know" in line for line in report.notes)


def test_upgrade_check_of_no_data_and_of_newer_data(home, tmp_path):
    assert any("no control database" in line for line in check_upgrade(tmp_path / "none").notes)
    with contextlib.closing(sqlite3.connect(home / "control.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert any("9999" in line for line in check_upgrade(home).problems)


def test_upgrade_check_names_a_damaged_checkpoint(home):
    (home / "checkpoint").write_bytes(b"TWCHKP1\nxxxx")
    assert any("damaged" in line for line in check_upgrade(home).problems)


def test_a_start_runs_the_steps_after_the_revision_of_the_data():
    known = list(known_revisions())
    assert known[-1] == HEAD
    assert [line.partition(":")[0] for line in steps_after("")] == known
    assert steps_after(HEAD) == []


def test_upgrade_check_reads_the_version_of_the_event_store(home):
    with contextlib.closing(duckdb.connect(str(home / "events" / "events.duckdb"))) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        connection.execute("DELETE FROM schema_version")
        connection.execute("INSERT INTO schema_version VALUES (99)")
    assert any("events.duckdb has version 99" in line for line in check_upgrade(home).problems)
