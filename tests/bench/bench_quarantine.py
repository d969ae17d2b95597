"""How fast a device is shut out: one set element, the enforcer alone, the whole platform."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.harness import ROOT, Bench, NotHere, Pair, benchmark, percentile
from tests.conftest import namespace_command

RUNS = 100


class Child:
    """A process in namespaces of its own; whatever it starts ends with it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, word: str) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the benchmark's child ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def child(*arguments: str | Path) -> Iterator[Child]:
    """Start a child; it is killed at the end."""
    command = namespace_command()
    if not command:
        raise NotHere("network namespaces are forbidden")
    if shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") is None:
        raise NotHere("nft is not installed")
    process = subprocess.Popen(
        [*command, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m",
         "tests.bench.enforce_child", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        yield Child(process)
    finally:
        process.kill()
        process.wait()


@benchmark("enforce.element", unit="elements/s", rounds=9)
def element(bench: Bench) -> Iterator[Pair]:
    """One element into a set and so into force, each a transaction of its own."""
    with child("elements") as inside:
        yield Pair(
            ours=lambda: float(inside.ask("ours")["rate"]),
            peer=lambda: float(inside.ask("peer")["rate"]),
            peer_name="nft -f - each time",
        )


@benchmark("enforce.call", unit="s (p99 of 100)", better="less", rounds=1, limit=1.0)
def enforcer_alone(bench: Bench) -> Iterator[Pair]:
    """From asking the warden to the last packet of the device that came through, 1,000 packets/s beside it."""
    with child("alone", bench.scratch) as inside:
        yield Pair(ours=lambda: _worst(inside, "took"), note="sample site; undo exact in every run")


def _worst(inside: Child, what: str) -> float:
    facts = [inside.ask("again") for _ in range(RUNS)]
    wrong = [fact for fact in facts if fact["status"] != "applied" or not fact["exact"]]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {RUNS} runs did not restore the rules exactly: {wrong[0]}")
    return percentile([fact[what] for fact in facts], 0.99)
