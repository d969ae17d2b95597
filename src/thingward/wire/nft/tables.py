"""The parts of a table, between the approved profiles and the text."""

from __future__ import annotations

import msgspec

from thingward.wire.nft.tokens import Family


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """A set.

    Attributes:
        kind: `ether_addr`, `ipv4_addr` or `ipv6_addr`.
        flags: `interval` for prefixes; `timeout` and `dynamic,timeout` for sets whose elements come and go: these
            survive a new state.
        timeout_s: default life of an element, 0 for none.
        elements: of an interval set the contents; of a dynamic one what it begins with when it is new.
    """

    name: str
    kind: str
    flags: str
    timeout_s: int = 0
    elements: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether the contents follow from the state alone."""
        return "timeout" not in self.flags


class Map(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict map: key to the chain that judges it."""

    name: str
    kind: str
    elements: tuple[tuple[str, str], ...] = ()


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain; `hook` is its declaration if it is a base chain."""

    name: str
    hook: str = ""
    rules: tuple[str, ...] = ()


class NameBinding(msgspec.Struct, frozen=True, kw_only=True):
    """A DNS name and the sets that the resolver must fill for it, per family of the table."""

    name: str
    set4: str
    set6: str
    families: tuple[Family, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table: what it holds, in the order in which it must be written."""

    family: Family
    sets: tuple[Lookup, ...] = ()
    counters: tuple[str, ...] = ()
    maps: tuple[Map, ...] = ()
    chains: tuple[Chain, ...] = ()


def set_body(item: Lookup, *, elements: bool) -> str:
    """Write a set's declaration; with `elements` what it holds from the beginning."""
    parts = [f"type {item.kind};"]
    if item.flags:
        parts.append(f"flags {item.flags};")
    if "interval" in item.flags:
        parts.append("auto-merge;")
    if item.timeout_s:
        parts.append(f"timeout {item.timeout_s}s;")
    if "dynamic" in item.flags:
        parts.append("size 65535;")
    if elements and item.elements:
        parts.append(f"elements = {{ {', '.join(item.elements)} }};")
    return " ".join(parts)
