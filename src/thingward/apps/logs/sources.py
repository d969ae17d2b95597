"""Sources of the process: each gives observations when asked, and its own proof of life."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from thingward.adapters.log_source.follow import FileFollower, Position
from thingward.model.ids import hashed_uid
from thingward.model.observation import Observation, StatusData
from thingward.sensing.eve import EveLog
from thingward.sensing.log_files import LogContext
from thingward.sensing.zeek import ZeekLog

ALIVE_S: Final = 60.0
MAX_FILES: Final = 200
#: Zeek's current logs; rotated ones carry a date and were read under their first name.
_CURRENT: Final = re.compile(r"^[a-z0-9_]+\.log$")

Log = ZeekLog | EveLog


class Pulse:
    """Says that a source lives, that it was blind, and what was lost."""

    def __init__(self, context: LogContext, started: float) -> None:
        self._context = context
        self._started = started
        self._count = 0
        self._next = started
        self._blind_since = 0.0

    def beat(self, now: float, error: str, counts: dict[str, int]) -> list[Observation]:
        """Give what is due: `alive` every minute while there is no error, one `gap` when an error ends."""
        if error:
            self._blind_since = self._blind_since or now
            if now < self._next:
                return []
            self._next = now + ALIVE_S
            return [self.say(now, "stopped", error)]
        found = []
        if self._blind_since:
            found.append(self.say(now, "gap", "could not be read", gap_s=now - self._blind_since))
            self._blind_since = 0.0
        if now >= self._next:
            self._next = now + ALIVE_S
            found.append(self.say(now, "alive", "", counts=counts))
        return found

    def say(
        self, now: float, status: str, detail: str, *, gap_s: float = 0.0, counts: dict[str, int] | None = None
    ) -> Observation:
        """Give one status observation."""
        self._count += 1
        context = self._context
        return Observation(
            uid=hashed_uid("status", context.tenant, context.source, repr(self._started), str(self._count)),
            tenant=context.tenant,
            time=now,
            source=context.source,
            site=context.site,
            data=StatusData(status=status, detail=detail, gap_s=gap_s, counts=counts or {}),
        )


class FileSource:
    """One EVE file, or one folder of Zeek logs."""

    def __init__(
        self, path: Path, kind: str, context: LogContext, *, positions: dict[str, Position], now: float
    ) -> None:
        self.context = context
        self._path = path
        self._kind = kind
        self._positions = positions
        self._followers: dict[Path, FileFollower] = {}
        self._logs: dict[Path, Log] = {}
        self._pulse = Pulse(context, now)
        self._lines = 0
        self.is_behind = False

    def poll(self, now: float) -> list[Observation]:
        """Read what is new."""
        observations: list[Observation] = []
        error = self._find()
        self.is_behind = False
        for path, follower in self._followers.items():
            chunk = follower.poll()
            self.is_behind |= chunk.is_behind
            if chunk.lost:
                observations.append(self._pulse.say(now, "drops", f"{path.name}: {chunk.lost}", counts={"logs": 1}))
            if chunk.is_new or path not in self._logs:
                self._logs[path] = self._make(path, chunk.head, chunk.before)
            log = self._logs[path]
            for line in chunk.lines:
                observations += log.feed(line)
            self._lines += len(chunk.lines)
            error = error or follower.error
        counts = {"lines": self._lines}
        return [*observations, *self._pulse.beat(now, error, counts)]

    def positions(self) -> dict[str, Position]:
        """Give where each file's reading goes on."""
        return {str(path): f.position for path, f in self._followers.items() if f.position is not None}

    def close(self) -> None:
        """Close all files."""
        for follower in self._followers.values():
            follower.close()

    def _find(self) -> str:
        if self._kind == "eve":
            paths = [self._path]
        else:
            try:
                paths = sorted(path for path in self._path.iterdir() if _CURRENT.match(path.name))[:MAX_FILES]
            except OSError as error:
                return f"{self._path}: {error.strerror}"
        for path in paths:
            if path not in self._followers:
                self._followers[path] = FileFollower(path, self._positions.get(str(path)))
        return ""

    def _make(self, path: Path, head: tuple[bytes, ...], before: int) -> Log:
        log: Log = EveLog(self.context, str(path)) if self._kind == "eve" else ZeekLog(self.context, str(path))
        for line in head:
            log.feed(line)
        log.tally.lines = before
        return log
