"""What may be shut out at all: the never-block list, roles that a site needs, the share of the fleet per hour."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from thingward.model.action import Action, BlastRadius, Limits
from thingward.model.device import Device, device_name
from thingward.wire.nft import canonical_target

HOUR_S = 3600.0
MAX_TARGETS = 32
#: Without these nothing of the site works; nobody shuts them out, not even by force.
VITAL_ROLES = frozenset({"gateway", "resolver"})


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is judged against: one tenant, now.

    Attributes:
        devices: by uid. quarantines: by device uid, those requested or in force.
        starts: by site, (time, device uid) of quarantines begun lately.
    """

    devices: Mapping[str, Device] = {}
    quarantines: Mapping[str, Action] = {}
    starts: Mapping[str, tuple[tuple[float, str], ...]] = {}
    limits: Limits = Limits()


class Targets(msgspec.Struct, frozen=True):
    """What an enforcer is told to shut out."""

    macs: tuple[str, ...]
    addresses: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True):
    """Why a step may not be; `can_force` where a person may overrule it."""

    reason: str
    can_force: bool = False


def targets_of(device: Device, devices: Iterable[Device]) -> Targets:
    """Give the device's hardware addresses, and those addresses that no other device uses now.

    An address that was given to somebody else since, or that it claims although it is another's, is left out, so that
    its holder is not hit. Where hardware addresses are known they do the work.
    """
    taken = {own_addresses(other)[0] for other in devices if other.uid != device.uid and own_addresses(other)}
    macs = tuple(m for m in map(canonical_target, device.macs) if m is not None and ":" in m)
    addresses = [a for a in map(canonical_target, own_addresses(device)) if a is not None and a not in taken]
    return Targets(macs[:MAX_TARGETS], tuple(addresses[:MAX_TARGETS]))


def own_addresses(device: Device) -> tuple[str, ...]:
    """Give the addresses that are the device's beyond doubt: claiming another's protects nobody."""
    return tuple(address for address in device.addresses if address not in device.contested)


def refuse(situation: Situation, device: Device, targets: Targets, now: float) -> Refusal | None:
    """Say why this device may not be shut out now; None if it may."""
    if device.group:
        return Refusal("the record stands for many devices (broadcast or multicast)")
    if device.merged_into:
        return Refusal(f"the record was merged into {device.merged_into}")
    if not targets.macs and not targets.addresses:
        return Refusal("no hardware or IP address of the device is known")
    protected = protected_by(situation, device, targets)
    if protected:
        return Refusal(protected)
    if device.role == "disputed":
        claimed = ", ".join(device.contested[:4])
        return Refusal(
            f"another device claims {claimed} too, which the site needs, and nothing tells whose it is", can_force=True
        )
    return _over_share(situation, device, now)


def protected_by(situation: Situation, device: Device, targets: Targets) -> str:
    """Give the reason why the device or one of its addresses may never be blocked, empty if there is none."""
    if device.role in VITAL_ROLES:
        return f"the device is the site's {device.role}: without it nothing works"
    mine = {*targets.macs, *targets.addresses, *device.macs, *own_addresses(device)}
    rule = never_block_rule(situation.limits.never_block, mine)
    if rule:
        return f"it is on the never-block list ({rule})"
    blocked, macs = {*targets.macs, *targets.addresses}, {*targets.macs}
    for other in situation.devices.values():
        if other.uid == device.uid:
            continue
        if other.role in VITAL_ROLES and not (
            blocked.isdisjoint(other.macs) and blocked.isdisjoint(own_addresses(other))
        ):
            return f"it shares an address with the site's {other.role}"
        if macs.isdisjoint(other.macs):
            continue
        rule = never_block_rule(situation.limits.never_block, {*other.macs, *own_addresses(other)})
        if rule:
            return f"it shares a hardware address with a device on the never-block list ({rule})"
    return ""


def never_block_rule(rules: tuple[str, ...], targets: Iterable[str]) -> str:
    """Give the first never-block entry that covers one of the addresses, empty if none does."""
    names = frozenset(canonical_target(text) or text.lower() for text in targets)
    exact, networks = _parse_rules(rules)
    for name in sorted(names):
        if name in exact:
            return exact[name]
        if not networks:
            continue
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            continue
        for network, rule in networks:
            if address.version == network.version and address in network:
                return rule
    return ""


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(maxsize=64)
def _parse_rules(rules: tuple[str, ...]) -> tuple[dict[str, str], tuple[tuple[_Network, str], ...]]:
    exact: dict[str, str] = {}
    networks: list[tuple[_Network, str]] = []
    for rule in rules:
        name = canonical_target(rule)
        if name is not None:
            exact[name] = rule
            continue
        try:
            networks.append((ipaddress.ip_network(rule.strip(), strict=False), rule))
        except ValueError:
            exact[rule.strip().lower()] = rule
    return exact, tuple(networks)


def fleet_of(situation: Situation, site: str) -> int:
    """Count the devices of a site: records of groups and merged ones do not count."""
    return sum(1 for d in situation.devices.values() if d.site == site and not d.group and not d.merged_into)


def allowed_per_hour(limits: Limits, fleet: int) -> int:
    """Tell how many devices of a fleet may be shut out within an hour."""
    return max(limits.min_devices_per_hour, int(limits.fleet_share_per_hour * fleet))


def _over_share(situation: Situation, device: Device, now: float) -> Refusal | None:
    fleet = fleet_of(situation, device.site)
    allowed = allowed_per_hour(situation.limits, fleet)
    begun = situation.starts.get(device.site, ())
    others = {uid for time, uid in begun if time > now - HOUR_S} - {device.uid}
    if len(others) < allowed:
        return None
    return Refusal(
        f"{len(others)} of {fleet} devices of {device.site} were quarantined within the last hour, {allowed} may be",
        can_force=True,
    )


def blast_of(situation: Situation, device: Device, targets: Targets) -> BlastRadius:
    """Estimate what shutting these addresses out touches."""
    mine = {*targets.macs, *targets.addresses}
    hit = [
        other
        for other in situation.devices.values()
        if other.uid == device.uid or not mine.isdisjoint(other.macs) or mine.intersection(own_addresses(other)[:1])
    ]
    warnings = [
        f"{device_name(other)} shares an address and is shut out too" for other in hit if other.uid != device.uid
    ]
    if not targets.macs:
        warnings.append("no hardware address is known: the device can come back with another address")
    services = tuple(sorted({other.role for other in hit if other.role}))
    fleet = max(fleet_of(situation, device.site), 1)
    return BlastRadius(
        devices=max(len(hit), 1),
        fleet_share=min(round(max(len(hit), 1) / fleet, 4), 1.0),
        services=services,
        warnings=tuple(warnings[:8]),
    )
