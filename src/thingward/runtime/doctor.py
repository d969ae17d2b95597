"""What works on this machine, what does not, why, and how to mend it. Only looks; changes nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from thingward.runtime.config import Settings

Verdict = Literal["ok", "warn", "fail"]
_CAPABILITY = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
_NEEDED = ("cryptography", "duckdb", "litestar", "msgspec", "numba", "numpy", "sqlalchemy", "uvicorn")
LEAST_FREE_BYTES = 1 << 30


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor's report.

    Attributes:
        name: what was looked at. verdict: `warn` means that thingward runs without it, with less.
        found: what was seen. means: what does not work because of it. mend: what to do, a command where there is one.
    """

    name: str
    verdict: Verdict
    found: str
    means: str = ""
    mend: str = ""


def examine(settings: Settings) -> Iterator[Check]:
    """Look at everything, one check after the other."""
    checks: tuple[Callable[[Settings], Iterator[Check]], ...] = (
        _python,
        _packages,
        _kernels,
        _data_folder,
        _port,
        _capture,
        _rules,
        _names,
        _namespaces,
        _bridge,
        _packs,
    )
    for check in checks:
        yield from check(settings)


def _python(settings: Settings) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        yield Check(name="Python", verdict="ok", found=f"{version} (tested on 3.11 only)")
    else:
        yield Check(name="Python", verdict="ok", found=version)


def _packages(settings: Settings) -> Iterator[Check]:
    missing = []
    for name in _NEEDED:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        mend = "Run `make setup`, or pip install thingward again."
        yield Check(
            name="packages",
            verdict="fail",
            found=f"missing: {', '.join(missing)}",
            means="it will not start",
            mend=mend,
        )
    else:
        yield Check(name="packages", verdict="ok", found=f"{len(_NEEDED)} of {len(_NEEDED)} found")


def _kernels(settings: Settings) -> Iterator[Check]:
    folder = kernel_folder(os.environ)
    if folder is None or not _can_be_written(folder):
        found = f"{folder} cannot be written" if folder else "no folder for them: HOME is not set"
        means = "`guard` waits for the compiler each time; a platform keeps them in its data folder"
        mend = "Set THINGWARD_CACHE_DIR to a folder that can be written."
        yield Check(name="packet kernels", verdict="warn", found=found, means=means, mend=mend)
    elif folder.is_dir() and any(folder.rglob("*.nbc")):
        yield Check(name="packet kernels", verdict="ok", found=f"compiled, in {folder}")
    else:
        means = "the first capture waits for the compiler"
        yield Check(name="packet kernels", verdict="warn", found="not compiled yet", means=means, mend="thingward warm")


def kernel_folder(environ: Mapping[str, str]) -> Path | None:
    """Give where compiled packet kernels are kept, None if the environment names no place."""
    if environ.get("THINGWARD_CACHE_DIR"):
        return Path(environ["THINGWARD_CACHE_DIR"])
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return Path(base) / "thingward" if base else None


def keeps_kernels(environ: Mapping[str, str]) -> bool:
    """Tell whether compiled packet kernels can be kept where the environment says."""
    folder = kernel_folder(environ)
    return folder is not None and folder.is_absolute() and _can_be_written(folder)


def _can_be_written(folder: Path) -> bool:
    """Tell whether files can be made in a folder, or it itself if it is not there."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _data_folder(settings: Settings) -> Iterator[Check]:
    home = settings.home
    existing = next(parent for parent in (home, *home.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        mend = "Choose another with --data-dir or THINGWARD_DATA_DIR."
        yield Check(
            name="data folder", verdict="fail", found=f"{home} cannot be written", means="nothing is kept", mend=mend
        )
        return
    if home.exists() and home.stat().st_mode & 0o077:
        found = f"{home} can be read by others"
        yield Check(
            name="data folder", verdict="fail", found=found, means="keys are not private", mend=f"chmod 700 {home}"
        )
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        found = f"{free // 2**20} MiB free at {existing}"
        yield Check(
            name="disk", verdict="warn", found=found, means="a full disk stops recording", mend="Free 1 GiB or more."
        )
    else:
        yield Check(name="disk", verdict="ok", found=f"{free // 2**30} GiB free at {existing}")
    if home.exists() and not home.stat().st_mode & 0o077:
        yield Check(name="data folder", verdict="ok", found=f"{home}, owner-only")


def _port(settings: Settings) -> Iterator[Check]:
    host, port = settings.server.host, settings.server.port
    running = (settings.run_dir / "console.json").exists()
    if port == 0:
        yield Check(name="console port", verdict="ok", found="a free one is taken at the start")
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if running:
                yield Check(
                    name="console port", verdict="ok", found=f"{host}:{port} is in use, the platform seems to run"
                )
                return
            mend = "Set another with --port or server.port."
            yield Check(
                name="console port",
                verdict="fail",
                found=f"{host}:{port}: {error.strerror}",
                means="no console",
                mend=mend,
            )
            return
    yield Check(name="console port", verdict="ok", found=f"{host}:{port} is free")


def _capture(settings: Settings) -> Iterator[Check]:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        means = "no live capture; captures and logs work"
        yield Check(
            name="live capture",
            verdict="warn",
            found="CAP_NET_RAW is missing",
            means=means,
            mend="Run as root: sudo thingward up",
        )
    except OSError as error:
        yield Check(
            name="live capture",
            verdict="warn",
            found=str(error),
            means="no live capture",
            mend="Use a kernel with AF_PACKET.",
        )
    else:
        yield Check(name="live capture", verdict="ok", found="AF_PACKET can be opened")


def _rules(settings: Settings) -> Iterator[Check]:
    program = _find("nft")
    if program is None:
        mend = "sudo apt-get install nftables"
        yield Check(
            name="nftables",
            verdict="warn",
            found="no nft program",
            means="nothing can be enforced on this host",
            mend=mend,
        )
        return
    if not _has_capability("CAP_NET_ADMIN"):
        means = "nothing can be enforced on this host; exports work"
        yield Check(
            name="nftables",
            verdict="warn",
            found="CAP_NET_ADMIN is missing",
            means=means,
            mend="Run as root: sudo thingward up",
        )
        return
    done = _run(program, "-c", "add table inet thingward_probe")
    if done is None or done.returncode:
        found = (done.stderr.strip().splitlines() or ["refused"])[0] if done else "no answer"
        yield Check(
            name="nftables",
            verdict="warn",
            found=found,
            means="nothing can be enforced",
            mend="Load the nf_tables module.",
        )
    else:
        yield Check(name="nftables", verdict="ok", found=_first_line(program, "--version"))


def _names(settings: Settings) -> Iterator[Check]:
    program = _find("dnsmasq")
    means = "entries by name cannot be enforced on this host, only entries by address and role"
    if program is None:
        yield Check(
            name="names (dnsmasq)",
            verdict="warn",
            found="no dnsmasq",
            means=means,
            mend="sudo apt-get install dnsmasq-base",
        )
        return
    done = _run(program, "--version")
    options = done.stdout if done else ""
    if "nftset" not in options or "no-nftset" in options:
        mend = "Install dnsmasq 2.87 or newer, built with nftset."
        yield Check(name="names (dnsmasq)", verdict="warn", found="built without nftset", means=means, mend=mend)
    else:
        yield Check(name="names (dnsmasq)", verdict="ok", found=options.splitlines()[0].split("  ")[0])


def _namespaces(settings: Settings) -> Iterator[Check]:
    flags = ["-n", "-m"] if os.geteuid() == 0 else ["-U", "-r", "-n", "-m"]
    program = _find("unshare")
    done = _run(program, *flags, "true") if program else None
    means = "`make demo` replays a recorded simulated site instead of live devices"
    if done is None or done.returncode:
        mend = "Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run as root."
        yield Check(name="network namespaces", verdict="warn", found="refused", means=means, mend=mend)
    elif _find("ip") is None:
        yield Check(
            name="network namespaces",
            verdict="warn",
            found="no ip program",
            means=means,
            mend="sudo apt-get install iproute2",
        )
    else:
        yield Check(name="network namespaces", verdict="ok", found="can be made")


def _bridge(settings: Settings) -> Iterator[Check]:
    bridges = sorted(path.parent.name for path in Path("/sys/class/net").glob("*/bridge"))
    forwards = _read("/proc/sys/net/ipv4/ip_forward") == "1"
    if bridges or forwards:
        found = ", ".join([*(f"bridge {name}" for name in bridges), *(["routes IPv4"] if forwards else [])])
        yield Check(name="packet path", verdict="ok", found=found)
    else:
        means = "rules on this host stop only traffic to and from the host itself"
        mend = "Put this host between the devices and the rest (router or bridge), or export the rules to the router."
        yield Check(
            name="packet path", verdict="warn", found="this host neither routes nor bridges", means=means, mend=mend
        )


def _has_capability(name: str) -> bool:
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAPABILITY[name] & 1)
    return False


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _first_line(*command: str) -> str:
    done = _run(*command)
    return (done.stdout.strip().splitlines() or ["?"])[0] if done else "?"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _packs(settings: Settings) -> Iterator[Check]:
    from thingward.runtime.packs import load_packs, packs_text

    loaded = load_packs(settings.home)
    for problem in loaded.problems:
        yield Check(
            name="indicator packs",
            verdict="warn",
            found=problem,
            means="its addresses are not looked for",
            mend="thingward pack import FILE",
        )
    mend = "" if loaded.infos else "thingward pack import FILE"
    verdict: Verdict = "ok" if loaded.infos else "warn"
    means = "" if loaded.infos else "talk to known-bad addresses is not noticed"
    found = packs_text(loaded.infos, time.time())
    yield Check(name="indicator packs", verdict=verdict, found=found, means=means, mend=mend)
