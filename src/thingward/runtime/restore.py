"""Put a backup back: verified whole in a folder beside, then swapped in at one stroke."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

from thingward.adapters.control_store.revisions import known_revisions
from thingward.adapters.link.unix import unix_address
from thingward.model.errors import Conflict, InvalidInput
from thingward.runtime.archive import Manifest, read_manifest, sync_folder, unpack_archive

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def restore_backup(
    archive: Path, home: Path, *, now: float, force: bool = False, dry_run: bool = False
) -> tuple[Manifest, Path | None]:
    """Replace the data folder by what a backup holds.

    Args:
        force: also where the data folder is not empty; what was there is kept in a folder beside it.
        dry_run: verify the whole backup and every condition, change nothing.
    Returns:
        The list, and where the old data folder went, if there was one.
    Raises:
        Conflict: the platform runs, or the folder is not empty. BackupDamaged, InvalidInput: the backup.
    """
    manifest = read_manifest(archive)
    if manifest.schema and manifest.schema not in known_revisions():
        raise InvalidInput(
            f"{archive} has tables of revision {manifest.schema}, which this version does not know.",
            hint=f"Restore it with thingward {manifest.version} or newer.",
        )
    _verify_target(home, force=force)
    if dry_run:
        return unpack_archive(archive, None), None
    home.parent.mkdir(parents=True, exist_ok=True)
    _verify_room(home.parent, manifest)
    draft = Path(tempfile.mkdtemp(prefix=f".{home.name}-restore-", dir=home.parent))
    try:
        unpack_archive(archive, draft)
        _sync_tree(draft)
        _verify_target(home, force=force)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    try:
        return manifest, _swap(draft, home, now)
    except OSError as error:
        raise InvalidInput(
            f"cannot put {draft} in the place of {home}: {error.strerror}.", hint=f"The restored data is in {draft}."
        ) from error


def is_running(home: Path) -> bool:
    """Tell whether a process of the platform works with this data folder: a socket answers, or a journal is held."""
    for path in sorted((home / "run").glob("*.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                with unix_address(path) as address:
                    probe.connect(address)
                return True
            except OSError:
                continue
    return any(_is_locked(path) for path in (*home.rglob("lock"), *home.rglob("*.lock")))


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _verify_target(home: Path, *, force: bool) -> None:
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise Conflict(f"{home} is no folder.", hint="Name the data folder itself with --data-dir.")
    if not home.exists():
        return
    if is_running(home):
        raise Conflict(f"the platform runs with {home}.", hint="Stop it first.")
    if any(home.iterdir()) and not force:
        raise Conflict(f"{home} is not empty.", hint="With --force it is kept beside, and replaced.")


def _verify_room(folder: Path, manifest: Manifest) -> None:
    needed = sum(member.size for member in manifest.members)
    if shutil.disk_usage(folder).free < needed + (16 << 20):
        raise InvalidInput(
            f"{folder} has no room for {needed >> 20} MiB.", hint="Free some space; nothing was changed."
        )


def _swap(draft: Path, home: Path, now: float) -> Path | None:
    os.chmod(draft, 0o700)
    if not home.exists() or not any(home.iterdir()):
        os.rename(draft, home)  # over an empty folder too
        sync_folder(home.parent)
        return None
    kept = home.with_name(f"{home.name}.before-restore-{int(now)}")
    if kept.exists():
        raise Conflict(f"{kept} exists already.", hint="Move it away.")
    if _exchange(draft, home):
        os.rename(draft, kept)
    else:
        os.rename(home, kept)
        os.rename(draft, home)
    sync_folder(home.parent)
    return kept


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the kernel or file system cannot."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    done = function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return bool(done == 0)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
    sync_folder(folder)
