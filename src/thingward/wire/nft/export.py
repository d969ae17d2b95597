"""Files for others: a whole nftables file, OpenWrt's firewall include, dnsmasq's lines."""

from __future__ import annotations

from collections.abc import Sequence

from thingward.wire.nft.ruleset import NAME_TIMEOUT_S, Ruleset
from thingward.wire.nft.tables import NameBinding, Table, set_body
from thingward.wire.nft.tokens import TABLE, shown

CACHE_S = 300
_COMMENT = 400
MAX_BOUND = 4  # dnsmasq reads lines of 1,024 characters

_HEAD = """# Made by thingward. It holds {holds}; everything else is left as it was.
# Remove it all with: nft 'delete table {first} {table}'{more}
"""
_OPENWRT = """# OpenWrt 22.03 or later: put this file into /usr/share/nftables.d/ruleset-post/ and run `fw4 reload`.
# Names need dnsmasq-full and the lines of the dnsmasq file. Switch off flow offloading: it passes by these rules.
"""
_DNSMASQ = """# Made by thingward: addresses that these names resolve to are opened for the devices that may reach them.
# Answers from the cache open nothing, so what is cached must end before what is open does.
{notes}max-cache-ttl={cache_s}
"""


def render_file(ruleset: Ruleset, *, table: str = TABLE, holds: str = "", notes: Sequence[str] = ()) -> str:
    """Write a file for `nft -f`; loading it again replaces it.

    Args:
        table: name of the tables. holds: what the file holds, for its first line; default: how many approved profiles.
        notes: plain lines about the file, each becomes a comment.
    """
    if not ruleset.tables:
        return ""
    devices = len({chain.name for table in ruleset.tables for chain in table.chains if chain.name.startswith("out_")})
    families = [table.family for table in ruleset.tables]
    head = _HEAD.format(
        holds=holds or f"the approved profiles of {'1 device' if devices == 1 else f'{devices} devices'}",
        first=families[0],
        table=table,
        more="".join(f"; nft 'delete table {family} {table}'" for family in families[1:]),
    )
    said = comments(notes) + "".join(f"# Not enforced: {line}\n" for line in ruleset.skipped)
    return head + said + "".join(_whole_table(content, table) for content in ruleset.tables)


def render_openwrt(ruleset: Ruleset, *, table: str = TABLE, holds: str = "", notes: Sequence[str] = ()) -> str:
    """Write the same as an include of OpenWrt's fw4."""
    return _OPENWRT + render_file(ruleset, table=table, holds=holds, notes=notes)


def comments(lines: Sequence[str]) -> str:
    """Write lines as comments, whatever is in them."""
    return "".join(f"# {shown(line, most=_COMMENT)}\n" for line in lines)


def render_dnsmasq(
    names: Sequence[NameBinding], *, name_timeout_s: int = NAME_TIMEOUT_S, table: str = TABLE, notes: Sequence[str] = ()
) -> str:
    """Write dnsmasq's lines: for each name the sets that its answers fill.

    dnsmasq takes the longest name that a question ends in and fills that one's sets only; therefore a name's line
    also lists the sets of every wildcard above it.
    """
    wildcards = {item.name[2:]: item for item in names if item.name.startswith("*.")}
    exact = {item.name: item for item in names if not item.name.startswith("*.")}
    lines = []
    for domain in sorted({*wildcards, *exact}):
        labels = domain.split(".")
        above = [".".join(labels[depth:]) for depth in range(len(labels))]
        bound = [wildcards[name] for name in above if name in wildcards]
        if domain in exact:
            bound.insert(0, exact[domain])
        sets = [
            f"{version}#{family}#{table}#{item.set4 if version == 4 else item.set6}"
            for item in bound[:MAX_BOUND]
            for family in item.families
            for version in (4, 6)
        ]
        lines.append(f"nftset=/{domain}/{','.join(sets)}")
    head = _DNSMASQ.format(cache_s=min(CACHE_S, name_timeout_s // 2), notes=comments(notes))
    return head + "".join(f"{line}\n" for line in lines)


def _whole_table(table: Table, name: str) -> str:
    lines = [
        f"add table {table.family} {name}",
        f"delete table {table.family} {name}",
        f"table {table.family} {name} {{",
    ]
    for item in table.sets:
        lines.append(f"\tset {item.name} {{ {set_body(item, elements=True)} }}")
    lines += [f"\tcounter {name} {{ }}" for name in table.counters]
    for chain in table.chains:
        lines.append(f"\tchain {chain.name} {{")
        lines += [f"\t\t{chain.hook}"] if chain.hook else []
        lines += [f"\t\t{rule}" for rule in chain.rules]
        lines.append("\t}")
    for entry in table.maps:
        pairs = ", ".join(f"{key} : jump {chain}" for key, chain in entry.elements)
        contents = f" elements = {{ {pairs} }};" if pairs else ""
        lines.append(f"\tmap {entry.name} {{ type {entry.kind} : verdict;{contents} }}")
    return "\n".join([*lines, "}"]) + "\n"
