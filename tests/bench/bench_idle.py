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

from tests.bench.harness import Bench, NotHere, Pair, benchmark
from tests.conftest import namespace_command

_SETTLE_S = 5.0
#: The sensor loads its compiled kernels first.
_LIVE_SETTLE_S = 15.0
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
            return sum(memory_mb(process).values())

    yield Pair(ours=measure, note=f"{_SETTLE_S:.0f} s after the greeting, no interface watched")


@benchmark("platform.idle_memory_live", unit="MB", better="less", rounds=1)
def platform_memory_live(bench: Bench) -> Iterator[Pair]:
    """The same with a sensor on an interface and a listener for syslog."""
    if os.geteuid() != 0 or not namespace_command():
        raise NotHere("needs root and network namespaces")
    shares: dict[str, float] = {}

    def measure() -> float:
        syslog = {"THINGWARD_SENSOR__SYSLOG_LISTEN": "127.0.0.1:5514"}
        with platform(bench.scratch / "live", "--interface", "tap0", **syslog) as process:
            _await_children(process, {"sensor", "logs"})
            time.sleep(_LIVE_SETTLE_S)
            shares.update(memory_mb(process))
            return sum(shares.values())

    yield Pair(ours=measure, note=lambda: ", ".join(f"{name} {size:.0f}" for name, size in shares.items()))


def memory_mb(supervisor: psutil.Process) -> dict[str, float]:
    """Give the memory of each process by its name, in MB."""
    found: dict[str, float] = {}
    for member in [supervisor, *supervisor.children(recursive=True)]:
        name = _name_of(member)
        found[name] = found.get(name, 0.0) + member.memory_full_info().pss / 1e6
    return found


def _name_of(process: psutil.Process) -> str:
    modules = [part for part in process.cmdline() if part.startswith("thingward.apps.")]
    return modules[0].rpartition(".")[2] if modules else process.name()


def _await_children(supervisor: psutil.Process, names: set[str]) -> None:
    while not names <= {_name_of(child) for child in supervisor.children(recursive=True)}:
        time.sleep(0.1)


def _own_network() -> tuple[str, ...]:
    """As root there is a warden: it gets a network of its own, so that this machine's rules stay untouched."""
    links = (
        "ip link set lo up && ip link add tap0 type veth peer name tap1 && ip link set tap0 up && ip link set tap1 up"
    )
    return ("unshare", "--net", "sh", "-c", f'{links} && exec "$@"', "sh") if os.geteuid() == 0 else ()


@contextlib.contextmanager
def platform(folder: Path, *arguments: str, **environment: str) -> Iterator[psutil.Process]:
    """Run `thingward up` on a free port until the block ends; gives the supervisor once it greeted."""
    program = Path(sys.executable).parent / "thingward"
    command = [*_own_network(), program, "up", "--data-dir", folder, "--port", "0", *arguments]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **environment}
    )
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
