"""What this machine says of its own interfaces, in whichever network namespace it is asked."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_SIOCGIFHWADDR = 0x8927
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 3
_ETHERNET = 1
_FIB_TRIE = Path("/proc/self/net/fib_trie")
_IF_INET6 = Path("/proc/self/net/if_inet6")


def own_addresses() -> frozenset[str]:
    """Give the hardware and IP addresses of all interfaces but loopback."""
    found = {*_own_macs(), *_own_ipv4(), *_own_ipv6()}
    return frozenset(text for text in found if text)


def has_bridge() -> bool:
    """Tell whether this host bridges."""
    return any(_driver(name) == "bridge" for _, name in socket.if_nameindex())


def _own_macs() -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("16s24x", name.encode()))
            except OSError:
                continue
            kind = struct.unpack_from("H", answer, 16)[0]
            if kind == _ETHERNET:
                yield answer[18:24].hex(":")


def _own_ipv4() -> Iterator[str]:
    last = ""
    for line in _lines(_FIB_TRIE):
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"] and not last.startswith("127."):
            yield last


def _own_ipv6() -> Iterator[str]:
    for line in _lines(_IF_INET6):
        address = ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))
        if not address.is_loopback:
            yield address.compressed


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _driver(name: str) -> str:
    answer = array.array("B", struct.pack("I", _ETHTOOL_GDRVINFO) + bytes(192))
    request = struct.pack("16sP16x", name.encode(), answer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError:
            return ""
    return answer.tobytes()[4:36].split(b"\0")[0].decode("ascii", "replace")
