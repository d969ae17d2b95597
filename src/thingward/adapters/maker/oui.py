"""The IEEE's registry of hardware address blocks, as the package netaddr brings it."""

from __future__ import annotations

from functools import lru_cache

CACHE_SIZE = 4096


def maker_of(mac: str) -> str:
    """Give the registered maker of a hardware address; empty for made-up, group and unknown ones."""
    try:
        first = int(mac[:2], 16)
    except ValueError:
        return ""
    return "" if first & 0b11 else _registered(mac[:8].lower())


@lru_cache(CACHE_SIZE)
def _registered(block: str) -> str:
    """Look up a block by its first 24 bits (`aa:bb:cc`)."""
    import netaddr  # 0.1 s with its index, and not needed before the first device

    try:
        return str(netaddr.EUI(f"{block}:00:00:00").oui.registration().org)
    except (netaddr.AddrFormatError, netaddr.NotRegisteredError):
        return ""
