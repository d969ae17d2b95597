"""Transactions: each is one text that the kernel takes as a whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from thingward.model.errors import InvalidInput
from thingward.wire.nft.listing import Holdings
from thingward.wire.nft.ruleset import Ruleset
from thingward.wire.nft.tables import Lookup, Table, set_body
from thingward.wire.nft.tokens import FAMILIES, TABLE, Family, canonical_host, canonical_mac

MAX_TARGETS = 64


class Elements(msgspec.Struct, frozen=True, kw_only=True):
    """Elements of quarantine sets: (set name, element) pairs, the same in every table."""

    pairs: tuple[tuple[str, str], ...] = ()


def quarantine_elements(macs: Sequence[str], addresses: Sequence[str]) -> Elements:
    """Say which set elements shut a device out.

    What the device sends is recognised by its hardware address, which stays its own; by its IP address only where no
    hardware address is known. What is sent to it from elsewhere can only be recognised by IP address.

    Raises:
        InvalidInput: something is no address of a single host, or there is nothing or too much to shut out.
    """
    if not macs and not addresses:
        raise InvalidInput("nothing to quarantine: the device has no address")
    if len(macs) + len(addresses) > MAX_TARGETS:
        raise InvalidInput(f"more than {MAX_TARGETS} addresses in one quarantine")
    pairs: list[tuple[str, str]] = []
    for text in macs:
        mac = canonical_mac(text)
        if mac is None:
            raise InvalidInput("a hardware address in the quarantine is none of a single device")
        pairs.append(("quarantine_mac", mac))
    for text in addresses:
        host = canonical_host(text)
        if host is None:
            raise InvalidInput("an address in the quarantine is none of a single device")
        pairs.append((f"quarantine_{'to' if macs else 'ip'}{host.version}", str(host)))
    return Elements(pairs=tuple(sorted(set(pairs))))


def render_add(elements: Elements, families: Iterable[Family], ttl_s: float) -> str:
    """Shut out for `ttl_s` seconds (rounded up), whatever was set for the same elements before."""
    timeout_s = max(1, math.ceil(ttl_s))
    lines = []
    for family in families:
        for name, element in elements.pairs:
            where = f"element {family} {TABLE} {name} {{ {element}"
            lines += [f"add {where} }}", f"delete {where} }}", f"add {where} timeout {timeout_s}s }}"]
    return _text(lines)


def render_withdraw(elements: Elements, families: Iterable[Family]) -> str:
    """Let back in; elements that the kernel has already ended are no error."""
    lines = []
    for family in families:
        for name, element in elements.pairs:
            where = f"element {family} {TABLE} {name} {{ {element} }}"
            lines += [f"add {where}", f"delete {where}"]
    return _text(lines)


def render_remove_all() -> str:
    """Remove both tables, whether they are there or not."""
    return _text([line for family in FAMILIES for line in _drop_table(family)])


def render_hold(ruleset: Ruleset, held: Holdings) -> str:
    """Make the kernel hold this ruleset and nothing else of ours; quarantines and learnt addresses stay.

    Args:
        held: what is there now; tables, chains, sets and counters in it that the ruleset does not know are removed.
    """
    lines: list[str] = []
    wanted = {table.family for table in ruleset.tables}
    for family in FAMILIES:
        if family not in wanted and family in held.tables:
            lines += _drop_table(family)
    for table in ruleset.tables:
        lines += _hold_table(table, held)
    return _text(lines)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""


def _drop_table(family: Family) -> list[str]:
    return [f"add table {family} {TABLE}", f"delete table {family} {TABLE}"]


def _hold_table(table: Table, held: Holdings) -> list[str]:
    where = f"{table.family} {TABLE}"
    chains = {chain.name for chain in table.chains}
    old_chains = [name for name in held.chains.get(table.family, ()) if name not in chains]
    lines = [f"add table {where}"]
    lines += [line for item in table.sets for line in _hold_set(item, where, held.sets.get(table.family, ()))]
    lines += [f"add counter {where} {name}" for name in table.counters]
    for item in table.maps:
        body = f"type {item.kind} : verdict;"
        lines += [f"add map {where} {item.name} {{ {body} }}", f"flush map {where} {item.name}"]
    for chain in table.chains:
        hook = f" {{ {chain.hook} }}" if chain.hook else ""
        lines += [f"add chain {where} {chain.name}{hook}", f"flush chain {where} {chain.name}"]
    lines += [f"flush chain {where} {name}" for name in old_chains]
    lines += [f"delete chain {where} {name}" for name in old_chains]
    for chain in table.chains:
        lines += [f"add rule {where} {chain.name} {rule}" for rule in chain.rules]
    for item in table.maps:
        if item.elements:
            entries = ", ".join(f"{key} : jump {chain}" for key, chain in item.elements)
            lines.append(f"add element {where} {item.name} {{ {entries} }}")
    return lines + _drop_old(table, held)


def _hold_set(item: Lookup, where: str, present: Sequence[str]) -> list[str]:
    lines = [f"add set {where} {item.name} {{ {set_body(item, elements=False)} }}"]
    if item.is_ours:
        lines.append(f"flush set {where} {item.name}")
    if item.elements and (item.is_ours or item.name not in present):
        lines.append(f"add element {where} {item.name} {{ {', '.join(item.elements)} }}")
    return lines


def _drop_old(table: Table, held: Holdings) -> list[str]:
    where = f"{table.family} {TABLE}"
    known = {item.name for item in table.sets}
    lines = [f"delete set {where} {name}" for name in held.sets.get(table.family, ()) if name not in known]
    counters = set(table.counters)
    lines += [f"delete counter {where} {name}" for name in held.counters.get(table.family, ()) if name not in counters]
    return lines
