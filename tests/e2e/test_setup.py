"""`make` on a machine that lacks something says what to do, in one line, and stops."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def fake_python(folder: Path, script: str) -> Path:
    path = folder / "python-fake"
    path.write_text(f'#!/bin/sh\ncase "$*" in\n{script}\nesac\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def setup(tmp_path: Path, python: object, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    """Run set-up into an environment that does not exist yet."""
    environment = {"PATH": path, "PYTHON": str(python), "VENV": str(tmp_path / "venv"), "HOME": str(tmp_path)}
    return subprocess.run(
        [ROOT / "tools/setup.sh", "run"], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )


def test_missing_venv_module_names_the_package(tmp_path):
    done = setup(tmp_path, fake_python(tmp_path, "*ensurepip*) exit 1 ;;"))
    assert done.returncode == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("version", ["Python 3.9.2", ""])
def test_old_or_missing_python_is_named(tmp_path, version):
    script = f"*--version*) echo '{version}'; exit 0 ;;\n*) exit 1 ;;"
    done = setup(tmp_path, fake_python(tmp_path, script) if version else tmp_path / "none")
    assert done.returncode == 1
    assert f"needs Python 3.11 to 3.14; found: {version or 'no python3'}." in done.stderr


def test_help_lists_every_target_for_people():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text()
    for target in ["up", "demo", "test", "check", "bench", "wheel", "lock", "clean", "screenshots", "setup"]:
        assert re.search(rf"^  make {target}\s+\w", shown, re.MULTILINE), target
    declared = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    assert set(re.findall(r"^  make ([a-z-]+)", shown, re.MULTILINE)) == declared
