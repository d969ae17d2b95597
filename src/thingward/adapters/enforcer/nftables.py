"""Rules in this host's kernel. They stay when this process dies; quarantines end there by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from thingward.adapters.enforcer.machine import has_bridge, own_addresses
from thingward.adapters.enforcer.nft_run import NftRunner, best_runner
from thingward.model.action import EnforcementState
from thingward.model.errors import ThingwardError, Unavailable
from thingward.wire.nft import (
    FAMILIES,
    Elements,
    Family,
    Holdings,
    Ruleset,
    build_ruleset,
    digest_rules,
    parse_elements,
    parse_holdings,
    render_add,
    render_hold,
    render_remove_all,
    render_withdraw,
)

Path = Literal["auto", "router", "bridge", "both", "off"]

_SETS = ("quarantine_mac", "quarantine_ip4", "quarantine_ip6", "quarantine_to4", "quarantine_to6")
_PROBE = "thingward_probe"


class NftRules:
    """The engine: tables `inet thingward` and `bridge thingward`.

    Args:
        path: which packets this host sees; `auto` adds the bridge's table where the host has a bridge.
    """

    name = "nftables"

    def __init__(
        self, path: Path = "auto", *, runner: NftRunner | None = None, bridged: Callable[[], bool] = has_bridge
    ) -> None:
        self._path = path
        self._given = runner
        self._bridged = bridged
        self._runner: NftRunner | None = None
        self._why = ""
        self.families: tuple[Family, ...] = ()
        self.tracked: frozenset[Family] = frozenset()

    def unusable(self) -> str:
        """Give the reason why nftables cannot be used here; asked until it works, then remembered."""
        if self._path == "off":
            return "enforcement is switched off (setting enforce.path)"
        if self._runner is None:
            try:
                self._probe(self._given or best_runner())
            except ThingwardError as error:
                self._why = str(error)
        return "" if self._runner else self._why

    def own(self) -> frozenset[str]:
        """Give the addresses of this machine's interfaces."""
        return own_addresses()

    def hold(self, states: Mapping[str, EnforcementState]) -> Ruleset:
        """Replace our tables' rules in one transaction."""
        ruleset = build_ruleset(states, families=self.families, tracked=self.tracked)
        held = self._held()
        try:
            self._nft.run(render_hold(ruleset, held))
        except Unavailable:
            # What is there does not fit (another version made it, somebody changed it): make it anew, as one.
            carried = self.elements() if held.tables else {}
            self._nft.run(render_remove_all() + render_hold(ruleset, Holdings()) + self._carry(carried))
        return ruleset

    def add(self, elements: Elements, ttl_s: float) -> None:
        """Shut out, in all tables at once."""
        self._nft.run(render_add(elements, self.families, ttl_s))

    def withdraw(self, elements: Elements) -> None:
        """Let back in, in all tables at once."""
        self._nft.run(render_withdraw(elements, self.families))

    def elements(self) -> dict[str, dict[str, float]]:
        """Ask the kernel what it shuts out and for how many seconds more."""
        family = self.families[0]
        try:
            found = {
                name: parse_elements(self._nft.listing(f"list set {family} thingward {name}", ("-j",)))
                for name in _SETS
            }
        except Unavailable:
            if family in self._held().tables:
                raise
            return {}  # nothing was ever set, or everything was removed
        return {name: elements for name, elements in found.items() if elements}

    def rules_digest(self) -> str:
        """Digest our tables' stateless listing; a missing table counts as empty."""
        present = self._held().tables
        texts = [
            self._nft.listing(f"list table {family} thingward", ("-s",)) for family in FAMILIES if family in present
        ]
        return digest_rules("".join(texts))

    def refused(self) -> dict[str, int]:
        """Read the counters."""
        return {name: count for name, count in self._held().packets.items() if count}

    def remove(self) -> None:
        """Delete our tables, also those that an earlier configuration made."""
        (self._runner or self._given or best_runner()).run(render_remove_all())

    @property
    def _nft(self) -> NftRunner:
        if self._runner is None:
            raise Unavailable(self._why or "nftables was not tried yet.")
        return self._runner

    def _held(self) -> Holdings:
        return parse_holdings(self._nft.listing("list ruleset", ("-j", "-t")))

    def _carry(self, carried: Mapping[str, Mapping[str, float]]) -> str:
        return "".join(
            render_add(Elements(pairs=((name, element),)), self.families, left_s)
            for name, found in carried.items()
            for element, left_s in found.items()
        )

    def _probe(self, runner: NftRunner) -> None:
        wanted: Sequence[Family] = ("inet",)
        if self._path in ("bridge", "both") or (self._path == "auto" and self._bridged()):
            wanted = ("bridge",) if self._path == "bridge" else FAMILIES
        runner.listing("list ruleset", ("-j", "-t"))
        usable: list[Family] = []
        for family in wanted:
            try:
                runner.run(f"add table {family} {_PROBE}\n", check_only=True)
                usable.append(family)
            except ThingwardError:
                if self._path != "auto" or family == "inet":
                    raise
        self.families = tuple(usable)
        self.tracked = frozenset(family for family in usable if _is_tracked(runner, family))
        self._runner = runner


def _is_tracked(runner: NftRunner, family: Family) -> bool:
    where = f"{family} {_PROBE}"
    text = f"add table {where}\nadd chain {where} probe\nadd rule {where} probe ct direction reply return\n"
    try:
        runner.run(text, check_only=True)
    except ThingwardError:
        return False
    return True
