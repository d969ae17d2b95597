"""What the supervisor tells about its processes: a file in the run folder, replaced every second."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from thingward.runtime.supervise import ChildStatus

FILE_NAME = "platform.json"


class PlatformStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's processes; `started` in seconds since 1970, `pid` of the supervisor."""

    started: float
    pid: int
    address: str = ""
    processes: tuple[ChildStatus, ...] = ()


def write_platform_status(run_dir: Path, status: PlatformStatus) -> None:
    """Replace the file; raises OSError."""
    path = run_dir / FILE_NAME
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(status))
    draft.replace(path)


def read_platform_status(run_dir: Path) -> PlatformStatus | None:
    """Give what the supervisor wrote last, None if there is nothing or its process is gone."""
    try:
        status = msgspec.json.decode((run_dir / FILE_NAME).read_bytes(), type=PlatformStatus)
        os.kill(status.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return status
