"""The twin of nftables in memory: the same decisions and bookkeeping, and nobody's packets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from thingward.model.action import EnforcementState
from thingward.ports.clock import Clock
from thingward.wire.nft import FAMILIES, Elements, Ruleset, build_ruleset, digest_rules, render_file


class MemoryRules:
    """An engine whose rules are text and whose timeouts run by the given clock."""

    name = "memory"

    def __init__(self, clock: Clock, *, own: frozenset[str] = frozenset(), why: str = "") -> None:
        self.why = why
        self.ruleset = Ruleset(tables=())
        self._clock = clock
        self._own = own
        self._ends: dict[tuple[str, str], float] = {}

    def unusable(self) -> str:
        """Give the reason that the test gave."""
        return self.why

    def own(self) -> frozenset[str]:
        """Give the addresses that the test gave."""
        return self._own

    def hold(self, states: Mapping[str, EnforcementState]) -> Ruleset:
        """Replace the rules."""
        self.ruleset = build_ruleset(states, families=FAMILIES)
        return self.ruleset

    def add(self, elements: Elements, ttl_s: float) -> None:
        """Shut out."""
        for pair in elements.pairs:
            self._ends[pair] = self._clock.monotonic() + ttl_s

    def withdraw(self, elements: Elements) -> None:
        """Let back in."""
        for pair in elements.pairs:
            self._ends.pop(pair, None)

    def elements(self) -> dict[str, dict[str, float]]:
        """Give what is shut out and for how many seconds more."""
        now = self._clock.monotonic()
        self._ends = {pair: end for pair, end in self._ends.items() if end > now}
        found: dict[str, dict[str, float]] = {}
        for (name, element), end in self._ends.items():
            found.setdefault(name, {})[element] = end - now
        return found

    def rules_digest(self) -> str:
        """Digest the rules."""
        bare = msgspec.structs.replace(self.ruleset, skipped=())
        return digest_rules(render_file(bare))

    def refused(self) -> dict[str, int]:
        """Count nothing: no packet passes here."""
        return {}

    def remove(self) -> None:
        """Forget the rules."""
        self.ruleset = Ruleset(tables=())
        self._ends.clear()
