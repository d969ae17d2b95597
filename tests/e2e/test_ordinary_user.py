"""`thingward up` as a user without rights, without a home, without a cache, and for the whole network."""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from thingward.runtime.own_addresses import local_addresses

pytestmark = [pytest.mark.servers, pytest.mark.slow]

PATIENCE_S = 90.0
NOBODY = 65534


class User:
    """A user of this machine who may do nothing special, with a folder of its own and a Python that it can start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._switch: tuple[str, ...] = ()
        self._python = (sys.executable,)
        if os.geteuid() == 0:
            self._switch = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
            os.chown(folder, NOBODY, NOBODY)
            folder.chmod(0o755)
        # An interpreter in a folder of root's own cannot be started by others: then the system's, of the same version.
        for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
            self._python = (python,)
            if self.run("-c", "import thingward, msgspec").returncode == 0:
                return
        pytest.skip("no Python that an ordinary user may start")

    def command(self, *arguments: str, **environment: str) -> list[str]:
        paths = os.pathsep.join([*site.getsitepackages(), str(ROOT / "src")])
        given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": paths, "THINGWARD_ENFORCE__PATH": "auto", **environment}
        # `env` looks the interpreter up again, with the rights that are left.
        words = [f"{name}={value}" for name, value in given.items()]
        return [*self._switch, "env", "-i", *words, *self._python, *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments, **environment)
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)

    @contextlib.contextmanager
    def platform(self, *arguments: str, **environment: str) -> Iterator[Path]:
        """Run `thingward up` until the block ends; gives the file with what it says."""
        said = self.folder / "said"
        with said.open("wb") as stream:
            command = self.command("-m", "thingward", "up", "--port", "0", *arguments, **environment)
            process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=self.folder)
        try:
            end = time.monotonic() + PATIENCE_S
            while "event=ready" not in said.read_text():
                assert process.poll() is None and time.monotonic() < end, said.read_text()
                time.sleep(0.1)
            yield said
        finally:
            process.terminate()
            assert process.wait(60) == 0, said.read_text()


@pytest.fixture
def user() -> Iterator[User]:
    folder = Path(tempfile.mkdtemp(prefix="thingward-user-"))
    yield User(folder)
    shutil.rmtree(folder)


def test_it_runs_and_says_what_it_cannot_do(user: User) -> None:
    with user.platform("--interface", "lo", HOME=str(user.folder)) as said:
        text = said.read_text()
        assert "Without root nothing on the network is changed" in text
        assert "Without root (CAP_NET_RAW) lo cannot be watched" in text
        assert "kernels" not in text
        assert text.startswith("Console: ") or "\nConsole: " in text
    assert (user.folder / ".local/share/thingward/control.db").exists()


def test_without_a_home_it_says_what_to_do(user: User) -> None:
    if os.geteuid() != 0:
        pytest.skip("not applicable: this user has a home in the list of users")
    done = user.run("-m", "thingward", "up", "--port", "0")
    assert done.returncode == 1
    assert "cannot be made: Permission denied. Choose another one with --data-dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_nowhere_to_keep_kernels_it_keeps_them_with_its_data(user: User) -> None:
    data = user.folder / "data"
    with user.platform("--data-dir", str(data), HOME="/proc/nowhere", XDG_CACHE_HOME="/proc/nowhere") as said:
        assert f"packet kernels are kept in {data / '.cache'}" in said.read_text()


def test_a_data_folder_that_cannot_be_written_is_said(user: User) -> None:
    done = user.run("-m", "thingward", "up", "--port", "0", "--data-dir", "/proc/nowhere")
    assert done.returncode == 1
    assert "the data folder /proc/nowhere cannot be made" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_ends_with_a_verdict_for_a_user_whom_nobody_knows(user: User) -> None:
    if os.geteuid() != 0:
        pytest.skip("not applicable: only root can become such a user")
    command = [word.replace(str(NOBODY), "54321") for word in user.command("-m", "thingward", "doctor")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert "Traceback" not in done.stderr
    assert "HOME is not set" in done.stdout
    assert "/.local/share/thingward cannot be written" in done.stdout


def test_on_all_addresses_its_certificate_is_good_for_each(user: User) -> None:
    with user.platform("--host", "0.0.0.0", HOME=str(user.folder)) as said:
        line = next(line for line in said.read_text().splitlines() if line.startswith("Console: https://"))
        port = line.rstrip("/").rpartition(":")[2]
        trust = ssl.create_default_context(cafile=user.folder / ".local/share/thingward/tls/ca.pem")
        own = [address for address in local_addresses() if "." in address]
        assert "127.0.0.1" in own
        for address in own:
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
            )
            with opener.open(f"https://{address}:{port}/healthz") as answer:
                assert answer.status == 200
            assert address == "127.0.0.1" or f"https://{address}:{port}/" in said.read_text()
        status = user.run("-m", "thingward", "status", HOME=str(user.folder))
        assert status.returncode == 0, status.stderr


@pytest.mark.parametrize("name", ["core", "store", "logs"])
def test_a_process_alone_says_that_its_data_folder_cannot_be_made(name: str) -> None:
    command = [sys.executable, "-m", f"thingward.apps.{name}", "--data-dir", "/proc/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"thingward-{name}: the data folder /proc/nowhere cannot be made: ")
