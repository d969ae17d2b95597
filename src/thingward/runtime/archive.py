"""The form of a backup: a gzip-packed tar file whose first member lists all others with size and SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import msgspec

from thingward.model.errors import InvalidInput, ThingwardError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 16 << 20
MAX_MEMBERS: Final = 50_000
CHUNK_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 8


class BackupDamaged(ThingwardError):
    """The backup is damaged, incomplete, or holds what no backup of thingward holds; nothing was changed."""

    code = "backup.damaged"
    status = 422


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the backup; `path` is relative to the data folder."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the backup holds.

    Attributes:
        format: of the backup itself. version: of the thingward that made it.
        schema: revision of the control database, empty if there was none.
        time: when it was begun, seconds since 1970.
        left_out: what is not in it and why, in plain lines.
    """

    format: int
    version: str
    schema: str = ""
    time: float = 0.0
    members: tuple[Member, ...] = ()
    left_out: tuple[str, ...] = ()


def write_archive(target: Path, folder: Path, manifest: Manifest) -> None:
    """Pack a folder into an owner-only file, whole or not at all; raises InvalidInput if it cannot be written."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=6) as tar:
                body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
                tar.addfile(_entry(MANIFEST, len(body), manifest.time), io.BytesIO(body))
                for member in manifest.members:
                    with (folder / member.path).open("rb") as stream:
                        tar.addfile(_entry(member.path, member.size, manifest.time), stream)
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(draft, target)
        sync_folder(target.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InvalidInput(f"cannot write {target}: {error.strerror}.", hint="Choose another place.") from error


def measure(folder: Path, path: str) -> Member:
    """Give size and digest of a file that was copied into the folder."""
    digest, size = hashlib.sha256(), 0
    with (folder / path).open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return Member(path=path, size=size, sha256=digest.hexdigest())


def read_manifest(archive: Path) -> Manifest:
    """Read the list alone."""
    with open_archive(archive) as (manifest, _):
        return manifest


def unpack_archive(archive: Path, folder: Path | None) -> Manifest:
    """Verify every member and write it into an empty folder; with None only verify.

    Raises:
        BackupDamaged: names the member that is wrong. InvalidInput: it is no backup, or of a newer format.
    """
    with open_archive(archive) as (manifest, tar):
        wanted = {member.path: member for member in manifest.members}
        try:
            for info in tar:
                if info.name == MANIFEST:
                    continue
                member = wanted.pop(info.name, None)
                if member is None:
                    raise BackupDamaged(f"{info.name[:200]!r} is in the backup twice or is not in its list.")
                _take(tar, info, member, folder)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            missing = next(iter(wanted), "its end")
            raise BackupDamaged(f"{archive} is damaged at {missing}: {error}.") from error
        if wanted:
            raise BackupDamaged(f"{next(iter(wanted))} is missing in {archive}.")
        return manifest


@contextmanager
def open_archive(archive: Path) -> Iterator[tuple[Manifest, tarfile.TarFile]]:
    """Open a backup and read its list; members follow by iterating."""
    try:
        tar = tarfile.open(archive, mode="r|gz")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InvalidInput(f"cannot read {archive}: {error.strerror or error}.") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{archive} is no backup: {error}.") from error
    with tar:
        yield _manifest(archive, tar), tar


def _manifest(archive: Path, tar: tarfile.TarFile) -> Manifest:
    try:
        info = tar.next()
        stream = tar.extractfile(info) if info is not None and info.isreg() and info.name == MANIFEST else None
        if info is None or stream is None or info.size > MAX_MANIFEST_BYTES:
            raise InvalidInput(f"{archive} is no backup of thingward: its list does not come first.")
        body = stream.read()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BackupDamaged(f"{archive} is damaged at {MANIFEST}: {error}.") from error
    try:
        number = msgspec.json.decode(body, type=_Format).format
        if number > FORMAT:
            raise InvalidInput(
                f"{archive} has format {number}, this thingward reads up to {FORMAT}.", hint="Use a newer thingward."
            )
        manifest = msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupDamaged(f"{archive} is damaged at {MANIFEST}: {error}.") from error
    if len(manifest.members) > MAX_MEMBERS:
        raise BackupDamaged(f"{archive} lists more than {MAX_MEMBERS} files.")
    for member in manifest.members:
        _verify_path(member.path)
    return manifest


class _Format(msgspec.Struct):
    format: int


def _verify_path(path: str) -> None:
    pure = PurePosixPath(path)
    odd = pure.is_absolute() or ".." in pure.parts or str(pure) != path or len(pure.parts) > MAX_DEPTH
    if odd or not path or "\\" in path or not path.isprintable() or len(path) > 500 or path == MANIFEST:
        raise BackupDamaged(f"the path {path[:200]!r} is not one that a backup has.")


def _take(tar: tarfile.TarFile, info: tarfile.TarInfo, member: Member, folder: Path | None) -> None:
    if not info.isreg():
        raise BackupDamaged(f"{info.name[:200]!r} is a link or device, which no backup holds.")
    stream = tar.extractfile(info)
    if stream is None or info.size != member.size:
        raise BackupDamaged(f"{member.path} has not the size that the list says.")
    if folder is None:
        _copy(stream, None, member)
        return
    target = folder / member.path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        _copy(stream, out, member)
        out.flush()
        os.fsync(out.fileno())


def _copy(stream: object, out: BinaryIO | None, member: Member) -> None:
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK_BYTES):  # type: ignore[attr-defined]
        digest.update(chunk)
        size += len(chunk)
        if out is not None:
            out.write(chunk)
    if size != member.size or digest.hexdigest() != member.sha256:
        raise BackupDamaged(f"{member.path} is damaged: its SHA-256 is not the one in the list.")


def _entry(name: str, size: int, time: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time)
    return info


def sync_folder(path: Path) -> None:
    """Force a folder's entries to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
