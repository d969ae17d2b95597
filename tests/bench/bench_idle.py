"""The whole platform at rest: how long until it greets, and what it keeps in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench.harness import Bench, Pair, benchmark

_SETTLE_S = 5.0
_GREETING = "Log in"


@benchmark("platform.start", unit="s", better="less", rounds=5, limit=10)
def platform_start(bench: Bench) -> Iterator[Pair]:
    """From the command to the login link, with an empty data folder, once set up."""
    folders = iter(range(100))

    def measure() -> float:
        begun = time.perf_counter()
        with platform(bench.scratch / f"start{next(folders)}"):
            return time.perf_counter() - begun

    yield Pair(ours=measure, note="core, store, server, supervisor and, as root, warden")


@benchmark("platform.idle_memory", unit="MB", better="less", rounds=1)
def platform_memory(bench: Bench) -> Iterator[Pair]:
    """Memory of all processes at rest; pages that they share are counted once (PSS)."""

    def measure() -> float:
        with platform(bench.scratch / "memory") as process:
            time.sleep(_SETTLE_S)
            family = [process, *process.children(recursive=True)]
            return sum(member.memory_full_info().pss for member in family) / 1e6

    yield Pair(ours=measure, note=f"{_SETTLE_S:.0f} s after the greeting, no interface watched")


def _own_network() -> tuple[str, ...]:
    """As root there is a warden: it gets a network of its own, so that this machine's rules stay untouched."""
    return ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh") if os.geteuid() == 0 else ()


@contextlib.contextmanager
def platform(folder: Path) -> Iterator[psutil.Process]:
    """Run `thingward up` on a free port until the block ends; gives the supervisor once it greeted."""
    program = Path(sys.executable).parent / "thingward"
    command = [*_own_network(), program, "up", "--data-dir", folder, "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(_GREETING):
                break
        else:
            raise RuntimeError(f"the platform ended with code {child.wait()} before it was ready")
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=30)
