"""One entry of a profile in words of nftables: who the peer is, which service, who began.

A device has two chains: `out` judges what it sends, `in` what is sent to it. An entry that lets the device open
connections puts a rule with the service as destination into `out`, and the answer's rule (same peer, service as
source) into `in`; an entry that lets a peer open them does the reverse. Where connection tracking exists the rules
say which direction of the connection they mean, so that an answer never opens anything; where it does not (bridges
of some kernels), an answer over TCP may at least not be an opening segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import BROADCAST, ICMP6, TCP, UDP
from thingward.wire.nft.tokens import (
    Family,
    Network,
    canonical_mac,
    canonical_name,
    canonical_network,
    element_text,
    is_local_name,
)

Side = Literal["d", "s"]

_PORT_PROTOCOLS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
_NOT_OPENING = "tcp flags & (syn | ack) != syn"
_ROLE_PORTS = {"dns": 53, "ntp": 123}
DHCP6 = 547
_MDNS = ("224.0.0.251", "ff02::fb", 5353)
_SSDP = ("239.255.255.250", "{ ff02::c, ff05::c }", 1900)
_LINK_TYPES = "0-1535, 0x888e, 0x88c7, 0x88cc, 0x890d, 0x9000"
_IP_TYPES = {0x0800: "ipv4", 0x86DD: "ipv6"}


class Unrenderable(Exception):
    """This entry cannot be said in rules; the text says why."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry's words mean at this site, in one table.

    Attributes:
        tracked: connection tracking can be asked in this family.
        roles, devices: as in EnforcementState. names: canonical name to the ids of its sets.
        local4, local6: names of the sets with the site's networks.
        known_local: networks of the site.
    """

    family: Family
    tracked: bool
    roles: Mapping[str, Sequence[str]]
    devices: Mapping[str, Sequence[str]]
    names: Mapping[str, str]
    local4: str
    local6: str
    known_local: tuple[Network, ...] = ()


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A way to match the other side: `left` and `right` around the letter of the side, or `left` alone.

    `learn` is a set to refresh.
    """

    left: str = ""
    right: str = ""
    learn: str = ""

    def match(self, side: Side) -> str:
        """Write the match for the peer as destination (`d`) or source (`s`)."""
        return f"{self.left} {side}addr {self.right}".replace("%s", side) if self.right else self.left

    def refresh(self) -> str:
        """Write the statement that keeps a name's address alive while it is used."""
        return f"update @{self.learn} {{ {self.left} daddr }}" if self.learn else ""


#: The limited broadcast stands for the site's own broadcast addresses too.
EVERYBODY = Peer(left="meta pkttype broadcast")


def rules_for(acl: Acl, scope: Scope) -> tuple[list[str], list[str]]:
    """Give an entry's rules for the chains `out` and `in`.

    Raises:
        Unrenderable: it names something that cannot be matched here; nothing is let through for it.
    """
    fixed = _fixed_role(acl, scope) if acl.peer is PeerKind.ROLE else None
    if fixed is not None:
        return fixed
    if acl.ethertype and scope.family == "inet" and acl.ethertype not in _IP_TYPES:
        return [], []  # frames that are not IP do not cross a router: the bridge's table judges them
    service, answer = _service(acl, scope, "d"), _service(acl, scope, "s")
    out_rules: list[str] = []
    in_rules: list[str] = []
    for peer in _peers(acl, scope):
        if acl.direction == "out":
            out_rules.append(_join(_began(scope, acl), peer.match("d"), service, peer.refresh(), "return"))
            if acl.peer is not PeerKind.GROUP:  # nobody answers as a group
                in_rules.append(_join(_answered(scope, acl), peer.match("s"), answer, "return"))
        else:
            in_rules.append(_join(_began(scope, acl), peer.match("s"), service, "return"))
            out_rules.append(_join(_answered(scope, acl), peer.match("d"), answer, "return"))
    return out_rules, in_rules


def basic_rules(scope: Scope, acls: Iterable[Acl] = ()) -> tuple[list[str], list[str]]:
    """Give what no IP network can do without, for `out` and `in`: ARP and ICMP's error messages; for IPv6 discovery.

    Neighbour discovery is left out where no entry speaks of IPv6: such a device was never seen to use it.
    """
    related = "ct state related " if scope.tracked else ""
    errors = "destination-unreachable, time-exceeded, parameter-problem"
    shared = [
        f"{related}icmp type {{ {errors} }} return",
        f"{related}icmpv6 type {{ packet-too-big, {errors} }} return",
    ]
    if scope.family == "bridge":
        shared.append("ether type arp return")
    if not any(_speaks_ipv6(acl) for acl in acls):
        return shared, shared.copy()
    told = "mld-listener-report, mld-listener-done, mld2-listener-report"
    asked = "nd-neighbor-solicit, nd-neighbor-advert"
    return (
        [f"icmpv6 type {{ {asked}, nd-router-solicit, {told} }} return", *shared],
        [f"icmpv6 type {{ {asked}, nd-router-advert, nd-redirect, mld-listener-query }} return", *shared],
    )


def _speaks_ipv6(acl: Acl) -> bool:
    if acl.peer is PeerKind.ROLE:
        return acl.value == "nd" or acl.proto == ICMP6
    network = canonical_network(acl.value) if acl.peer in (PeerKind.ADDRESS, PeerKind.GROUP) else None
    return acl.proto == ICMP6 or (network is not None and network.version == 6)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _is_tracked(scope: Scope, acl: Acl) -> bool:
    # Frames that are not IP have no connections. Answers over UDP to a question put to a group, and games of two
    # devices that both call first, are no answers to connection tracking: on site the ports alone decide.
    near = acl.proto == UDP and acl.peer in (PeerKind.DEVICE, PeerKind.LOCAL, PeerKind.SAME_MAKER, PeerKind.GROUP)
    return scope.tracked and not acl.ethertype and not near


def _began(scope: Scope, acl: Acl) -> str:
    return "ct direction original" if _is_tracked(scope, acl) else ""


def _answered(scope: Scope, acl: Acl) -> str:
    if _is_tracked(scope, acl):
        return "ct direction reply"
    return _NOT_OPENING if acl.proto == TCP else ""


def _service(acl: Acl, scope: Scope, side: Side) -> str:
    if acl.ethertype:
        return _frame_type(acl, scope)
    ports = _ports(acl)
    if acl.proto == -1:
        return f"meta l4proto {{ tcp, udp }} th {side}port {ports}" if ports else ""
    if not 0 <= acl.proto <= 255:
        raise Unrenderable(f"protocol {acl.proto} does not exist")
    name = _PORT_PROTOCOLS.get(acl.proto)
    if ports and name is None:
        raise Unrenderable(f"protocol {acl.proto} has no ports")
    return f"{name} {side}port {ports}" if ports else f"meta l4proto {acl.proto}"


def _frame_type(acl: Acl, scope: Scope) -> str:
    if not 0x0600 <= acl.ethertype <= 0xFFFF:
        raise Unrenderable(f"frame type {acl.ethertype} does not exist")
    if scope.family == "inet":
        return f"meta nfproto {_IP_TYPES[acl.ethertype]}"
    return f"ether type {acl.ethertype:#06x}"


def _ports(acl: Acl) -> str:
    first = acl.port
    if not first and acl.peer is PeerKind.ROLE and acl.proto in (6, 17, -1):
        first = _ROLE_PORTS.get(acl.value, 0)
    last = acl.port_to or first
    if not 0 <= first <= last <= 65535:
        raise Unrenderable(f"ports {acl.port} to {acl.port_to} do not exist")
    if not last:
        return ""
    return str(first) if first == last else f"{first}-{last}"


def _peers(acl: Acl, scope: Scope) -> Iterator[Peer]:
    if acl.peer is PeerKind.NAME:
        yield from _named(acl, scope)
    elif acl.peer is PeerKind.LOCAL:
        yield Peer(left="ip", right=f"@{scope.local4}")
        yield Peer(left="ip6", right=f"@{scope.local6}")
    elif acl.peer in (PeerKind.ADDRESS, PeerKind.GROUP):
        if acl.value == BROADCAST:
            yield EVERYBODY
        else:
            yield from _listed(acl, (acl.value,), scope)
    elif acl.peer in (PeerKind.ROLE, PeerKind.CONTROLLER):
        yield from _listed(acl, [text for text in scope.roles.get(acl.value, ()) if canonical_network(text)], scope)
    else:
        yield from _listed(acl, scope.devices.get(acl.value, ()), scope)


def _named(acl: Acl, scope: Scope) -> Iterator[Peer]:
    name = canonical_name(acl.value)
    if name is None:
        raise Unrenderable("no DNS name")
    if not acl.resolved:
        yield Peer(left="ip", right=f"!= @{scope.local4}")
        yield Peer(left="ip6", right=f"!= @{scope.local6}")
        return
    key = scope.names[name]
    # A cloud name whose owner points it at the site's own addresses must not open the site.
    outside = not is_local_name(name) and not _was_local(acl, scope)
    for family, local in (("4", scope.local4), ("6", scope.local6)):
        left = "ip" if family == "4" else "ip6"
        target = f"@n{family}_{key}"
        yield Peer(
            left=left,
            right=_join(target, f"{left} %saddr != @{local}") if outside else target,
            learn=f"n{family}_{key}",
        )


def _was_local(acl: Acl, scope: Scope) -> bool:
    seen = [network for text in acl.addresses if (network := canonical_network(text)) is not None]
    return any(
        network.version == local.version and network.subnet_of(local)  # type: ignore[arg-type]
        for network in seen
        for local in scope.known_local
    )


def _listed(acl: Acl, values: Sequence[str], scope: Scope) -> Iterator[Peer]:
    group = acl.peer is PeerKind.GROUP
    networks = {network for text in values if (network := canonical_network(text)) is not None}
    for version, left in ((4, "ip"), (6, "ip6")):
        texts = sorted(element_text(network) for network in networks if network.version == version)
        if texts:
            yield Peer(left=left, right=_one_of(texts))
    # By hardware address only where there is no other: a router's stands for everything behind it.
    macs = sorted({mac for text in values if (mac := canonical_mac(text, group=group)) is not None})
    if macs and (acl.ethertype or not networks):
        if scope.family == "bridge":
            yield Peer(left="ether", right=_one_of(macs))
        elif not group:
            raise Unrenderable("no IP address is known of the other device")
    elif not networks:
        raise Unrenderable("no address to match" if values else "nobody at this site answers to it")


def _one_of(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"


def _fixed_role(acl: Acl, scope: Scope) -> tuple[list[str], list[str]] | None:
    if acl.value in ("arp", "nd"):
        return [], []  # among the basic rules
    if acl.value == "link":
        rules = [f"ether type {{ {_LINK_TYPES} }} return"] if scope.family == "bridge" else []
        return rules, rules
    if acl.value == "dhcp":
        return _leasing(acl, scope)
    if acl.value == "igmp":
        return ["ip protocol igmp return"], ["ip protocol igmp return"]
    if acl.value == "icmp":
        return _echo(acl, scope)
    if acl.value in ("mdns", "ssdp"):
        return _announcing(scope, *(_MDNS if acl.value == "mdns" else _SSDP))
    return None


def _leasing(acl: Acl, scope: Scope) -> tuple[list[str], list[str]]:
    """Let it ask everybody for an address, and the site's servers alone; where none is known, anyone.

    Whoever answers is heard: after a change of routers the new one must be.
    """
    if acl.port == DHCP6:
        return ["udp sport 546 udp dport 547 return"], ["udp sport 547 udp dport 546 return"]
    known = (canonical_network(text) for text in scope.roles.get("dhcp", ()))
    servers = sorted({element_text(network) for network in known if network is not None and network.version == 4})
    to = f"ip daddr {_one_of([BROADCAST, *servers])} " if servers else ""
    return [f"{to}udp sport 68 udp dport 67 return"], ["udp sport 67 udp dport 68 return"]


def _echo(acl: Acl, scope: Scope) -> tuple[list[str], list[str]]:
    """Let it ask, or answer, an echo within the site."""
    sides: tuple[Side, Side] = ("d", "s") if acl.direction == "out" else ("s", "d")
    asks, tells = (
        [
            _join(direction if scope.tracked else "", f"{left} {side}addr @{local}", f"{kind} type {message} return")
            for left, local, kind in (("ip", scope.local4, "icmp"), ("ip6", scope.local6, "icmpv6"))
        ]
        for side, direction, message in (
            (sides[0], "ct direction original", "echo-request"),
            (sides[1], "ct direction reply", "echo-reply"),
        )
    )
    return (asks, tells) if acl.direction == "out" else (tells, asks)


def _announcing(scope: Scope, group4: str, group6: str, port: int) -> tuple[list[str], list[str]]:
    # Answers to a question put to a group come from one host: no connection tracking knows them as answers.
    near = [
        f"{left} %saddr @{local} udp {side}port {port} return"
        for left, local in (("ip", scope.local4), ("ip6", scope.local6))
        for side in ("s", "d")
    ]
    out_rules = [f"ip daddr {group4} udp dport {port} return", f"ip6 daddr {group6} udp dport {port} return"]
    return out_rules + [rule.replace("%s", "d") for rule in near], [rule.replace("%s", "s") for rule in near]
