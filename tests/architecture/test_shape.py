"""The code keeps the house's rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import checks
from tests.architecture.checks import PACKAGE, ROOT

BIN = Path(sys.executable).parent
LOCKS = sorted(ROOT.glob("requirements*.lock"))


def listed(faults: list[str]) -> str:
    return "\n".join(["", *faults])


@pytest.mark.parametrize(
    "check",
    [
        checks.third_party,
        checks.engines,
        checks.undeclared,
        checks.numba_outside_kernels,
        checks.impure,
        checks.imported_scripts,
        checks.swallowed_ends,
        checks.budgets,
        checks.runtime_share,
        checks.ports,
        checks.file_names,
    ],
    ids=lambda check: check.__name__,
)
def test_source(check):
    faults = check(PACKAGE)
    assert not faults, listed(faults)


def test_public_names_are_documented_and_functions_annotated():
    """Without configuration and without noqa: nobody is let off."""
    rules = "D100,D101,D102,D103,D104,ANN001,ANN002,ANN003,ANN201,ANN202,ANN204,ANN205,ANN206"
    done = subprocess.run(
        [
            BIN / "ruff",
            "check",
            "--isolated",
            "--ignore-noqa",
            "--quiet",
            "--output-format=concise",
            "--select",
            rules,
            PACKAGE,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_requirements_are_pinned_by_hash(lock):
    assert not checks.unhashed(lock)
    assert not checks.addresses(lock)


def test_there_are_locks():
    assert {path.name for path in LOCKS} >= {"requirements.lock", "requirements-dev.lock"}
    assert (ROOT / "package-lock.json").is_file()


def test_front_end_lock_names_no_address():
    assert not checks.addresses(ROOT / "package-lock.json")
    assert not checks.addresses(ROOT / ".npmrc") or "resolved" in (ROOT / ".npmrc").read_text()


def tracked() -> list[Path]:
    """The files that git knows; in an unpacked archive all of them."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [path for top in ("src", "tests", "docs", "tools") for path in (ROOT / top).rglob("*") if path.is_file()]


def test_no_machine_paths():
    places = (*("/" + name + "/" for name in ("work", "root/.pyenv", "tmp/tw")), f"{ROOT}/")
    faults = [fault for path in tracked() for fault in checks.machine_paths(path, places)]
    assert not faults, listed(faults)


def test_no_large_files():
    large = [
        f"{path.relative_to(ROOT)}: {path.stat().st_size}" for path in tracked() if path.stat().st_size > 1_000_000
    ]
    assert not large, listed(large)


def test_front_end_libraries_are_not_committed():
    assert not [path for path in tracked() if "static/vendor" in path.as_posix() or "node_modules" in path.parts]


def test_unit_tests_neither_wait_nor_open_sockets():
    faults = checks.waiting_tests(ROOT / "tests" / "unit")
    assert not faults, listed(faults)
