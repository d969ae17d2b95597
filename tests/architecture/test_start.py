"""What a process imports when it starts: no compiler where none is needed, nothing heavy in the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.checks import PACKAGE

COMPILER = ("numba", "llvmlite")
HEAVY = (
    *COMPILER,
    "numpy",
    "duckdb",
    "sqlalchemy",
    "alembic",
    "litestar",
    "uvicorn",
    "cryptography",
    "netaddr",
    "httpx",
)
WITHOUT_COMPILER = ("cli", "core", "gateway", "registrar", "server", "store", "warden")

PROBE = """
import importlib, pkgutil, sys
name, forbidden = sys.argv[1], sys.argv[2].split(",")
module = importlib.import_module(name)
if sys.argv[3] == "all":
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
print(",".join(sorted(set(forbidden) & set(sys.modules))))
"""


def brought(name: str, forbidden: tuple[str, ...], *, all_of_it: bool = False) -> str:
    """Which of the forbidden modules importing `name` brings along."""
    arguments = [name, ",".join(forbidden), "all" if all_of_it else "top"]
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def apps() -> list[str]:
    found = {path.stem for path in (PACKAGE / "apps").glob("*.py")} | {
        path.parent.name for path in (PACKAGE / "apps").glob("*/__init__.py")
    }
    return sorted(found & set(WITHOUT_COMPILER))


@pytest.mark.parametrize("app", apps())
def test_no_compiler(app):
    assert brought(f"thingward.apps.{app}", COMPILER, all_of_it=True) == ""


def test_command_line_starts_light():
    assert brought("thingward.apps.cli", HEAVY) == ""


def test_probe_sees_what_it_looks_for():
    assert brought("json", ("decimal", "json")) == "json"
