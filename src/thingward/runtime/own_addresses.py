"""The addresses of this machine, as the kernel lists them."""

from __future__ import annotations

import ipaddress
import itertools
from pathlib import Path


def is_loopback(host: str) -> bool:
    """Tell whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def local_addresses(proc: Path = Path("/proc/net")) -> frozenset[str]:
    """Give this machine's addresses; those of a link alone (`fe80::`) are left out, no browser can name them."""
    found: set[str] = set()
    try:
        lines = (proc / "fib_trie").read_text().splitlines()
        for line, after in itertools.pairwise(lines):
            if after.strip() == "/32 host LOCAL":
                found.add(line.rpartition(" ")[2])
    except OSError:
        pass
    try:
        for row in (proc / "if_inet6").read_text().splitlines():
            found.add(str(ipaddress.IPv6Address(bytes.fromhex(row[:32]))))
    except (OSError, ValueError):
        pass
    return frozenset(text for text in found if not ipaddress.ip_address(text).is_link_local)
