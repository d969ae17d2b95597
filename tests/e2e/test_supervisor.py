"""The platform as a person starts it: ready, greeting, restarted children, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thingward.runtime.config import load_settings
from thingward.runtime.local_access import read_local_access
from thingward.runtime.platform_status import PlatformStatus, read_platform_status
from thingward.runtime.supervise import ChildStatus

pytestmark = pytest.mark.servers

PATIENCE_S = 90.0


class Running:
    """A supervisor and what it said."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run_dir = load_settings(overrides={"data_dir": str(home)}, environ={}).run_dir
        self._said = home.with_suffix(".out")
        command = [sys.executable, "-m", "thingward.apps.supervisor", "--data-dir", str(home), "--port", "0"]
        with self._said.open("wb") as out:
            environment = {**os.environ, "THINGWARD_ENFORCE__PATH": "off"}
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment)

    @property
    def said(self) -> str:
        return self._said.read_text()

    def status(self) -> PlatformStatus:
        found = read_platform_status(self.run_dir)
        assert found is not None
        return found

    def child(self, name: str) -> ChildStatus:
        return next(child for child in self.status().processes if child.name == name)

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.said
            time.sleep(0.05)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "home")
    yield running
    running.process.kill()
    running.process.wait()


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_it_greets_restarts_what_dies_and_stops_cleanly(platform: Running) -> None:
    platform.wait(lambda: read_local_access(platform.run_dir) is not None)
    platform.wait(lambda: platform.said.count("\n") >= 2)
    console, link = platform.said.splitlines()[:2]
    address = re.search(r"http://127\.0\.0\.1:\d+/", console)
    assert address is not None
    assert f"{address[0]}login/" in link
    with urllib.request.urlopen(f"{address[0]}readyz") as answer:
        assert answer.status == 200
    for name in ("core", "store", "server"):
        before = platform.child(name)
        os.kill(before.pid, signal.SIGKILL)

        def is_back(name: str = name, pid: int = before.pid) -> bool:
            now = platform.child(name)
            return now.state == "running" and now.pid != pid

        platform.wait(is_back)
        assert platform.child(name).restarts == 1
    pids = [child.pid for child in platform.status().processes]
    platform.process.send_signal(signal.SIGINT)
    assert platform.process.wait(60) == 0
    assert not any(is_alive(pid) for pid in pids)
    assert read_local_access(platform.run_dir) is None
    assert (platform.home / "checkpoint").exists()


def test_when_it_is_killed_its_children_end_too(platform: Running) -> None:
    platform.wait(lambda: read_platform_status(platform.run_dir) is not None)
    platform.wait(lambda: platform.child("core").state == platform.child("store").state == "running")
    pids = [child.pid for child in platform.status().processes if child.pid]
    platform.process.kill()
    platform.process.wait()
    platform.wait(lambda: not any(is_alive(pid) for pid in pids))


def test_a_second_one_is_refused(platform: Running) -> None:
    platform.wait(lambda: read_platform_status(platform.run_dir) is not None)
    command = [sys.executable, "-m", "thingward.apps.supervisor", "--data-dir", str(platform.home), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "runs already" in second.stderr


def test_children_can_do_no_more_than_they_must(platform: Running) -> None:
    platform.wait(lambda: read_platform_status(platform.run_dir) is not None)
    platform.wait(lambda: all(platform.child(name).state == "running" for name in ("core", "store", "server")))
    for name in ("core", "store", "server"):
        status = Path(f"/proc/{platform.child(name).pid}/status").read_text()
        assert re.search(r"CapEff:\s*0+$", status, re.MULTILINE), name
        assert re.search(r"CapPrm:\s*0+$", status, re.MULTILINE), name
        assert re.search(r"NoNewPrivs:\s*1$", status, re.MULTILINE), name
    open_to_others = [path for path in platform.home.rglob("*") if path.lstat().st_mode & 0o077]
    assert open_to_others == []
