"""From approved profiles to tables: one pair of chains per device, reached by its addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from thingward.model.action import EnforcementEntry, EnforcementState
from thingward.model.errors import InvalidInput
from thingward.model.profile import Acl, PeerKind
from thingward.wire.nft.match import Scope, Unrenderable, basic_rules, rules_for
from thingward.wire.nft.tables import Chain, Lookup, Map, NameBinding, Table
from thingward.wire.nft.tokens import (
    FAMILIES,
    PRIVATE_NETWORKS,
    Family,
    Network,
    canonical_host,
    canonical_mac,
    canonical_name,
    canonical_network,
    element_text,
    safe_id,
    shown,
)

MAX_DEVICES = 4096
MAX_ENTRIES = 512
MAX_NAMES = 8192
MAX_SKIPPED = 200
MAX_SEED = 32
NAME_TIMEOUT_S = 86_400

_PRIORITY = "-5"
_QUARANTINE = (
    ("quarantine_mac", "ether_addr"),
    ("quarantine_ip4", "ipv4_addr"),
    ("quarantine_ip6", "ipv6_addr"),
    ("quarantine_to4", "ipv4_addr"),
    ("quarantine_to6", "ipv6_addr"),
)
_BY_MAC_TO = ("devices_in", "ether_addr")  # who a routed packet goes to has no hardware address yet
_MAPS = (
    ("devices_out", "ether_addr"),
    ("devices_out4", "ipv4_addr"),
    ("devices_out6", "ipv6_addr"),
    ("devices_in4", "ipv4_addr"),
    ("devices_in6", "ipv6_addr"),
)


class Ruleset(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the kernel and the resolver are to hold.

    Attributes:
        skipped: entries that could not be said in rules and are therefore refused, one plain line each, bounded.
        names: what the resolver must fill.
        counters: counter name to device uid.
    """

    tables: tuple[Table, ...]
    skipped: tuple[str, ...] = ()
    names: tuple[NameBinding, ...] = ()
    counters: dict[str, str] = {}


def build_ruleset(
    states: Mapping[str, EnforcementState],
    *,
    families: Sequence[Family] = FAMILIES,
    tracked: Iterable[Family] = ("inet",),
    name_timeout_s: int = NAME_TIMEOUT_S,
) -> Ruleset:
    """Turn the desired states (by tenant) into tables.

    Args:
        families: which tables: `inet` judges what this host routes and takes itself, `bridge` what it bridges.
        tracked: families in which the kernel has connection tracking.
        name_timeout_s: how long an address counts as a name's after it was last resolved or used, in seconds.
    Raises:
        InvalidInput: more devices, entries or names than the bounds allow.
    """
    _check_bounds(states)
    builders = [
        _Builder(family, family in frozenset(tracked), families, name_timeout_s)
        for family in FAMILIES
        if family in families
    ]
    for tenant, state in sorted(states.items()):
        for builder in builders:
            builder.add_state(tenant, state)
    skipped = list(dict.fromkeys(line for builder in builders for line in builder.skipped))
    if len(skipped) > MAX_SKIPPED:
        skipped = [*skipped[:MAX_SKIPPED], f"and {len(skipped) - MAX_SKIPPED} more"]
    counters = {name: uid for builder in builders for name, uid in builder.counters.items()}
    tables = tuple(builder.table() for builder in builders)
    if len(builders[0].names if builders else ()) > MAX_NAMES:
        raise InvalidInput(f"the approved profiles name more than {MAX_NAMES} hosts")
    names = _bindings(builders)
    return Ruleset(tables=tables, skipped=tuple(skipped), names=names, counters=counters)


def _bindings(builders: Sequence[_Builder]) -> tuple[NameBinding, ...]:
    keys = {name: key for builder in builders for name, key in builder.names.items()}
    families = tuple(builder.family for builder in builders)
    return tuple(
        NameBinding(name=name, set4=f"n4_{key}", set6=f"n6_{key}", families=families)
        for name, key in sorted(keys.items())
    )


def _check_bounds(states: Mapping[str, EnforcementState]) -> None:
    entries = [entry for state in states.values() for entry in state.entries]
    if len(entries) > MAX_DEVICES:
        raise InvalidInput(f"more than {MAX_DEVICES} devices with approved profiles")
    for entry in entries:
        if len(entry.acls) > MAX_ENTRIES:
            raise InvalidInput(f"device {shown(entry.device)} has more than {MAX_ENTRIES} entries")


class _Builder:
    """Collects one table."""

    def __init__(self, family: Family, tracked: bool, families: Sequence[Family], name_timeout_s: int) -> None:
        self.family: Family = family
        self.tracked = tracked
        self.bridged_only = "inet" not in families
        self.name_timeout_s = name_timeout_s
        self.names: dict[str, str] = {}
        self.seeds: dict[str, set[str]] = {}
        self.sets: list[Lookup] = []
        self.map_kinds = dict(_MAPS if family == "inet" else (*_MAPS, _BY_MAC_TO))
        self.maps: dict[str, dict[str, str]] = {name: {} for name in self.map_kinds}
        self.chains: list[Chain] = []
        self.counters: dict[str, str] = {}
        self.skipped: list[str] = []

    def add_state(self, tenant: str, state: EnforcementState) -> None:
        """Add one tenant's site."""
        key = safe_id(tenant, state.site)
        networks = tuple(network for text in state.networks if (network := canonical_network(text)) is not None)
        local = (*networks, ipaddress.ip_network("fe80::/10")) if networks else PRIVATE_NETWORKS
        for version in (4, 6):
            elements = tuple(sorted(element_text(network) for network in local if network.version == version))
            self.sets.append(
                Lookup(name=f"l{version}_{key}", kind=f"ipv{version}_addr", flags="interval", elements=elements)
            )
        scope = Scope(
            family=self.family,
            tracked=self.tracked,
            roles=state.roles,
            devices=state.devices,
            names=self.names,
            local4=f"l4_{key}",
            local6=f"l6_{key}",
            known_local=local,
        )
        for entry in sorted(state.entries, key=lambda entry: entry.device):
            self._add_device(tenant, state.site, entry, scope)

    def _add_device(self, tenant: str, site: str, entry: EnforcementEntry, scope: Scope) -> None:
        key = safe_id(tenant, site, entry.device)
        if not self._bind(entry, key):
            self._skip(entry.device, "it has no hardware or IP address of its own: its profile is not enforced")
            return
        out_rules, in_rules = basic_rules(scope, entry.acls)
        for acl in entry.acls:
            self._take_name(acl)
            try:
                for_out, for_in = rules_for(acl, scope)
            except Unrenderable as error:
                self._skip(entry.device, f"{acl.direction} {acl.peer} {shown(acl.value)}: {error}")
                continue
            out_rules += for_out
            in_rules += for_in
        self.counters[f"refused_{key}"] = entry.device
        refuse = f'counter name "refused_{key}" drop'
        self.chains.append(Chain(name=f"out_{key}", rules=(*dict.fromkeys(out_rules), refuse)))
        self.chains.append(Chain(name=f"in_{key}", rules=(*dict.fromkeys(in_rules), refuse)))

    def _bind(self, entry: EnforcementEntry, key: str) -> bool:
        macs = [mac for text in entry.macs if (mac := canonical_mac(text)) is not None]
        hosts = [host for text in entry.addresses if (host := canonical_host(text)) is not None]
        for mac in macs:
            self._route("devices_out", mac, f"out_{key}", entry.device)
            if self.family == "bridge":
                self._route("devices_in", mac, f"in_{key}", entry.device)
        for host in hosts:
            if self.family == "inet" or not macs:
                self._route(f"devices_in{host.version}", str(host), f"in_{key}", entry.device)
            if not macs:
                self._route(f"devices_out{host.version}", str(host), f"out_{key}", entry.device)
        return bool(macs or hosts)

    def _route(self, table: str, element: str, chain: str, device: str) -> None:
        holder = self.maps[table].setdefault(element, chain)
        if holder != chain:
            self._skip(device, f"{element} already belongs to another device: judged by that one's profile")

    def _take_name(self, acl: Acl) -> None:
        if acl.peer is not PeerKind.NAME or not acl.resolved:
            return
        name = canonical_name(acl.value)
        if name is not None:
            key = self.names.setdefault(name, safe_id("name", name))
            self.seeds.setdefault(key, set()).update(acl.addresses[:MAX_SEED])

    def _skip(self, device: str, why: str) -> None:
        self.skipped.append(f"{shown(device)}: {why}")

    def table(self) -> Table:
        """Give the finished table."""
        quarantine = [Lookup(name=name, kind=kind, flags="timeout") for name, kind in _QUARANTINE]
        maps = [
            Map(name=name, kind=kind, elements=tuple(sorted(self.maps[name].items())))
            for name, kind in self.map_kinds.items()
        ]
        base = _inet_chains() if self.family == "inet" else _bridge_chains(self.bridged_only)
        return Table(
            family=self.family,
            sets=(*quarantine, *self.sets, *self._name_sets()),
            counters=("quarantined", *sorted(self.counters)),
            maps=tuple(maps),
            chains=(*self.chains, *base),
        )

    def _name_sets(self) -> list[Lookup]:
        found = []
        for key in sorted(self.names.values()):
            hosts = [host for text in self.seeds[key] if (host := canonical_network(text)) and host.num_addresses == 1]
            for version in (4, 6):
                found.append(
                    Lookup(
                        name=f"n{version}_{key}",
                        kind=f"ipv{version}_addr",
                        flags="dynamic,timeout",
                        timeout_s=self.name_timeout_s,
                        elements=_seed(hosts, version),
                    )
                )
        return found


def _seed(hosts: Iterable[Network], version: int) -> tuple[str, ...]:
    texts = sorted(element_text(host) for host in hosts if host.version == version and not host.is_unspecified)
    return tuple(texts[:MAX_SEED])


def _base(name: str, hook: str, rules: Sequence[str], *, priority: str = _PRIORITY) -> Chain:
    return Chain(name=name, hook=f"type filter hook {hook} priority {priority}; policy accept;", rules=tuple(rules))


def _shut(*matches: str) -> list[str]:
    return [f'{match} counter name "quarantined" drop' for match in matches]


def _inet_chains() -> tuple[Chain, ...]:
    towards = _shut(
        "ip daddr @quarantine_ip4", "ip6 daddr @quarantine_ip6", "ip daddr @quarantine_to4", "ip6 daddr @quarantine_to6"
    )
    outwards = ["ether saddr vmap @devices_out", "ip saddr vmap @devices_out4", "ip6 saddr vmap @devices_out6"]
    inwards = ["ip daddr vmap @devices_in4", "ip6 daddr vmap @devices_in6"]
    early = _shut("ether saddr @quarantine_mac", "ip saddr @quarantine_ip4", "ip6 saddr @quarantine_ip6")
    return (
        _base("early", "prerouting", early, priority="-310"),
        _base("forward", "forward", [*towards, *outwards, *inwards]),
        _base("input", "input", outwards),
        _base("output", "output", towards),
    )


def _bridge_chains(bridged_only: bool) -> tuple[Chain, ...]:
    addresses = (
        "ip saddr @quarantine_ip4",
        "ip daddr @quarantine_ip4",
        "ip6 saddr @quarantine_ip6",
        "ip6 daddr @quarantine_ip6",
    )
    judged = [
        "ether saddr vmap @devices_out",
        "ip saddr vmap @devices_out4",
        "ip6 saddr vmap @devices_out6",
        "ether daddr vmap @devices_in",
        "ip daddr vmap @devices_in4",
        "ip6 daddr vmap @devices_in6",
    ]
    # Frames for this host: its own IP is judged by the inet table, behind the point where the sensor listens.
    taken = "ether saddr @quarantine_mac" if bridged_only else "ether saddr @quarantine_mac ether type != { ip, ip6 }"
    return (
        _base(
            "forward",
            "forward",
            [*_shut("ether saddr @quarantine_mac", "ether daddr @quarantine_mac", *addresses), *judged],
        ),
        _base("input", "input", _shut(taken)),
        _base("output", "output", _shut("ether daddr @quarantine_mac")),
    )
