"""Counters and gauges, rendered as Prometheus text."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Final

from thingward.apps.server.backend import Health

PREFIX: Final = "thingward_"
MAX_SERIES: Final = 2000
_BAD_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")

#: Metrics that the server itself keeps: name to help text. Those of core come with its health.
HELP: Final = {
    "http_requests_total": "Requests answered, by method, route and status.",
    "http_request_seconds_total": "Time spent answering requests, in seconds, by route.",
    "intents_total": "Intents of people handed to core, by kind and result.",
    "stream_clients": "Event streams open now.",
    "stream_dropped_total": "Records that slow event streams missed.",
    "captures_total": "Dropped captures, by result.",
    "series_dropped_total": "Series that the bound on metrics refused.",
    "up": "1 if the process answered, by process.",
    "source_blind_seconds": "How long a source was blind in the last 24 hours, in seconds.",
    "source_last_seen_seconds": "Last proof of life of a source, in seconds since 1970.",
    "store_bytes": "Size of the event store, in bytes.",
    "devices": "Known devices.",
    "quarantined": "Addresses that the enforcer holds in quarantine.",
}

Series = tuple[str, tuple[tuple[str, str], ...]]


class Metrics:
    """Values by name and labels; at most 2000 series."""

    def __init__(self) -> None:
        self._values: dict[Series, float] = defaultdict(float)

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        series = (name, tuple(sorted(labels.items())))
        if series not in self._values and len(self._values) >= MAX_SERIES:
            series = ("series_dropped_total", ())
        self._values[series] += amount

    def put(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._values[name, tuple(sorted(labels.items()))] = value

    def value(self, name: str, **labels: str) -> float:
        """Give one value, 0 if it was never counted."""
        return self._values.get((name, tuple(sorted(labels.items()))), 0.0)

    def render(self, health: Health) -> str:
        """Give everything in the text format (version 0.0.4)."""
        values = dict(self._values) | health_series(health)
        lines: list[str] = []
        last = ""
        for (name, labels), value in sorted(values.items()):
            if name != last:
                lines += [f"# HELP {PREFIX}{name} {HELP.get(name, 'Counted by core.')}", _type_line(name)]
                last = name
            lines.append(f"{PREFIX}{name}{_labels(labels)} {value:g}" if value % 1 else _whole(name, labels, value))
        return "\n".join(lines) + "\n"


def health_series(health: Health) -> dict[Series, float]:
    """Turn the platform's health into series."""
    rows: dict[Series, float] = {
        ("up", (("process", "core"),)): float(health.core),
        ("up", (("process", "store"),)): float(health.store),
        ("store_bytes", ()): float(health.store_bytes),
    }
    for process in health.processes:
        rows["up", (("process", process.name),)] = float(process.state == "running")
    for source in health.sources:
        rows["source_blind_seconds", (("source", source.name),)] = source.blind_s
        rows["source_last_seen_seconds", (("source", source.name),)] = source.last_seen
    if health.enforcer is not None:
        rows["quarantined", ()] = float(len(health.enforcer.quarantined))
    for name, value in sorted(health.counters.items())[:MAX_SERIES]:
        rows["core_" + _BAD_NAME.sub("_", name), ()] = value
    return rows


def _type_line(name: str) -> str:
    return f"# TYPE {PREFIX}{name} {'counter' if name.endswith('_total') else 'gauge'}"


def _whole(name: str, labels: tuple[tuple[str, str], ...], value: float) -> str:
    return f"{PREFIX}{name}{_labels(labels)} {int(value)}"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{_BAD_NAME.sub("_", key)}="{_escape(value)}"' for key, value in labels) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
