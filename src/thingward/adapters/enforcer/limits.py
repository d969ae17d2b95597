"""What no caller may talk an enforcer into: the never-block list, the share of the fleet, the longest block."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping

import msgspec

from thingward.model.action import Action, ActionKind, EnforcementEntry, EnforcementState, Limits
from thingward.wire.nft import canonical_target

HOUR_S = 3600.0
MAX_RECENT = 10_000
#: Roles of a site that everybody needs: shutting their holder out would stop the site.
VITAL_ROLES = ("gateway", "dns", "dhcp")


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One quarantine in force; times in seconds since 1970."""

    tenant: str
    site: str
    device: str
    action: str
    began: float
    expires: float
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Recent(msgspec.Struct, frozen=True, array_like=True):
    """A device that was shut out, and when, for the share per hour."""

    time: float
    tenant: str
    site: str
    device: str


class Guardrail:
    """Says no, and why.

    Args:
        limits: bounds of this machine: they hold whatever a state says; a state may only add to the never-block list
            and shorten the longest block. Its share per hour is the one in force, because people may change it.
        own: addresses of this machine itself.
    """

    def __init__(self, limits: Limits, own: Collection[str] = ()) -> None:
        self.limits = limits
        self.own = frozenset(own)
        self.recent: tuple[Recent, ...] = ()

    def refuse(self, tenant: str, action: Action, state: EnforcementState | None, now: float) -> str:
        """Give the reason why this quarantine may not be, empty if it may."""
        if action.tenant != tenant:
            return "the action belongs to another tenant"
        if action.kind is not ActionKind.QUARANTINE:
            return f"the action is no quarantine but {action.kind}"
        longest = min(self.limits.max_ttl_s, state.limits.max_ttl_s if state else self.limits.max_ttl_s)
        if not 0 < action.ttl_s <= longest:
            return f"a quarantine lasts more than 0 and at most {longest:.0f} s, not {action.ttl_s:.0f} s"
        protected = self.protected_of(action, state)
        if protected:
            return protected
        return "" if action.force else self._over_share(tenant, action, state, now)

    def protected_of(self, action: Action, state: EnforcementState | None) -> str:
        """Give the reason why one of the action's addresses may never be blocked, empty if there is none."""
        known = state.devices.get(action.device, ()) if state else ()
        held = next((entry for entry in state.entries if entry.device == action.device), None) if state else None
        also = (*held.macs, *held.addresses) if held else ()
        vital = {role: state.roles.get(role, ()) for role in VITAL_ROLES} if state else {}
        return self._protected({*action.macs, *action.addresses, *known, *also}, state, vital)

    def protected_entry(self, entry: EnforcementEntry, state: EnforcementState) -> str:
        """Give the reason why this device's traffic may never be judged, empty if there is none."""
        return self._protected({*entry.macs, *entry.addresses}, state, {})

    def record(self, tenant: str, action: Action, now: float) -> None:
        """Remember that this device was shut out."""
        kept = [item for item in self.recent if _is_lately(item, now)]
        self.recent = (*kept[-MAX_RECENT:], Recent(now, tenant, action.site, action.device))

    def _protected(
        self, targets: Iterable[str], state: EnforcementState | None, vital: Mapping[str, Collection[str]]
    ) -> str:
        canonical = {canonical_target(text) or text for text in targets}
        for text in sorted(canonical):
            if text in self.own:
                return f"{text} is this machine itself"
            for role, holders in vital.items():
                if text in {canonical_target(holder) for holder in holders}:
                    return f"{text} is the site's {role}: without it nothing works"
        rules = (*self.limits.never_block, *(state.limits.never_block if state else ()))
        for rule in rules:
            for text in sorted(canonical):
                if _covers(rule, text):
                    return f"{text} is on the never-block list ({rule})"
        return ""

    def _over_share(self, tenant: str, action: Action, state: EnforcementState | None, now: float) -> str:
        limits = state.limits if state else self.limits
        fleet = (state.fleet_size or len(state.devices)) if state else 0
        allowed = max(limits.min_devices_per_hour, int(limits.fleet_share_per_hour * fleet))
        others = {
            item.device
            for item in self.recent
            if _is_lately(item, now) and (item.tenant, item.site) == (tenant, action.site)
        } - {action.device}
        if len(others) < allowed:
            return ""
        return (
            f"{len(others)} of {fleet} devices of {action.site} were quarantined within the last hour, "
            f"{allowed} may be: a person can force it"
        )


def _is_lately(item: Recent, now: float) -> bool:
    """Tell whether it was within an hour; a clock that was set back by up to an hour makes nothing undone."""
    return abs(now - item.time) < HOUR_S


def _covers(rule: str, target: str) -> bool:
    if canonical_target(rule) == target:
        return True
    try:
        network = ipaddress.ip_network(rule, strict=False)
        address = ipaddress.ip_address(target)
    except ValueError:
        return False
    return address.version == network.version and address in network
