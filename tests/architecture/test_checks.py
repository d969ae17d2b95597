"""Each checker finds the fault that it is there for, and passes what is right."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import checks
from tests.architecture.checks import PACKAGE, ROOT

PROJECT = """
[project]
dependencies = ["msgspec>=1", "numpy", "numba", "alembic", "sqlalchemy", "structlog", "duckdb", "httpx", "markdown-it-py>=4"]
"""


def package(tmp_path: Path, files: dict[str, str]) -> Path:
    """A made-up package with these files."""
    root = tmp_path / "src" / "thingward"
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


LONG = "def long():\n" + "    pass\n" * 80

BAD = [
    (checks.third_party, "model/a.py", "import numpy"),
    (checks.third_party, "wire/a.py", "from scapy.all import IP"),
    (checks.third_party, "response/a.py", "def f():\n    import httpx"),
    (checks.undeclared, "adapters/a.py", "def f():\n    from requests.sessions import Session"),
    (checks.engines, "adapters/event_store/two.py", "import duckdb\nimport httpx"),
    (checks.runtime_share, "runtime/a.py", "x = 1\n" * 20_000),
    (checks.numba_outside_kernels, "sensing/flows.py", "from numba import njit"),
    (checks.impure, "wire/a.py", "import socket"),
    (checks.impure, "policy/a.py", "async def f(): ..."),
    (checks.impure, "policy/a.py", "from time import time"),
    (checks.impure, "detection/a.py", "import datetime\nx = datetime.datetime.now(None)"),
    (checks.impure, "inventory/a.py", "open('x')"),
    (checks.impure, "model/a.py", "import os\nx = os.urandom(8)"),
    (checks.imported_scripts, "assurance/a.py", "from thingward.assurance import verify_bundle"),
    (checks.swallowed_ends, "a.py", "async def f():\n    with suppress(CancelledError):\n        await self._task"),
    (checks.budgets, "a.py", LONG),
    (checks.budgets, "a.py", "x = 1\n" * 801),
    (checks.budgets, "a.py", "".join(f"def f{n}():\n" + "    pass\n" * 12 for n in range(9))),
    (checks.budgets, "a.py", "".join(f"def f{n}():\n" + "    pass\n" * (1 if n else 45) for n in range(5))),
    (checks.ports, "ports/a.py", "class Store(Protocol):\n    def get(self, uid: str, tenant: str) -> str: ..."),
    (checks.ports, "ports/a.py", "class Store(Protocol):\n    async def get(self, *, tenant: str) -> str: ..."),
    (checks.ports, "ports/a.py", "class Clock(Protocol):\n" + "".join(f"    def m{n}(self): ...\n" for n in range(8))),
    (checks.file_names, "runtime/utils.py", ""),
    (checks.file_names, "runtime/net_helpers/a.py", ""),
    (checks.waiting_tests, "test_a.py", "import time\ntime.sleep(1)"),
    (checks.waiting_tests, "test_a.py", "import socket"),
]

GOOD = {
    "model/columns.py": "import numpy",
    "wire/kernels.py": "import numba",
    "wire/packets/compile.py": "import numba",
    "sensing/flow_kernels.py": "import numba",
    "adapters/control_store/sql.py": "import alembic, sqlalchemy, msgspec, json",
    "policy/service.py": "import asyncio\nasync def f(): ...",
    "policy/decide.py": "import datetime, json, re\nx = datetime.datetime.fromtimestamp(0)",
    "ports/a.py": "class Store(Protocol[T]):\n    def get(self, tenant: str) -> str: ...\n    def close(self) -> None: ...",
    "runtime/flow.py": "import asyncio, structlog, time",
    "apps/a.py": "import markdown_it.token",
}


@pytest.mark.parametrize(("check", "name", "text"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_fault_is_found(tmp_path, check, name, text):
    assert check(package(tmp_path, {name: text}))


@pytest.mark.parametrize("check", sorted({check for check, _, _ in BAD}, key=lambda check: check.__name__))
def test_right_code_passes(tmp_path, check):
    assert check(package(tmp_path, GOOD)) == []


def test_addresses_and_hashes(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# via https" + "://example.org\na==1 \\\n    --hash=sha256:00\nb==1\nc\n")
    assert len(checks.addresses(lock)) == 1
    assert checks.unhashed(lock) == ["requirements.lock: b==1", "requirements.lock: c"]


def test_machine_paths(tmp_path):
    (tmp_path / "a").write_text("fine\nsee /place/of/mine/x\n")
    (tmp_path / "b").write_bytes(b"\0/place/of/mine/x")
    assert checks.machine_paths(tmp_path / "a", ("/place/of/mine/",)) == [f"{tmp_path}/a:2"]
    assert checks.machine_paths(tmp_path / "b", ("/place/of/mine/",)) == []


BREACHES = [
    ("floors", "sensing/a.py", "import thingward.detection"),
    ("floors", "model/a.py", "from thingward import runtime"),
    ("floors", "wire/a.py", "import thingward.ports"),
    ("floors", "adapters/a.py", "import thingward.policy"),
    ("floors", "kitchen/__init__.py", ""),
    ("apps", "apps/server/__init__.py", "import thingward.apps.core"),
    ("apps", "apps/toaster/__init__.py", ""),
    ("ports-through-service", "policy/a.py", "import thingward.ports"),
    ("web-in-server", "runtime/a.py", "import litestar"),
    ("no-cycles", "runtime/a.py", "import thingward.runtime.b"),
]


def lint_imports(root: Path, contract: str) -> subprocess.CompletedProcess[str]:
    """Run one contract on the package in this folder."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo", "--contract", contract],
        cwd=root,
        env={"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """An empty house: every room with nothing in it, under the project's own contracts."""
    rooms = {f"{path.name}/__init__.py": "" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    rooms |= {"__init__.py": "", "_version.py": "", "apps/core/__init__.py": "", "policy/service.py": ""}
    rooms |= {"runtime/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import thingward.runtime.a\n"}
    rooms |= {"runtime/a.py": "", "policy/service.py": "import thingward.ports"}
    package(tmp_path, rooms)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("contract", sorted({contract for contract, _, _ in BREACHES}))
def test_contract_is_kept(house, contract):
    done = lint_imports(house, contract)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("contract", "name", "text"), BREACHES)
def test_contract_is_broken(house, contract, name, text):
    (house / "src" / "thingward" / name).parent.mkdir(exist_ok=True)
    (house / "src" / "thingward" / name).write_text(text)
    done = lint_imports(house, contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout or "not listed" in done.stdout, done.stdout
