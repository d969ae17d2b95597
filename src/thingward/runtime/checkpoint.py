"""A checkpoint: the state of all stages and the place in the journal that it belongs to, replaced as one."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Final

import msgspec

from thingward.model.errors import InvalidInput, Unavailable
from thingward.model.flow import Command

MAGIC: Final = b"TWCHKP1\n"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart begins with.

    Attributes:
        position: journal entries up to this one are contained.
        time: road time when it was taken.
        marks: stream to the highest sequence number that the journal holds of it.
        fed: stream to the highest sequence number that the snapshot contains; above `marks` where the journal refused.
        road: snapshot of the stages.
        commands: journal position of the decision, and those of its commands that were not carried out yet.
    """

    position: int = 0
    time: float = 0.0
    marks: dict[str, int] = {}
    fed: dict[str, int] = {}
    road: bytes = b""
    commands: dict[int, list[Command]] = {}


_decoder = msgspec.msgpack.Decoder(Checkpoint)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file, durably or not at all; raises Unavailable if the disk refuses."""
    body = msgspec.msgpack.encode(checkpoint)
    draft = path.with_suffix(".new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(f"the checkpoint cannot be written: {error.strerror}.", hint="Free some space.") from error


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Give the last checkpoint, None if there never was one; raises InvalidInput if it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, body = data[len(MAGIC) : len(MAGIC) + 4], data[len(MAGIC) + 4 :]
    if not data.startswith(MAGIC) or zlib.crc32(body).to_bytes(4, "little") != checksum:
        raise InvalidInput(f"{path} is damaged.", hint="Restore a backup, or move it away to learn anew.")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.", hint="Was it written by a newer thingward?") from error
