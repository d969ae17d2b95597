"""Addresses as text, without paying for `ipaddress` objects each time."""

from __future__ import annotations

import functools
import ipaddress


def ipv4_text(data: bytes) -> str:
    """Give four bytes as dotted text; the caller checked the length."""
    return f"{data[0]}.{data[1]}.{data[2]}.{data[3]}"


@functools.lru_cache(maxsize=4096)
def ipv6_text(data: bytes) -> str:
    """Give sixteen bytes as compressed text (RFC 5952); the caller checked the length."""
    return ipaddress.IPv6Address(data).compressed


def mac_text(data: bytes) -> str:
    """Give a hardware address as lower-case hexadecimal with colons."""
    return data.hex(":")
