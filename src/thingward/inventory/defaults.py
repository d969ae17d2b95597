"""Safe defaults: what a device needs to be on a network at all, and where its maker's updates come from."""

from __future__ import annotations

import functools
import re
import tomllib
from importlib import resources
from typing import Final

import msgspec

from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import ARP, ICMP, ICMP6, TCP, UDP


def _role(direction: str, role: str, proto: int, port: int = 0, ethertype: int = 0) -> Acl:
    return Acl(
        direction="out" if direction == "out" else "in",
        peer=PeerKind.ROLE,
        value=role,
        proto=proto,
        port=port,
        ethertype=ethertype,
        origin="default",
    )


SAFE_DEFAULTS: Final[tuple[Acl, ...]] = (
    _role("out", "arp", -1, ethertype=ARP),
    _role("in", "arp", -1, ethertype=ARP),
    _role("out", "link", -1),
    _role("in", "link", -1),
    _role("out", "nd", ICMP6),
    _role("in", "nd", ICMP6),
    _role("in", "icmp", ICMP),
    _role("in", "icmp", ICMP6),
    _role("out", "dhcp", UDP, 67),
    _role("out", "dhcp", UDP, 547),
    _role("out", "dns", UDP, 53),
    _role("out", "dns", TCP, 53),
    _role("out", "ntp", UDP, 123),
)
"""ARP, link control, neighbour discovery, ICMP errors, being pinged from the site, DHCP, DNS at the site's resolvers,
NTP at the site's servers and public time services."""


class _Makers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    match: str
    names: tuple[str, ...]


class _Updates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    labels: tuple[str, ...]
    maker: tuple[_Makers, ...]


@functools.cache
def _updates() -> _Updates:
    text = resources.files("thingward.inventory").joinpath("content", "updates.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _Updates)


@functools.lru_cache(maxsize=1024)
def update_defaults(maker: str) -> tuple[Acl, ...]:
    """Give entries for the update servers of a maker (as registries write it), if any are known."""
    return tuple(
        Acl(direction="out", peer=PeerKind.NAME, value=name, proto=TCP, port=443, origin="default")
        for makers in _updates().maker
        if maker and re.search(makers.match, maker, re.IGNORECASE)
        for name in makers.names
    )
