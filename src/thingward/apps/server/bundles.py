"""Evidence bundles on disk: core writes them, the server lists them and hands them out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from thingward.apps.server.deps import Deps
from thingward.model.errors import NotFound

FOLDER: Final = "bundles"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_SHOWN: Final = 200


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A signed evidence bundle that can be downloaded."""

    name: Annotated[str, Meta(examples=["evidence-case-2026-11-22.zip"])]
    size_bytes: int
    time: float


def list_bundles(deps: Deps) -> tuple[Bundle, ...]:
    """List the newest bundles."""
    folder = deps.options.data_dir / FOLDER
    files = [path for path in folder.glob("*") if path.is_file() and _NAME.fullmatch(path.name)]
    stats = sorted(((path, path.stat()) for path in files), key=lambda row: row[1].st_mtime, reverse=True)
    return tuple(Bundle(name=path.name, size_bytes=stat.st_size, time=stat.st_mtime) for path, stat in stats[:_SHOWN])


def bundle_path(deps: Deps, name: str) -> Path:
    """Find a bundle by its name; raises NotFound, also for names that point elsewhere."""
    path = deps.options.data_dir / FOLDER / name
    if not _NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
        raise NotFound(f"there is no bundle {name!r}.")
    return path
