"""Suricata's EVE JSON lines to observations: flow, dns, dhcp, http, tls, ssh, mqtt, snmp, alert."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from thingward.model.observation import Observation
from thingward.sensing.eve_bodies import EVE_BODIES
from thingward.sensing.log_files import LogContext, LogTally, count, open_log, read_lines


class EveLog:
    """Reads one EVE file or stream line by line."""

    def __init__(self, context: LogContext, name: str) -> None:
        self.tally = LogTally(context, name)
        self.tally.format = "suricata eve"

    def feed(self, line: bytes) -> list[Observation]:
        """Take the next line; gives what it says, or a Malformed observation."""
        tally = self.tally
        tally.lines += 1
        tally.bytes += len(line) + 1
        if not line.strip():
            return []
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return tally.bad_line("eve", "not JSON", line)
        if not isinstance(row, dict):
            return tally.bad_line("eve", "not an object", line)
        kind = row.get("event_type")
        time = eve_time(row.get("timestamp"))
        if not isinstance(kind, str) or time is None:
            return tally.bad_line("eve", "no event type or time", line)
        bodies = EVE_BODIES.get(kind)
        if bodies is None:
            count(tally.ignored, f"{kind[:32]} event")
            return []
        try:
            return tally.observations(bodies(time, row), line)
        except (KeyError, TypeError, ValueError, AttributeError):
            return tally.bad_line("eve", f"bad value in {kind} event", line)


def eve_time(value: Any) -> float | None:
    """Read Suricata's time stamp, ISO 8601 with microseconds and offset; None if it is none."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        return None


def read_eve_file(path: Path, context: LogContext) -> Iterator[Observation]:
    """Read one EVE file, plain or gzip; the last observation says what was read."""
    log = EveLog(context, str(path))
    try:
        with open_log(path) as stream:
            for line in read_lines(stream):
                yield from log.feed(line)
    except (OSError, EOFError) as error:
        log.tally.error = f"{type(error).__name__}: {error}"[:200]
    yield log.tally.summary(complete=not log.tally.error)
