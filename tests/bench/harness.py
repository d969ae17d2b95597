"""How a benchmark is written, measured and reported.

A benchmark is a generator function in `tests/bench/bench_<topic>.py`. It prepares its input, yields what to measure
and cleans up after the yield (in
a `finally` or `with`, as for any context manager):

    @benchmark("sensor.flows", unit="packets/s", limit=20)
    def flows(bench: Bench) -> Iterator[Pair]:
        capture = merged_capture(bench.scratch)
        parse(capture)  # compiled before the clock starts
        yield Pair(
            ours=lambda: rate(1_000_000, lambda: parse(capture)),
            peer=lambda: rate(1_000_000, lambda: peer_parse(capture)),
            peer_name="nfstream 6.6",
        )

`ours` and `peer` each return one figure in `unit`. The rounds are interleaved and change their order, so that a slow
minute of the machine hits both. The ratio is the median of the rounds' ratios and is above 1 where we are better. A
benchmark without a peer yields `Pair(ours=...)` and has no ratio: its limit is then on the figure itself.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent.parent
Measure = Callable[[], float]


class NotHere(Exception):
    """The benchmark needs something that this machine lacks; the message names it."""


@dataclass(frozen=True)
class Pair:
    """What one round measures: a figure of ours and, where there is one, the peer's. A note may be made at the end."""

    ours: Measure
    peer: Measure | None = None
    peer_name: str = ""
    note: str | Callable[[], str] = ""


@dataclass(frozen=True)
class Bench:
    """What a benchmark may use: a folder that is removed afterwards, and the shared data."""

    scratch: Path
    data: Path


Body = Callable[[Bench], Iterator[Pair]]


@dataclass(frozen=True)
class Benchmark:
    """A registered benchmark.

    `limit` is the bound to keep: the least ratio where there is a peer; else the least figure (`better="more"`) or the
    greatest (`better="less"`).
    """

    name: str
    unit: str
    body: Body
    better: Literal["more", "less"] = "more"
    rounds: int = 5
    limit: float | None = None


@dataclass
class Result:
    """One row of build/bench.json."""

    name: str
    unit: str
    rounds: int
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    spread: float | None = None
    better: str = "more"
    peer_name: str = ""
    limit: float | None = None
    ok: bool | None = None
    note: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)


REGISTRY: dict[str, Benchmark] = {}


def benchmark(
    name: str,
    *,
    unit: str,
    better: Literal["more", "less"] = "more",
    rounds: int = 5,
    limit: float | None = None,
) -> Callable[[Body], Body]:
    """Register a benchmark under `topic.what`; `make bench ONLY=topic` runs those that begin so."""

    def register(body: Body) -> Body:
        if name in REGISTRY and REGISTRY[name].body.__module__ != body.__module__:
            raise ValueError(f"two benchmarks are called {name}")
        REGISTRY[name] = Benchmark(name, unit, body, better, rounds, limit)
        return body

    return register


def seconds(work: Callable[[], object]) -> float:
    """Time one call, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rate(count: int, work: Callable[[], object]) -> float:
    """Time one call that handles `count` things, in things per second."""
    return count / max(seconds(work), 1e-9)


def process_seconds(command: Sequence[str | Path], **options: Any) -> float:
    """Time a whole process that must succeed, in seconds."""
    return seconds(lambda: subprocess.run([str(part) for part in command], check=True, capture_output=True, **options))


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest figure that at least `share` (0 to 1) of all do not exceed."""
    ordered = sorted(figures)
    rank = max(0, min(len(ordered) - 1, -(-int(share * 10_000) * len(ordered) // 10_000) - 1))
    return ordered[rank]


def discover() -> dict[str, Benchmark]:
    """Import every bench module, so that REGISTRY is complete."""
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        importlib.import_module(f"tests.bench.{path.stem}")
    return dict(sorted(REGISTRY.items()))


def run(entry: Benchmark, data: Path, rounds: int | None = None) -> Result:
    """Measure one benchmark; what goes wrong becomes the row's note, so that the others still run."""
    result = Result(entry.name, entry.unit, rounds or entry.rounds, better=entry.better, limit=entry.limit)
    with tempfile.TemporaryDirectory(prefix="thingward-bench-") as scratch:
        try:
            with contextmanager(entry.body)(Bench(Path(scratch), data)) as pair:
                _measure(pair, result)
        except NotHere as lack:
            result.note = f"not here: {lack}"
        except Exception as error:  # one broken benchmark must not hide the others' figures
            result.note, result.ok = f"failed: {type(error).__name__}: {error}", False
    return result


def _measure(pair: Pair, result: Result) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(result.rounds):
        steps = [(pair.ours, ours)] + ([(pair.peer, theirs)] if pair.peer else [])
        for measure, figures in steps if turn % 2 == 0 else reversed(steps):
            figures.append(float(measure()))
    result.peer_name, result.note = pair.peer_name, pair.note() if callable(pair.note) else pair.note
    result.figures = {"ours": ours} | ({"peer": theirs} if theirs else {})
    result.ours = statistics.median(ours)
    compared = ours
    if theirs:
        result.peer = statistics.median(theirs)
        compared = [_ratio(mine, other, result.better) for mine, other in zip(ours, theirs, strict=True)]
        result.ratio = statistics.median(compared)
    middle = statistics.median(compared)
    result.spread = (max(compared) - min(compared)) / middle if middle else 0.0
    result.ok = within(result)


def _ratio(ours: float, peer: float, better: str) -> float:
    return ours / peer if better == "more" else peer / ours


def within(result: Result) -> bool | None:
    """Tell whether the limit is kept; None if there is none."""
    if result.limit is None or result.ours is None:
        return None
    if result.ratio is not None:
        return result.ratio >= result.limit
    return result.ours >= result.limit if result.better == "more" else result.ours <= result.limit


def write(results: Sequence[Result], path: Path) -> None:
    """Write the rows as JSON; names that were not run this time keep their old row."""
    old = json.loads(path.read_text()) if path.exists() else []
    rows = {row["name"]: row for row in old}
    rows |= {result.name: dict(vars(result)) for result in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([rows[name] for name in sorted(rows)], indent=1) + "\n")


def table(results: Sequence[Result]) -> str:
    """The rows for people: medians, ratio above 1 where we are better, spread of the rounds."""
    head = ("benchmark", "ours", "peer", "ratio", "spread", "unit", "limit", "")
    rows = [head]
    for row in results:
        limit = (
            ""
            if row.limit is None
            else f"{'>=' if row.ratio is not None or row.better == 'more' else '<='} {row.limit:g}"
        )
        verdict = {True: "ok", False: "MISSED", None: ""}[row.ok]
        peer = f"{number(row.peer)} ({row.peer_name})" if row.peer is not None else row.peer_name
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        spread = "" if row.spread is None else f"{row.spread:.0%}"
        rows.append(
            (
                row.name,
                number(row.ours),
                peer,
                ratio,
                spread,
                row.unit,
                limit,
                " ".join(filter(None, (verdict, row.note))),
            )
        )
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=True)), cells[-1]]).rstrip()
        for cells in rows
    )


def number(value: float | None) -> str:
    """A figure with three or four significant digits."""
    if value is None:
        return "-"
    if abs(value) >= 1e5:
        return f"{value:,.0f}"
    return f"{value:.4g}"
