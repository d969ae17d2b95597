"""The language of nftables and of dnsmasq's `nftset`: approved profiles in, rules out, listings back in.

Pure text: nothing here runs a program. Every value that comes from outside passes `tokens` first, which gives
back a canonical form of its own making or nothing, so that no input can add a word to the language.
"""

from thingward.wire.nft.export import render_dnsmasq, render_file, render_openwrt
from thingward.wire.nft.listing import Holdings, digest_rules, digest_state, parse_elements, parse_holdings
from thingward.wire.nft.ruleset import Ruleset, build_ruleset
from thingward.wire.nft.tables import Chain, Lookup, Map, NameBinding, Table
from thingward.wire.nft.tokens import FAMILIES, Family, canonical_target
from thingward.wire.nft.transaction import (
    Elements,
    quarantine_elements,
    render_add,
    render_hold,
    render_remove_all,
    render_withdraw,
)

__all__ = [
    "FAMILIES",
    "Chain",
    "Elements",
    "Family",
    "Holdings",
    "Lookup",
    "Map",
    "NameBinding",
    "Ruleset",
    "Table",
    "build_ruleset",
    "canonical_target",
    "digest_rules",
    "digest_state",
    "parse_elements",
    "parse_holdings",
    "quarantine_elements",
    "render_add",
    "render_dnsmasq",
    "render_file",
    "render_hold",
    "render_openwrt",
    "render_remove_all",
    "render_withdraw",
]
