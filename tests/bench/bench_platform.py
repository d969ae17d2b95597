"""What the command line itself costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.harness import Bench, NotHere, Pair, benchmark, process_seconds


@benchmark("cli.start", unit="s", better="less", rounds=9)
def cli_start(bench: Bench) -> Iterator[Pair]:
    """`thingward --version` against an interpreter that does nothing."""
    program = Path(sys.executable).parent / "thingward"
    if not program.exists():
        raise NotHere("thingward is not installed beside this python")
    yield Pair(
        ours=lambda: process_seconds([program, "--version"]),
        peer=lambda: process_seconds([sys.executable, "-c", "pass"]),
        peer_name="python -c pass",
    )


@benchmark("install.size", unit="MB", better="less", rounds=1, limit=600)
def install_size(bench: Bench) -> Iterator[Pair]:
    """An empty environment with the locked packages and nothing else, as `pip install` leaves it."""

    def measure() -> float:
        venv = bench.scratch / "venv"
        process_seconds([sys.executable, "-m", "venv", venv])
        process_seconds(
            [venv / "bin/pip", "install", "--quiet", "--require-hashes", "-r", Path("requirements.lock").resolve()]
        )
        return disk_mb(venv)

    yield Pair(ours=measure, note="runtime packages with their compiled Python")


def disk_mb(folder: Path) -> float:
    """Space on disk, in MB of 10^6 bytes, each file counted in blocks as `du` does."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_dir()) / 1e6
