"""A skip is one line for a user and a failure where CI=true."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.checks import ROOT

TESTS = """
import pytest

def test_runs(): pass
def test_program(need_program): need_program("no-such-program")
def test_other_case(): pytest.skip("not applicable: needs another Python")
@pytest.mark.data
def test_data(): pass
@pytest.mark.xfail(strict=True)
def test_known_gap(): assert False
"""
pytestmark = pytest.mark.slow

MODULE = "import pytest\npytest.importorskip('no_such_module')\n"


def pytest_in(folder: Path, ci: str) -> str:
    """The closing lines of a run on made-up tests under the project's own conftest."""
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests" / "test_made_up.py").write_text(TESTS)
    (folder / "tests" / "test_module.py").write_text(MODULE)
    environment = os.environ | {"CI": ci, "THINGWARD_TEST_DATA": str(folder / "none")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors", "tests"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(
    ("ci", "closing"),
    [
        ("", "1 passed, 4 skipped, 1 xfailed"),
        ("true", "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors"),
    ],
)
def test_skips(tmp_path, ci, closing):
    output = pytest_in(tmp_path, ci)
    assert closing in output.splitlines()[-1], output
    assert "no-such-program is not installed" in output
    assert "(THINGWARD_TEST_DATA)" in output


def test_what_shares_the_machine_runs_on_one_worker(tmp_path):
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    body = "import os, pytest\n@pytest.mark.servers\n@pytest.mark.parametrize('n', range(4))\ndef test_a(n): print('pid', os.getpid())\n"
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / "tests" / name).write_text(body)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-rP",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "tests",
    ]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "8 passed" in output, output
    assert len({line for line in output.splitlines() if line.startswith("pid ")}) == 1, output


LEAVES_A_TABLE = """
import subprocess

def test_leaves_a_table():
    subprocess.run(["nft", "add table inet thingward"], check=True)
"""


@pytest.mark.netns
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_table_that_tests_leave_behind_fails_them(tmp_path, in_namespace, need_program, workers):
    need_program("nft")
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "test_made_up.py").write_text(LEAVES_A_TABLE)
    options = ["-p", "no:cacheprovider", "-n", workers, "--dist", "loadfile"]
    command = [*in_namespace, sys.executable, "-m", "pytest", *options, "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout
    assert "changed this machine's packet filter. new: table inet thingward" in done.stdout, done.stdout
    assert done.returncode == 1
