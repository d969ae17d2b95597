"""Processes that show nothing do not carry what only a terminal needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILDREN = ("core", "logs", "server", "store", "supervisor", "warden")


@pytest.mark.parametrize("name", CHILDREN)
def test_children_start_without_rich(name: str) -> None:
    code = (
        f"import sys; import thingward.apps.{name}.__main__; print('structlog' in sys.modules, 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_whoever_wants_rich_still_gets_it() -> None:
    code = "import thingward.runtime.lean, rich.table, structlog; structlog.get_logger().info('x')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
