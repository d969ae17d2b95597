"""A profile as a MUD file (RFC 8520) that others' MUD managers can follow."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

from thingward.model.device import Device
from thingward.model.profile import Acl, MudProfile, PeerKind
from thingward.model.terms import BROADCAST, ICMP, ICMP6, IGMP, TCP, UDP

ROLE_URNS: Final = {
    "dns": "urn:ietf:params:mud:dns",
    "ntp": "urn:ietf:params:mud:ntp",
    "gateway": "urn:ietf:params:mud:gateway",
}
DEVICE_URN: Final = "urn:thingward:device:"
CACHE_HOURS: Final = 48
# Frames that stay on the link: MUD managers do not ask for them, and every device may send them.
_IMPLIED_ROLES: Final = frozenset({"arp", "link", "nd", "igmp", "icmp"})
_GROUPS: Final = {"mdns": ("224.0.0.251", "ff02::fb"), "ssdp": ("239.255.255.250", "ff02::c")}
_WILDCARD: Final = " wildcard "
#: Longest name of an entry (RFC 8519, `ace/name`); a longer wildcard is spoken of by its digest.
NAME_LIMIT: Final = 64

_LIST_TYPES: Final = {"v4": "ipv4-acl-type", "v6": "ipv6-acl-type", "eth": "eth-acl-type"}

Json = dict[str, Any]


def render_mud(profile: MudProfile, device: Device | None = None) -> str:
    """Write a profile as a MUD file.

    Names with a wildcard are written as the bare domain, since a MUD name may not hold `*`; the entry's own name says
    that it is one, and `parse_mud` reads it so. Other devices of the site become controllers.
    """
    short = profile.uid.removeprefix("p-")[:8] or "0"
    lists: dict[str, list[Json]] = {}
    for acl in profile.acls:
        for side, kind in itertools.product(("from", "to"), ("v4", "v6", "eth")):
            from_device = side == "from"
            found = _frames(acl, from_device=from_device) if kind == "eth" else _matches(acl, kind, from_device)
            for matches in found:
                name = f"mud-{short}-{kind}{side[:2]}"
                aces = lists.setdefault(name, [])
                aces.append(
                    {"name": _ace_name(acl, len(aces)), "matches": matches, "actions": {"forwarding": "accept"}}
                )
    mud: Json = {
        "mud-version": 1,
        "mud-url": profile.mud_url or f"https://thingward.invalid/mud/{profile.device}.json",
        "last-update": datetime.datetime.fromtimestamp(profile.time, datetime.UTC).isoformat(timespec="seconds"),
        "cache-validity": CACHE_HOURS,
        "is-supported": True,
        "systeminfo": _about(profile, device),
    }
    for policy, side in (("from-device-policy", "fr"), ("to-device-policy", "to")):
        names = [{"name": name} for name in lists if name.endswith(side)]
        if names:
            mud[policy] = {"access-lists": {"access-list": names}}
    acls = [
        {"name": name, "type": _LIST_TYPES[name.split("-")[-1][:-2]], "aces": {"ace": aces}}
        for name, aces in lists.items()
    ]
    document = {"ietf-mud:mud": mud, "ietf-access-control-list:acls": {"acl": acls}}
    return json.dumps(document, indent=2) + "\n"


def wildcard_in(ace_name: str, domain: str) -> str:
    """Give the wildcard that an entry's name speaks of, if it is one of this very domain; else empty."""
    _, marked, name = ace_name.partition(_WILDCARD)
    wildcard = f"*.{domain}"
    return wildcard if marked and name in (wildcard, _digest(wildcard)) else ""


def _digest(wildcard: str) -> str:
    return hashlib.sha256(wildcard.encode()).hexdigest()[:32]


def _about(profile: MudProfile, device: Device | None) -> str:
    known = " ".join(filter(None, (device.maker, device.model or device.kind))) if device else ""
    return (profile.systeminfo or known or f"profile of {profile.device}, learnt by thingward")[:60]


def _ace_name(acl: Acl, index: int) -> str:
    name = f"{acl.direction}-{index}"
    if not acl.value.startswith("*."):
        return name
    whole = f"{name}{_WILDCARD}{acl.value}"
    return whole if len(whole) <= NAME_LIMIT else f"{name}{_WILDCARD}{_digest(acl.value)}"


def _frames(acl: Acl, *, from_device: bool) -> Iterator[Json]:
    """Give the match of an entry for frames that are not IP."""
    if acl.ethertype and acl.peer is not PeerKind.ROLE and (acl.direction == "out") == from_device:
        side = "destination-mac-address" if from_device else "source-mac-address"
        yield {"eth": {"ethertype": acl.ethertype, **({side: acl.value} if acl.value else {})}}


def _matches(acl: Acl, kind: str, from_device: bool) -> Iterator[Json]:
    """Give the matches of one entry on one side and in one IP version; none where it does not exist there.

    Answers of protocols without ports, and of UDP to no port in particular, are left to connection tracking: a list for
    them would let the peer begin.
    """
    version = int(kind[1])
    if acl.ethertype or (acl.peer is PeerKind.ROLE and acl.value in _IMPLIED_ROLES):
        return
    is_answer = (acl.direction == "out") != from_device
    if is_answer and acl.proto != TCP and not acl.port:
        return
    if (acl.proto in (ICMP, IGMP) and version == 6) or (acl.proto == ICMP6 and version == 4):
        return
    for peer in _peers(acl, version, from_device=from_device):
        ip: Json = dict(peer.pop("ip", {}))
        if acl.proto >= 0:
            ip["protocol"] = acl.proto
        matches = {**peer, **({f"ipv{version}": ip} if ip else {})}
        if acl.proto in (TCP, UDP):
            layer = _layer(acl, from_device=from_device)
            if layer:
                matches["tcp" if acl.proto == TCP else "udp"] = layer
        yield matches


def _layer(acl: Acl, *, from_device: bool) -> Json:
    """Write the service's port, which is the destination of what the asker sends."""
    towards_service = (acl.direction == "out") == from_device
    layer: Json = {}
    if acl.port:
        side = "destination-port" if towards_service else "source-port"
        if acl.port_to and acl.port_to != acl.port:
            layer[side] = {"lower-port": acl.port, "upper-port": acl.port_to}
        else:
            layer[side] = {"operator": "eq", "port": acl.port}
    if acl.proto == TCP:
        layer["ietf-mud:direction-initiated"] = "from-device" if acl.direction == "out" else "to-device"
    return layer


def _peers(acl: Acl, version: int, *, from_device: bool) -> Iterator[Json]:
    dns = "ietf-acldns:dst-dnsname" if from_device else "ietf-acldns:src-dnsname"
    network = f"{'destination' if from_device else 'source'}-ipv{version}-network"
    if acl.peer is PeerKind.NAME:
        yield {"ip": {dns: acl.value.removeprefix("*.")}}
    elif acl.peer is PeerKind.LOCAL:
        yield {"ietf-mud:mud": {"local-networks": [None]}}
    elif acl.peer is PeerKind.SAME_MAKER:
        yield {"ietf-mud:mud": {"manufacturer": acl.value} if acl.value else {"same-manufacturer": [None]}}
    elif acl.peer is PeerKind.DEVICE:
        yield {"ietf-mud:mud": {"controller": DEVICE_URN + acl.value}}
    elif acl.peer is PeerKind.CONTROLLER:
        mine = acl.value == "my-controller"
        yield {"ietf-mud:mud": {"my-controller": [None]} if mine else {"controller": acl.value}}
    elif acl.peer is PeerKind.ROLE and acl.value in ROLE_URNS:
        yield {"ietf-mud:mud": {"controller": ROLE_URNS[acl.value]}}
    else:
        for prefix in _prefixes(acl):
            if (":" in prefix) == (version == 6):
                yield {"ip": {network: prefix}}


def _prefixes(acl: Acl) -> Iterator[str]:
    if acl.peer is PeerKind.ROLE and acl.value == "dhcp":
        yield f"{BROADCAST}/32" if acl.port == 67 else "ff02::1:2/128"
    elif acl.peer is PeerKind.ROLE and acl.value in _GROUPS:
        for address in _GROUPS[acl.value]:
            yield f"{address}/{128 if ':' in address else 32}"
    elif acl.peer in (PeerKind.ADDRESS, PeerKind.GROUP) and (acl.value.count(".") == 3 or ":" in acl.value):
        yield acl.value if "/" in acl.value else f"{acl.value}/{128 if ':' in acl.value else 32}"
