"""The checkers behind the architecture tests: each takes files and gives one line per fault.

They work on any folder laid out like `src/thingward`, so that test_checks.py can show each of them failing.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "src" / "thingward"

ROOMS = (
    "sensing",
    "identity",
    "inventory",
    "policy",
    "detection",
    "response",
    "update",
    "exposure",
    "assurance",
)

# Third-party packages by room. Adapters, runtime and apps may use whatever pyproject.toml lists, less the web frameworks.
PURE = frozenset({"msgspec", "numpy"})
THIRD_PARTY: dict[str, frozenset[str]] = {
    "model": frozenset({"msgspec"}),
    "ports": frozenset({"msgspec"}),
    "wire": PURE | {"numba"},
    "sensing": PURE | {"numba"},
    "identity": PURE | {"cryptography"},
    "inventory": PURE | {"netaddr"},
    "policy": PURE | {"cedarpy"},
    "detection": PURE | {"numba", "sigma"},
    "response": PURE,
    "update": PURE | {"tuf", "securesystemslib", "cryptography", "detools"},
    "exposure": PURE,
    "assurance": PURE | {"cryptography"},
}
# Where a package is imported by another name than it is installed by.
INSTALLED_AS = {"markdown_it": "markdown-it-py", "sigma": "pysigma"}
# Packages that are one engine.
FAMILIES = {"alembic": "sqlalchemy"}
NO_ENGINE = frozenset({"thingward", "msgspec", "numpy", "structlog"})
NUMPY_IN_MODEL = "columns.py"
KERNEL = re.compile(r"(^|_)(kernels?|compile)$")

# What a pure module has no business with: it is handed time, randomness and bytes, and returns reasons.
IMPURE = frozenset(
    {
        "asyncio",
        "http",
        "logging",
        "multiprocessing",
        "random",
        "requests",
        "select",
        "selectors",
        "signal",
        "socket",
        "socketserver",
        "ssl",
        "structlog",
        "subprocess",
        "threading",
        "time",
        "urllib.request",
    }
)
# Scripts that are handed out as files and run on their own, never imported.
HANDED_OUT = frozenset({"assurance/verify_bundle.py"})
CLOCK_CALLS = frozenset({"now", "utcnow", "today", "urandom", "uuid1", "uuid4"})

BANNED_NAMES = frozenset({"utils", "util", "helpers", "helper", "manager", "common", "misc"})

MAX_FUNCTION, P90_FUNCTION, MEDIAN_FUNCTION = 80, 40, 12
MAX_FILE, P90_FILE = 800, 450
MAX_PORT_METHODS = 7
# A runtime that outgrows a tenth of the code hides a room; small code bases are let off.
RUNTIME_SHARE, RUNTIME_FROM_LINES = 0.13, 20_000

# Ports that see no tenant's data: time, opaque bytes, keys; packets, before anyone says whose they are.
PORTS_WITHOUT_TENANT = frozenset(
    {"Authority", "Clock", "Journal", "LinkClient", "LinkServer", "PacketSource", "Signer"}
)
METHODS_WITHOUT_TENANT = frozenset({"close", "start", "tenants"})


def modules(package: Path) -> list[Path]:
    """All Python files of a package, in order."""
    return sorted(package.rglob("*.py"))


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room_of(path: Path, package: Path) -> str:
    """The first folder under the package; empty for a file directly in it."""
    parts = path.relative_to(package).parts
    return parts[0] if len(parts) > 1 else ""


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, those under TYPE_CHECKING and in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def third_party(package: Path) -> list[str]:
    """Imports of packages that the room's row in THIRD_PARTY does not list."""
    faults = []
    for path in modules(package):
        room = room_of(path, package)
        if room not in THIRD_PARTY:
            continue
        allowed = THIRD_PARTY[room] | ({"numpy"} if room == "model" and path.name == NUMPY_IN_MODEL else set())
        roots = {(line, name.partition(".")[0]) for line, name in imported(parse(path))}
        faults += [
            f"{path.relative_to(package)}:{line}: {room} may not import {name}"
            for line, name in sorted(roots)
            if name not in allowed and name != "thingward" and name not in sys.stdlib_module_names
        ]
    return faults


def engines(package: Path) -> list[str]:
    """Adapters that stand on more than one engine."""
    faults = []
    for path in modules(package / "adapters"):
        roots = {name.partition(".")[0] for _, name in imported(parse(path))}
        found = {FAMILIES.get(root, root) for root in roots - NO_ENGINE if root not in sys.stdlib_module_names}
        if len(found) > 1:
            faults.append(f"{path.relative_to(package)}: one engine each, not {', '.join(sorted(found))}")
    return faults


def undeclared(package: Path) -> list[str]:
    """Packages that the code imports and pyproject.toml, two folders up, does not list."""
    project = tomllib.loads((package.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    listed = [*project["dependencies"], *(entry for extra in extras for entry in extra)]
    known = {re.split(r"[^a-z0-9_.-]", entry.lower(), maxsplit=1)[0].replace("_", "-") for entry in listed}
    return [
        f"{path.relative_to(package)}:{line}: {root} is not in pyproject.toml"
        for path in modules(package)
        for line, root in sorted({(line, name.partition(".")[0]) for line, name in imported(parse(path))})
        if root not in sys.stdlib_module_names
        and root != "thingward"
        and INSTALLED_AS.get(root, root.replace("_", "-")) not in known
    ]


def numba_outside_kernels(package: Path) -> list[str]:
    """Imports of Numba in modules that are neither kernels nor the compiler's door."""
    return [
        f"{path.relative_to(package)}:{line}: only modules named kernels, *_kernels or compile import numba"
        for path in modules(package)
        if not any(KERNEL.search(part) for part in path.relative_to(package).with_suffix("").parts)
        for line, name in imported(parse(path))
        if name in {"numba", "llvmlite"}
    ]


def impure(package: Path) -> list[str]:
    """I/O, clocks, randomness and logging in model, wire and the rooms; service.py of a room may await."""
    faults = []
    for path in modules(package):
        room = room_of(path, package)
        if room not in {"model", "wire", *ROOMS} or (room in ROOMS and path.name == "service.py"):
            continue
        tree = parse(path)
        where = path.relative_to(package)
        if where.as_posix() in HANDED_OUT:
            continue
        faults += [f"{where}:{line}: imports {name}" for line, name in imported(tree) if name in IMPURE]
        faults += [f"{where}:{line}: {what}" for line, what in _impure_nodes(tree)]
    return sorted(set(faults))


def _impure_nodes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno, "only a room's service.py awaits"
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"}:
                yield node.lineno, f"calls {node.func.id}()"
            elif isinstance(node.func, ast.Attribute) and _asks_the_machine(node.func):
                yield node.lineno, f"asks the machine by .{node.func.attr}()"


def _asks_the_machine(call: ast.Attribute) -> bool:
    owner = call.value
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return call.attr in CLOCK_CALLS and name in {"datetime", "date", "os", "uuid"}


def imported_scripts(package: Path) -> list[str]:
    """Imports of scripts that are only handed out."""
    names = {f"thingward.{name.removesuffix('.py').replace('/', '.')}" for name in HANDED_OUT}
    return [
        f"{path.relative_to(package)}:{line}: {name} runs on its own and is not imported"
        for path in modules(package)
        for line, name in imported(parse(path))
        if name in names
    ]


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first line and length in lines of every function, decorators left out."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def percentile(values: list[int], share: float) -> int:
    """Nearest-rank percentile; 0 for nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def budgets(package: Path) -> list[str]:
    """Functions and files that are too long, one by one and as a whole."""
    lengths: list[int] = []
    files: list[int] = []
    faults = []
    for path in modules(package):
        where = path.relative_to(package)
        files.append(len(path.read_text(encoding="utf-8").splitlines()))
        if files[-1] > MAX_FILE:
            faults.append(f"{where}: {files[-1]} lines, at most {MAX_FILE}")
        for name, line, length in functions(path):
            lengths.append(length)
            if length > MAX_FUNCTION:
                faults.append(f"{where}:{line}: {name} has {length} lines, at most {MAX_FUNCTION}")
    for what, value, most in (
        ("median length of functions", statistics.median(lengths) if lengths else 0, MEDIAN_FUNCTION),
        ("90th percentile of functions", percentile(lengths, 0.9), P90_FUNCTION),
        ("90th percentile of files", percentile(files, 0.9), P90_FILE),
    ):
        if value > most:
            faults.append(f"{what}: {value:g} lines, at most {most}")
    return faults


def swallowed_ends(package: Path) -> list[str]:
    """Waits for another task that would take the end of the waiting one for the end of the other."""
    faults = []
    for path in modules(package):
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.With) or "CancelledError" not in ast.unparse(node.items[0]):
                continue
            waits = [n for part in node.body for n in ast.walk(part) if isinstance(n, ast.Await)]
            if any(isinstance(wait.value, ast.Name | ast.Attribute) for wait in waits):
                where = f"{path.relative_to(package)}:{node.lineno}"
                faults.append(f"{where}: swallows its own cancellation; use gather(task, return_exceptions=True)")
    return faults


def runtime_share(package: Path) -> list[str]:
    """A runtime that has outgrown its share of the code."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(package)}
    total, runtime = sum(lines.values()), sum(n for path, n in lines.items() if room_of(path, package) == "runtime")
    if total < RUNTIME_FROM_LINES or runtime <= total * RUNTIME_SHARE:
        return []
    return [f"runtime: {runtime} of {total} lines; a room is missing"]


def protocols(package: Path) -> Iterator[tuple[Path, ast.ClassDef]]:
    """Every Protocol class in ports."""
    for path in modules(package / "ports"):
        for node in parse(path).body:
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.ClassDef) and any(base.partition("[")[0].endswith("Protocol") for base in bases):
                yield path, node


def ports(package: Path) -> list[str]:
    """Port methods that touch tenants' data without naming the tenant first, and ports that are too wide."""
    faults = []
    for path, port in protocols(package):
        methods = [node for node in port.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        where = f"{path.relative_to(package)}: {port.name}"
        if len(methods) > MAX_PORT_METHODS:
            faults.append(f"{where} has {len(methods)} methods, at most {MAX_PORT_METHODS}")
        if port.name in PORTS_WITHOUT_TENANT:
            continue
        for method in methods:
            names = [argument.arg for argument in (*method.args.posonlyargs, *method.args.args)]
            if method.name not in METHODS_WITHOUT_TENANT and names[1:2] != ["tenant"]:
                faults.append(f"{where}.{method.name}: the first parameter is not tenant")
    return faults


def file_names(package: Path) -> list[str]:
    """Files and folders whose name says nothing."""
    return [
        f"{path.relative_to(package)}: {part} says nothing about what is in it"
        for path in modules(package)
        for part in path.relative_to(package).with_suffix("").parts
        if BANNED_NAMES & set(part.lower().split("_"))
    ]


def addresses(path: Path) -> list[str]:
    """Lines of a lock file that name a host or an address."""
    pattern = re.compile(r"://|\bindex-url\b|\bfind-links\b|\bresolved\b")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [f"{path.name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if pattern.search(line)]


def unhashed(path: Path) -> list[str]:
    """Requirements of a lock file that are not pinned or carry no hash."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return [
        f"{path.name}: {line.split()[0]}"
        for line in text.splitlines()
        if line.strip() and not line.startswith("#") and not ("==" in line and "--hash=sha256:" in line)
    ]


def machine_paths(path: Path, places: tuple[str, ...]) -> list[str]:
    """Lines that name a folder of somebody's machine; binary files are left out."""
    data = path.read_bytes()
    if b"\0" in data[:4096]:
        return []
    lines = data.decode("utf-8", "replace").splitlines()
    return [f"{path}:{number}" for number, line in enumerate(lines, 1) if any(place in line for place in places)]


def waiting_tests(folder: Path) -> list[str]:
    """Unit tests that sleep or open sockets."""
    faults = []
    for path in modules(folder):
        tree = parse(path)
        where = path.relative_to(folder)
        faults += [
            f"{where}:{line}: imports {name}" for line, name in imported(tree) if name in {"socket", "time.sleep"}
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}:
                zero = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                faults += [] if zero else [f"{where}:{node.lineno}: sleeps"]
    return faults
