"""`upgrade --check` beside a running store, and beside another process that has the file open."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.platform_processes import Processes, Sender
from thingward.adapters.event_store.duckdb import DuckdbEventStore
from thingward.runtime import channels

pytestmark = pytest.mark.servers


def check(home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thingward", "upgrade", "--check", "--data-dir", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def test_a_running_store_is_asked(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "home")
    try:
        processes.start("core", "store")

        async def wait() -> None:
            sender = Sender(processes)
            await sender.link.start()
            await sender.send(20)
            await sender.drained()
            while not channels.socket_of(processes.settings, "store").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await sender.link.close()

        asyncio.run(asyncio.wait_for(wait(), 60))
        done = check(processes.home)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "its store said what is in the event store" in done.stdout
        assert "open in another process" not in done.stdout and "Could not set lock" not in done.stdout
        processes.stop()
        after = check(processes.home)
        assert after.returncode == 0, after.stdout + after.stderr
        assert "problem:" not in after.stdout and "could not be looked at" not in after.stdout
    finally:
        processes.kill_all()


def test_a_file_that_something_else_has_open_is_said_plainly(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "events").mkdir(parents=True)
    store = DuckdbEventStore(home / "events" / "events.duckdb")
    try:
        done = check(home)
    finally:
        store.close()
    assert "events.duckdb is open in another process" in done.stdout
    assert "PID" not in done.stdout
