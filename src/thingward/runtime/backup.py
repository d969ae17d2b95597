"""Back up the data folder while the platform runs or not.

What a file is is told by its content, not by its name, so that nothing that the platform keeps is forgotten. Order:
checkpoint, control database, then the journal; and all of it again if the checkpoint moved meanwhile. Every change of
the control database is in the journal before, so that a replay from that checkpoint leads to all that the copy holds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from thingward._version import __version__
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.runtime.archive import FORMAT, MAX_DEPTH, MAX_MEMBERS, Manifest, measure, write_archive
from thingward.runtime.checkpoint import MAGIC as CHECKPOINT_MAGIC

ATTEMPTS: Final = 8
MAX_PLAIN_BYTES: Final = 256 << 20
_SKIPPED_FOLDERS: Final = frozenset({"run", "spool", "cache", "log", "__pycache__"})
_SKIPPED_ENDS: Final = (".lock", "-wal", "-shm", ".wal", ".part", ".new", ".tmp")
SETTINGS_COPY: Final = "settings-of-backup.toml"
_JOURNAL_MAGIC: Final = b"TWJRNL1\n"
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_DUCKDB_MAGIC: Final = b"DUCK"

Say = Callable[[str], None]


class _Contents(msgspec.Struct):
    """Files of the data folder by what they are, relative to it."""

    checkpoints: list[str] = []
    databases: list[str] = []
    journals: list[str] = []
    stores: list[str] = []
    plain: list[str] = []
    left_out: list[str] = []


def make_backup(
    home: Path,
    target: Path,
    *,
    now: float,
    settings_file: Path | None = None,
    elsewhere: Sequence[str] = (),
    say: Say = lambda line: None,
) -> Manifest:
    """Copy everything, verify what can be verified, and pack it into one owner-only file.

    Args:
        settings_file: a settings file outside the data folder; goes in as SETTINGS_COPY.
        elsewhere: what is kept outside the data folder and therefore left out, in plain lines.
    Raises:
        InvalidInput: there is no data folder, or the file cannot be written.
        Unavailable: core went on writing checkpoints so fast that no whole copy came about.
    """
    _verify_places(home, target)
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".thingward-backup-", dir=target.parent)
    except OSError as error:
        raise InvalidInput(f"cannot write in {target.parent}: {error.strerror}.") from error
    with scratch as name:
        folder = Path(name)
        left_out = [*elsewhere, *_copy_all(home, folder, say)]
        if settings_file is not None and not settings_file.resolve().is_relative_to(home.resolve()):
            _copy_plain(settings_file, folder / SETTINGS_COPY)
        members = tuple(
            measure(folder, str(path.relative_to(folder))) for path in sorted(folder.rglob("*")) if path.is_file()
        )
        if not members:
            raise InvalidInput(f"{home} holds nothing to back up.")
        manifest = Manifest(
            format=FORMAT,
            version=__version__,
            schema=_schema(folder),
            time=now,
            members=members,
            left_out=tuple(left_out),
        )
        write_archive(target, folder, manifest)
        return manifest


def plan_backup(home: Path, target: Path) -> list[str]:
    """Give what a backup would copy, relative to the data folder."""
    _verify_places(home, target)
    found = _survey(home)
    return sorted((*found.checkpoints, *found.databases, *found.journals, *found.stores, *found.plain))


def _verify_places(home: Path, target: Path) -> None:
    if not home.is_dir():
        raise InvalidInput(f"there is no data folder {home}.", hint="Name another with --data-dir.")
    if target.resolve().is_relative_to(home.resolve()):
        raise InvalidInput(f"{target} lies in the data folder.", hint="Keep backups elsewhere.")


def _copy_all(home: Path, folder: Path, say: Say) -> list[str]:
    for _ in range(ATTEMPTS):
        found = _survey(home)
        before = _checkpoint_state(home, found)
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(FileNotFoundError):  # a segment was truncated away: the checkpoint moved
            for name in found.checkpoints:
                _copy_file(home, folder, name)
            for name in found.databases:
                say(f"copying {name}")
                copy_sqlite(home / name, _place(folder, name))
            for name in found.journals:
                _copy_file(home, folder, name)
            after = _survey(home)
            if _checkpoint_state(home, after) == before and set(found.journals) <= set(after.journals):
                break
    else:
        raise Unavailable("the journal moved on during every copy.", hint="Try again in a minute.")
    left_out = list(found.left_out)
    for name in found.plain:
        with contextlib.suppress(FileNotFoundError):
            _copy_file(home, folder, name)
    for name in found.stores:
        say(f"copying {name}")
        reason = copy_event_store(home / name, _place(folder, name))
        if reason:
            left_out.append(f"{name}: {reason}")
    return left_out


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database while others use it; raises Unavailable if it cannot be read or is damaged."""
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as live,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy, pages=1024, sleep=0.01)
            copy.execute("PRAGMA journal_mode=DELETE")
            (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise Unavailable(f"{source.name} cannot be copied: {error}.", hint="Try again.") from error
    if verdict != "ok":
        raise Unavailable(
            f"{source.name} is damaged: {verdict}.", hint="Keep this folder, and restore an older backup."
        )


def copy_event_store(source: Path, target: Path) -> str:
    """Copy a DuckDB file and its log, and open the copy to prove it; gives why it could not be done, else nothing.

    The store process changes the file itself only at its checkpoints and appends to the log between them: a copy
    during which the file did not change is a whole one.
    """
    from thingward.adapters.event_store.duckdb import DuckdbEventStore

    log, log_copy = source.with_name(source.name + ".wal"), target.with_name(target.name + ".wal")
    reason = "it changed during every copy"
    for _ in range(ATTEMPTS):
        before = _stamp(source)
        try:
            _copy_plain(log, log_copy)
            _copy_plain(source, target)
            if _stamp(source) == before:
                DuckdbEventStore(target).close()
                log_copy.unlink(missing_ok=True)
                return ""
        except ThingwardError as error:
            reason = str(error)
        except OSError as error:
            reason = error.strerror or type(error).__name__
    target.unlink(missing_ok=True)
    log_copy.unlink(missing_ok=True)
    return f"{reason}; stop the platform and back up again to have it"


def _survey(home: Path) -> _Contents:
    found, count = _Contents(), 0
    for folder, folders, files in os.walk(home):
        here = Path(folder)
        depth = len(here.relative_to(home).parts)
        folders[:] = sorted(name for name in folders if _is_wanted(here / name) and depth < MAX_DEPTH - 1)
        for name in sorted(files):
            path = here / name
            if path.is_symlink() or not path.is_file() or name.endswith(_SKIPPED_ENDS) or name == "lock":
                continue
            count += 1
            if count > MAX_MEMBERS:
                raise InvalidInput(f"{home} holds more than {MAX_MEMBERS} files.", hint="Is it the data folder?")
            _sort_in(found, path, str(path.relative_to(home)))
    return found


def _is_wanted(folder: Path) -> bool:
    if folder.is_symlink() or folder.name in _SKIPPED_FOLDERS or folder.name.startswith("."):
        return False
    return not (folder / "numbers.json").is_file() and "spool" not in folder.name


def _sort_in(found: _Contents, path: Path, name: str) -> None:
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
        size = path.stat().st_size
    except OSError as error:
        found.left_out.append(f"{name}: {error.strerror}")
        return
    if head.startswith(_SQLITE_MAGIC):
        found.databases.append(name)
    elif head[8:12] == _DUCKDB_MAGIC:
        found.stores.append(name)
    elif head.startswith(CHECKPOINT_MAGIC):
        found.checkpoints.append(name)
    elif head.startswith(_JOURNAL_MAGIC):
        found.journals.append(name)
    elif size > MAX_PLAIN_BYTES:
        found.left_out.append(f"{name}: no file of the platform is that large")
    else:
        found.plain.append(name)


def _checkpoint_state(home: Path, found: _Contents) -> list[tuple[str, int, int, int]]:
    return [(name, *_stamp(home / name)) for name in found.checkpoints]


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return (0, 0, 0)
    return (state.st_ino, state.st_size, state.st_mtime_ns)


def _place(folder: Path, name: str) -> Path:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return target


def _copy_file(home: Path, folder: Path, name: str) -> None:
    _copy_plain(home / name, _place(folder, name), needed=True)


def _copy_plain(source: Path, target: Path, *, needed: bool = False) -> None:
    try:
        shutil.copyfile(source, target)
        os.chmod(target, 0o600)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        if needed:
            raise


def _schema(folder: Path) -> str:
    revisions = [schema_of(path) for path in sorted(folder.rglob("*")) if path.is_file() and is_sqlite(path)]
    return next((revision for revision in revisions if revision), "")


def is_sqlite(path: Path) -> bool:
    """Tell whether a file is a SQLite database."""
    try:
        with path.open("rb") as stream:
            return stream.read(16) == _SQLITE_MAGIC
    except OSError:
        return False


def schema_of(path: Path) -> str:
    """Give the revision of a control database's tables, empty if it has none or cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""
