"""Who made a device and what it is: from what it declares of itself, by a content pack; never a guess."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable
from importlib import resources
from typing import Final

import msgspec

from thingward.model.device import DeviceClass

MAX_CONFLICTS: Final = 4
CERTAIN_LEAD: Final = 0.05


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the content pack: where `match` is found in one of the attributes, the rest is so.

    Attributes:
        attributes: names as in docs/protocols.md.
        match: regular expression, searched without regard to case.
        maker, model: may hold `$1` for what the expression's first group found.
        confidence: 0 to 1, multiplied by that of the evidence.
    """

    attributes: tuple[str, ...]
    match: str
    maker: str = ""
    model: str = ""
    kind: str = ""
    confidence: float = 0.9


class Pack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content pack: kinds with their device class, and rules."""

    kinds: dict[str, DeviceClass]
    rule: tuple[Rule, ...]


class Claimed(msgspec.Struct, frozen=True):
    """What one piece of evidence says."""

    maker: str
    model: str
    kind: str
    confidence: float


class Identification(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a device; empty means that nothing says so."""

    maker: str = ""
    model: str = ""
    kind: str = ""
    reason: str = ""
    conflicts: tuple[str, ...] = ()

    @staticmethod
    def class_of(kind: str) -> DeviceClass:
        """Give the class of a kind, unknown for kinds that the pack does not list."""
        return load_pack().kinds.get(kind, DeviceClass.UNKNOWN)


@functools.cache
def load_pack() -> Pack:
    """Read the content pack that ships with thingward."""
    text = resources.files("thingward.inventory").joinpath("content", "devices.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Pack)


@functools.cache
def _rules_by_attribute() -> dict[str, tuple[tuple[re.Pattern[str], Rule], ...]]:
    table: dict[str, list[tuple[re.Pattern[str], Rule]]] = {}
    for rule in load_pack().rule:
        pattern = re.compile(rule.match, re.IGNORECASE)
        for name in rule.attributes:
            table.setdefault(name, []).append((pattern, rule))
    return {name: tuple(rules) for name, rules in table.items()}


@functools.lru_cache(maxsize=8192)
def claims_of(name: str, value: str) -> tuple[Claimed, ...]:
    """Give what the pack reads from one attribute."""
    found = []
    for pattern, rule in _rules_by_attribute().get(name, ()):
        match = pattern.search(value)
        if match:
            first = (match.group(1) or "").strip() if match.re.groups else ""
            maker, model = rule.maker.replace("$1", first), rule.model.replace("$1", first)
            found.append(Claimed(maker, model, rule.kind, rule.confidence))
    return tuple(found)


def identify(evidence: Iterable[tuple[str, str, float]], maker: str) -> Identification:
    """Weigh all evidence: (name, value, confidence) triples, and the maker of the hardware address.

    The best-founded value of each field wins; one that is contested by evidence of about the same weight is left
    out, and the contest is reported.
    """
    votes: dict[str, dict[str, tuple[float, str]]] = {"maker": {}, "model": {}, "kind": {}}
    for name, value, confidence in evidence:
        for claimed in claims_of(name, value):
            weight = claimed.confidence * confidence
            for field in ("maker", "model", "kind"):
                text = getattr(claimed, field)
                if text and weight > votes[field].get(text, (0.0, ""))[0]:
                    votes[field][text] = (weight, f"{name} {value[:60]}")
    conflicts: list[str] = []
    found = {field: _winner(field, options, conflicts) for field, options in votes.items()}
    return Identification(
        maker=found["maker"][0] or maker,
        model=found["model"][0],
        kind=found["kind"][0],
        reason=found["kind"][1],
        conflicts=tuple(conflicts[:MAX_CONFLICTS]),
    )


def _winner(field: str, options: dict[str, tuple[float, str]], conflicts: list[str]) -> tuple[str, str]:
    if not options:
        return "", ""
    ranked = sorted(options.items(), key=lambda item: (-item[1][0], item[0]))
    text, (weight, why) = ranked[0]
    if len(ranked) > 1 and weight - ranked[1][1][0] < CERTAIN_LEAD:
        other, (_, other_why) = ranked[1]
        conflicts.append(f"{field}: {text} ({why}) or {other} ({other_why})")
        if field == "kind":
            return "", ""
    return text, why
