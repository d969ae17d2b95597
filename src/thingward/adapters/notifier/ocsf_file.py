"""OCSF JSON lines in a file, turned over by size: one line per finding, case, action and outcome."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from thingward.model.errors import Unavailable
from thingward.model.flow import Notify
from thingward.model.record import Record

MAX_FILE_BYTES = 64 * 1024 * 1024
KEPT_FILES = 3


class OcsfFileNotifier:
    """Appends lines, owner-only; at 64 MiB the file is turned over and three older ones are kept."""

    name = "ocsf"

    def __init__(self, path: Path, render: Callable[[Record], dict[str, Any] | None]) -> None:
        self._path = path
        self._render = render

    async def notify(self, tenant: str, message: Notify) -> None:
        """Messages for people are not OCSF events."""

    async def export(self, tenant: str, record: Record) -> None:
        """Append one record; raises Unavailable if the disk refuses."""
        body = self._render(record)
        if body is not None:
            try:
                await asyncio.to_thread(self._append, msgspec.json.encode(body) + b"\n")
            except OSError as error:
                raise Unavailable(
                    f"cannot write {self._path}: {error.strerror}.", hint="Check notify.ocsf_file."
                ) from error

    def _append(self, line: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size + len(line) > MAX_FILE_BYTES:
            self._turn_over()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _turn_over(self) -> None:
        for index in range(KEPT_FILES, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{index}")
            newer = self._path if index == 1 else self._path.with_name(f"{self._path.name}.{index - 1}")
            if newer.exists():
                newer.replace(older)
