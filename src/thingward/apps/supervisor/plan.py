"""Which processes this machine and these settings call for, and what is left out, with why."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import msgspec

from thingward.apps.supervisor.children import ChildPlan
from thingward.runtime.config import Settings

_NFT_PATH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
_CAP_NET_ADMIN = 12


class PlatformPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The children in the order in which they start, and plain lines on what is left out."""

    children: tuple[ChildPlan, ...]
    without: tuple[str, ...] = ()


def plan_platform(settings: Settings, listener: int, extra: tuple[ChildPlan, ...] = ()) -> PlatformPlan:
    """Decide what runs.

    Args:
        listener: file number of the console's listening socket.
        extra: further children, for example the simulated site of the demo.
    """
    without: list[str] = []
    children = [
        ChildPlan(name="store", module="thingward.apps.store"),
        ChildPlan(name="core", module="thingward.apps.core"),
    ]
    if (reason := why_no_rules(settings)) is None:
        children.append(ChildPlan(name="warden", module="thingward.apps.warden", needed=False))
    else:
        without.append(f"No rules on this host: {reason}")
    arguments = ("--listen-fd", str(listener))
    children.append(ChildPlan(name="server", module="thingward.apps.server", arguments=arguments, fds=(listener,)))
    children += extra
    if settings.sensor.interfaces and (reason := why_no_capture()) is not None:
        without.append(f"No live capture: {reason}")
    else:
        children += [
            ChildPlan(
                name=f"sensor-{interface}",
                module="thingward.apps.sensor",
                arguments=("--interface", interface),
                needed=False,
            )
            for interface in settings.sensor.interfaces
        ]
    sources = settings.sensor
    if sources.zeek_folders or sources.eve_files or sources.syslog_listen:
        children.append(ChildPlan(name="logs", module="thingward.apps.logs", needed=False))
    return PlatformPlan(children=tuple(children), without=tuple(without))


def why_no_capture() -> str | None:
    """Say why interfaces cannot be watched here, None if they can."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return "CAP_NET_RAW is missing; run as root to watch interfaces."
    except OSError as error:
        return f"{error.strerror}."
    return None


def why_no_rules(settings: Settings) -> str | None:
    """Say why nothing can be enforced on this host, None if it can."""
    if settings.enforce.path == "off":
        return "enforce.path is off."
    if not _has_net_admin():
        return "CAP_NET_ADMIN is missing; run as root to enforce, or export the rules."
    if shutil.which("nft", path=os.environ.get("PATH", "") + os.pathsep + _NFT_PATH) is None:
        return "there is no nft program; sudo apt-get install nftables."
    return None


def _has_net_admin() -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return False
