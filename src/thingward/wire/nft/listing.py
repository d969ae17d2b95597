"""What the kernel says it holds: nft's JSON and its plain listing, read back and digested."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec

from thingward.model.errors import Unavailable
from thingward.wire.nft.tokens import FAMILIES, TABLE, Family

_CHANGING = re.compile(
    r"(\n\tset (?:n[46]_[0-9a-f]{16}|quarantine_[a-z]+[46]?) \{\n(?:\t\t[^\n]*\n)*?)\t\telements = \{[^}]*\}\n",
    re.ASCII,
)


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """Names of what is there now, by family, and counters by name (packets refused, both tables added up)."""

    tables: frozenset[Family] = frozenset()
    chains: dict[Family, tuple[str, ...]] = {}
    sets: dict[Family, tuple[str, ...]] = {}
    counters: dict[Family, tuple[str, ...]] = {}
    packets: dict[str, int] = {}


def _objects(text: str) -> list[dict[str, object]]:
    try:
        found = msgspec.json.decode(text.encode(), type=dict[str, list[dict[str, dict[str, object]]]])
    except msgspec.DecodeError as error:
        raise Unavailable(f"nft gave a listing that cannot be read: {error}") from error
    return [{"object": kind, **body} for item in found.get("nftables", []) for kind, body in item.items()]


def _names(objects: Iterable[Mapping[str, object]], kind: str) -> dict[Family, tuple[str, ...]]:
    return {
        family: tuple(str(item["name"]) for item in objects if item["object"] == kind and item.get("family") == family)
        for family in FAMILIES
    }


def parse_holdings(text: str) -> Holdings:
    """Read `nft -j -t list ruleset` (any number of tables; only ours counts).

    Raises:
        Unavailable: it is not what nft writes.
    """
    objects = _objects(text)
    ours = [item for item in objects if item.get("table") == TABLE]
    families = {item.get("family") for item in objects if item["object"] == "table" and item.get("name") == TABLE}
    packets: dict[str, int] = {}
    for item in ours:
        count = item.get("packets")
        if item["object"] == "counter" and isinstance(count, int):
            packets[str(item["name"])] = packets.get(str(item["name"]), 0) + count
    return Holdings(
        tables=frozenset(family for family in FAMILIES if family in families),
        chains=_names(ours, "chain"),
        sets=_names(ours, "set"),
        counters=_names(ours, "counter"),
        packets=packets,
    )


def parse_elements(text: str) -> dict[str, float]:
    """Read `nft -j list set ...`: element to seconds left, -1 for one without an end.

    Raises:
        Unavailable: it is not what nft writes.
    """
    found: dict[str, float] = {}
    for item in _objects(text):
        elements = item.get("elem", [])
        for element in elements if isinstance(elements, list) else []:
            body = element.get("elem") if isinstance(element, dict) else None
            if isinstance(body, dict):
                left = body.get("expires", -1)
                found[str(body.get("val"))] = float(left) if isinstance(left, int | float) else -1.0
            else:
                found[str(element)] = -1.0
    return found


def digest_rules(listing: str) -> str:
    """Digest a stateless listing of our tables, without what comes and goes: quarantined and learnt addresses.

    The order in which chains and sets were once made does not count.
    """
    digest = hashlib.sha256()
    for table in sorted(_CHANGING.sub(r"\1", listing).split("\n}\n")):
        head, _, body = table.partition(" {\n")
        blocks = sorted(block.strip("\n") for block in body.split("\n\n"))
        digest.update("\n\n".join([head, *blocks]).encode() + b"\n}\n")
    return digest.hexdigest()


def digest_state(rules: str, elements: Mapping[str, Iterable[str]]) -> str:
    """Join the digest of the rules with the quarantined elements (set to elements) into the state's digest."""
    digest = hashlib.sha256(rules.encode())
    for name in sorted(elements):
        for element in sorted(elements[name]):
            digest.update(f"\n{name} {element}".encode())
    return digest.hexdigest()
