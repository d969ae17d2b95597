"""Words that may enter a ruleset: canonical text of our own making, or None."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Literal, get_args

Family = Literal["inet", "bridge"]
FAMILIES: tuple[Family, ...] = get_args(Family)
TABLE = "thingward"

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.ASCII)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_LOCAL_NAMES = (".local", ".lan", ".home.arpa", ".internal", ".home", ".localdomain")
_SHOWN = 80

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PRIVATE_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)


def safe_id(*parts: str) -> str:
    """Hash parts into 16 hex digits for a chain, set or counter name, so that no foreign text names one."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()


def canonical_mac(text: str, *, group: bool = False) -> str | None:
    """Give a hardware address in lower case with colons; None if it is none, or a group or zero address.

    Args:
        group: accept broadcast and multicast addresses too (as destinations).
    """
    lowered = text.lower()
    if not _MAC.fullmatch(lowered) or lowered == "00:00:00:00:00:00":
        return None
    if int(lowered[:2], 16) & 1 and not group:
        return None
    return lowered


def canonical_network(text: str) -> Network | None:
    """Give an address or prefix (host bits are cleared, a zone is refused); None if it is neither."""
    if "%" in text or len(text) > _SHOWN:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def canonical_host(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Give a single host's address; None for groups, loopback, `0.0.0.0`, prefixes and anything else."""
    network = canonical_network(text)
    if network is None or network.num_addresses != 1:
        return None
    address = network.network_address
    if address.is_multicast or address.is_unspecified or address.is_loopback or str(address) == "255.255.255.255":
        return None
    return address


def canonical_name(text: str) -> str | None:
    """Give a DNS name in lower case without the final dot, `*.` in front allowed; None if it is none."""
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name) or canonical_network(name.removeprefix("*.")) is not None:
        return None
    return name


def canonical_target(text: str) -> str | None:
    """Give a host's hardware or IP address in canonical form: what a quarantine may name; else None."""
    mac = canonical_mac(text)
    if mac is not None:
        return mac
    host = canonical_host(text)
    return None if host is None else str(host)


def is_local_name(name: str) -> bool:
    """Tell whether a canonical name belongs to the site: no dot, or a suffix kept for local use."""
    return "." not in name.removeprefix("*.") or name.endswith(_LOCAL_NAMES)


def element_text(network: Network) -> str:
    """Write a prefix as a set element: a single host without its length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def shown(text: str, *, most: int = _SHOWN) -> str:
    """Make foreign text fit to print in a message: ASCII, at most so many characters of it."""
    return ascii(text[:most])[1:-1]
