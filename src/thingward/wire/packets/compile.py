"""Compile the kernels once per machine: where the machine code is kept, and what happens when it cannot be.

Numba names its cache by the source file of a kernel and misses a change in a function that the kernel calls, and an
installation folder is often not writable. So the cache lies in a folder of ours that is named after the hash of all
kernels' sources and of the versions involved; where no folder can be written the kernels are compiled in memory.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def sources_digest() -> str:
    """Hash every kernel's source, the row layouts, and the versions of Python, NumPy, Numba and llvmlite."""
    digest = hashlib.blake2b(digest_size=8)
    here = Path(__file__).parent
    columns = here.parent.parent / "model" / "columns.py"
    for path in [*sorted(here.glob("*.py")), columns]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes() if path.exists() else b"")
    versions = [f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "llvmlite")]
    versions += [platform.python_implementation(), sys.version, platform.machine()]
    digest.update("\n".join(versions).encode())
    return digest.hexdigest()


def cache_folder(environment: dict[str, str] | None = None) -> tuple[Path | None, bool]:
    """Choose a folder for machine code that exists and can be written.

    Args:
        environment: defaults to the process's own.
    Returns:
        The folder, or None where not even the temporary folder can be written; and whether it lasts.
    """
    env = dict(os.environ) if environment is None else environment
    name = f"kernels-{sources_digest()}"
    for root in _roots(env):
        folder = root / name
        if _is_writable(folder):
            return folder, True
    try:
        return Path(tempfile.mkdtemp(prefix="thingward-kernels-")), False
    except OSError:
        return None, False


def _roots(env: dict[str, str]) -> list[Path]:
    if env.get("THINGWARD_CACHE_DIR"):
        return [Path(env["THINGWARD_CACHE_DIR"])]
    roots = []
    if env.get("XDG_CACHE_HOME"):
        roots.append(Path(env["XDG_CACHE_HOME"]) / "thingward")
    elif env.get("HOME"):
        roots.append(Path(env["HOME"]) / ".cache" / "thingward")
    return [root for root in roots if root.is_absolute()]


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _start() -> tuple[Any, Path | None]:
    """Import Numba with its cache in our folder; gives the folder, None for no cache."""
    folder, lasts = cache_folder()
    if folder is not None and not lasts:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if folder is not None:
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
    import numba

    numba.config.CACHE_DIR = str(folder or "")  # type: ignore[attr-defined]
    return numba, folder


_numba, FOLDER = _start()
types: Any = _numba.types


def record_type(dtype: Any) -> Any:
    """Give the kernel type of one row of a structured dtype."""
    return _numba.from_dtype(dtype)


def array_type(item: Any, *, readonly: bool = False) -> Any:
    """Give the kernel type of a contiguous one-dimensional array; a writable one also fits a `readonly` argument."""
    return types.Array(item, 1, "C", readonly=readonly)


def kernel(signature: Any) -> Callable[[_F], _F]:
    """Compile for exactly this signature, now, from the cache if it is there.

    Raises nothing for a cache that cannot be used: then the function is compiled in memory.
    """

    def decorate(function: _F) -> _F:
        if FOLDER is not None:
            try:
                return _numba.njit(signature, cache=True, nogil=True, error_model="numpy")(function)  # type: ignore[no-any-return]
            except OSError:
                pass
        return _numba.njit(signature, nogil=True, error_model="numpy")(function)  # type: ignore[no-any-return]

    return decorate


def inlined(function: _F) -> _F:
    """Mark a function as part of the kernels that call it."""
    return _numba.njit(nogil=True, error_model="numpy")(function)  # type: ignore[no-any-return]
