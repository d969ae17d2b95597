"""What a flow means in a profile's terms: direction, service, and the peer as role, name, device, group or address.

Learning, judging and preview all use `terms_of`, so a profile never refuses the traffic it was learnt from.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from thingward.model.event import Event
from thingward.model.observation import Endpoint, FlowData

BROADCAST: Final = "255.255.255.255"
ARP: Final = 0x0806
ICMP: Final = 1
IGMP: Final = 2
TCP: Final = 6
UDP: Final = 17
ICMP6: Final = 58

SERVICE_PORTS: Final = frozenset({
    1080, 1194, 1433, 1521, 1701, 1723, 1812, 1813, 1883, 1900, 1935, 2049, 2082, 2323, 2375, 2404, 3000, 3128, 3260,
    3306, 3389, 3478, 3479, 3544, 3689, 3702, 4070, 4433, 4500, 4840, 4843, 5000, 5001, 5004, 5005, 5038, 5060, 5061,
    5094, 5222, 5223, 5228, 5269, 5349, 5351, 5353, 5355, 5431, 5432, 5540, 5555, 5671, 5672, 5683, 5684, 5900, 5938,
    5985, 6053, 6379, 6443, 6666, 6667, 6668, 6881, 7000, 7547, 8000, 8008, 8009, 8060, 8080, 8081, 8086, 8088, 8123,
    8266, 8443, 8530, 8554, 8883, 8886, 8888, 9000, 9100, 9123, 9200, 9999, 10001, 10101, 11095, 11211, 19132, 20002,
    20560, 27017, 30303, 37777, 44818, 47808, 48101, 49152, 49153, 49154, 51820, 55443, 56700,
})  # fmt: skip
"""Ports from 1024 up on which servers and connected things are known to listen."""

_LINK_TYPES: Final = frozenset({0, 0x888E, 0x88C7, 0x88CC, 0x890D, 0x9000})
_ARP_TYPES: Final = frozenset({0x0806, 0x8035})
_ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
_ICMP6_ND: Final = frozenset({*range(130, 138), 143, 151, 152, 153})
_DISCOVERY: Final = {5353: "mdns", 1900: "ssdp"}
_DHCP_CLIENT: Final = {68: 67, 546: 547}
_ROLE_PORTS: Final = {"dns": frozenset({53, 853}), "ntp": frozenset({123}), "dhcp": frozenset({67, 547})}

# Not `is_private`: that holds documentation ranges too, which stand for outside hosts in examples and simulations.
_PRIVATE: Final = {
    4: tuple(
        ipaddress.ip_network(text)
        for text in (
            "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "127.0.0.0/8",
        )
    ),
    6: tuple(ipaddress.ip_network(text) for text in ("fc00::/7", "fe80::/10", "::1/128")),
}  # fmt: skip

AddressKind = Literal["group", "private", "public", "none"]


class FlowTerms(msgspec.Struct, frozen=True, gc=False):
    """One flow as one of its two ends sees it.

    Attributes:
        direction: `out` this end asked, `in` the peer did.
        port: the responder's port, 0 if the protocol has none.
        device: uid of the peer if it is a device of the site. address: its IP, or MAC for plain layer 2.
        names: what this end resolved to that address, newest first. claimed: name from TLS SNI or HTTP host.
        roles: service roles, from the protocol or from what the peer serves the site as.
        group: the peer's address stands for many; then `address` is the group.
        flip_port: this end's port where it cannot be told who asked; 0 where it can.
    """

    direction: Literal["out", "in"]
    proto: int
    port: int = 0
    ethertype: int = 0
    device: str = ""
    address: str = ""
    names: tuple[str, ...] = ()
    claimed: str = ""
    roles: tuple[str, ...] = ()
    group: bool = False
    flip_port: int = 0

    def flipped(self) -> FlowTerms:
        """Give the other reading of a flow where it cannot be told who asked."""
        direction: Literal["out", "in"] = "in" if self.direction == "out" else "out"
        return FlowTerms(
            direction, self.proto, self.flip_port, self.ethertype, self.device, self.address, self.names,
            self.claimed, self.roles, self.group, self.port,
        )  # fmt: skip


class FlowGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Like flows of one device within one time cell.

    Attributes:
        cell: start of the time cell, seconds since 1970.
        flows, answered: how many, and how many of them the responder took up.
        opened: how many were seen from their beginning on.
        bytes: both directions. first, last: seconds since 1970 of first and last flow's start.
    """

    terms: FlowTerms
    cell: float
    flows: int
    answered: int
    opened: int
    bytes: int
    first: float
    last: float


@functools.lru_cache(maxsize=65536)
def address_kind(ip: str) -> AddressKind:
    """Tell what sort of address a text is: private covers link-local, unique local and shared space."""
    if not ip:
        return "none"
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return "none"
    if address.is_multicast or ip == BROADCAST:
        return "group"
    if address.is_unspecified:
        return "none"
    return "private" if any(address in network for network in _PRIVATE[address.version]) else "public"


def is_group_mac(mac: str) -> bool:
    """Tell whether a hardware address has the multicast bit set (broadcast has it too)."""
    return len(mac) > 1 and mac[1] in "13579bdf"


def is_group(endpoint: Endpoint) -> bool:
    """Tell whether an endpoint stands for many."""
    return address_kind(endpoint.ip) == "group" or is_group_mac(endpoint.mac)


def is_service_port(port: int) -> bool:
    """Tell whether a port is one on which somebody listens, rather than one picked by a client."""
    return 0 < port < 1024 or port in SERVICE_PORTS


def is_answered(data: FlowData) -> bool:
    """Tell whether the responder took the flow up: silence and refusal (RST) are no answer."""
    if data.packets_in == 0 and not data.flags_in:
        return False
    if data.proto == TCP and data.flags_in:
        return bool(data.flags_in & 0x0B) or data.flags_in & 0x14 == 0x10
    return True


def is_stray(data: FlowData, side: Literal["src", "dst"]) -> bool:
    """Tell whether a flow is the rest of an old connection: nothing began, nothing is needed.

    That is TCP of which no opening was seen, and which nobody answered, or which is nothing but closing segments,
    or a peer's segments that this end refused.
    """
    flags = data.flags_in | data.flags_out
    if data.proto != TCP or not data.mid_stream or flags & 0x02:
        return False
    unheard = data.packets_in == 0 and data.flags_in == 0
    closing = bool(flags & 0x05) and not flags & 0x08
    mine = data.flags_out if side == "src" else data.flags_in
    return unheard or closing or (bool(mine & 0x04) and not mine & 0x0B)


def terms_of(event: Event, side: Literal["src", "dst"]) -> FlowTerms | None:
    """Say what a flow means to the device on one side; None if the event is no flow or lacks an end.

    Endpoints must have passed inventory, which fills in devices, names and roles.
    """
    data, src, dst = event.data, event.src, event.dst
    if not isinstance(data, FlowData) or src is None or dst is None:
        return None
    me, peer = (src, dst) if side == "src" else (dst, src)
    build = _BUILDERS.get(data.proto, _other)
    return build(data, me, peer, side == "src")


_Builder = Callable[[FlowData, Endpoint, Endpoint, bool], FlowTerms]


def _direction(is_out: bool) -> Literal["out", "in"]:
    return "out" if is_out else "in"


def _peer_terms(
    data: FlowData,
    peer: Endpoint,
    *,
    is_out: bool,
    port: int,
    roles: tuple[str, ...],
    flip_port: int = 0,
    ethertype: int = 0,
) -> FlowTerms:
    group = is_group(peer)
    address = peer.ip or peer.mac
    if group and (peer.ip == BROADCAST or address_kind(peer.ip) != "group"):
        address = BROADCAST if peer.ip else peer.mac
    return FlowTerms(
        _direction(is_out), data.proto, port, ethertype, "" if group else peer.device,
        address, peer.names, data.name if is_out else "", roles, group, flip_port,
    )  # fmt: skip


def _link(data: FlowData, me: Endpoint, peer: Endpoint, from_me: bool) -> FlowTerms:
    if data.ethertype in _ARP_TYPES:
        role, ethertype = "arp", ARP
    elif data.ethertype in _LINK_TYPES:
        role, ethertype = "link", 0
    else:
        return _peer_terms(data, peer, is_out=from_me, port=0, roles=(), ethertype=data.ethertype)
    return _peer_terms(data, peer, is_out=from_me, port=0, roles=(role,), ethertype=ethertype)


def _icmp(data: FlowData, me: Endpoint, peer: Endpoint, from_me: bool) -> FlowTerms:
    kind, is_v6 = data.icmp_type, data.proto == ICMP6
    if kind == (129 if is_v6 else 0) and data.packets_out:
        from_me = not from_me  # only the answers were seen, and who answered was taken for the one who asked
    is_error = (1 <= kind <= 4) if is_v6 else kind in _ICMP_ERRORS
    gateway = ("gateway",) if "gateway" in peer.roles else ()
    if is_v6 and kind in _ICMP6_ND:
        roles: tuple[str, ...] = ("nd",)
    elif is_error or (not from_me and (gateway or address_kind(peer.ip) == "private")):
        roles = ("icmp",)
    else:
        roles = gateway
    return _peer_terms(data, peer, is_out=from_me and not is_error, port=0, roles=roles)


def _igmp(data: FlowData, me: Endpoint, peer: Endpoint, from_me: bool) -> FlowTerms:
    return _peer_terms(data, peer, is_out=from_me, port=0, roles=("igmp",))


def _ported(data: FlowData, me: Endpoint, peer: Endpoint, from_me: bool) -> FlowTerms:
    asks = from_me
    asker_port, server_port = (me.port, peer.port) if from_me else (peer.port, me.port)
    guessed = data.mid_stream or data.proto == UDP
    known = is_service_port(server_port)
    if guessed and not known and is_service_port(asker_port):
        asks, asker_port, server_port = not asks, server_port, asker_port
        known = True
    elif guessed and not known and not asks and address_kind(peer.ip) == "public" != address_kind(me.ip):
        asks, asker_port, server_port = True, server_port, asker_port  # nobody calls in from outside unasked
    if data.proto == UDP:
        special = _special_udp(me, peer, from_me)
        if special is not None:
            role, asks, server_port = special
            return _peer_terms(data, peer, is_out=asks, port=server_port, roles=(role,))
    roles = tuple(role for role in peer.roles if asks and server_port in _ROLE_PORTS.get(role, ()))
    if "gateway" in peer.roles:
        roles = (*roles, "gateway")
    flip = asker_port if guessed and not known and not is_group(peer) else 0
    return _peer_terms(data, peer, is_out=asks, port=server_port, roles=roles, flip_port=flip)


def _special_udp(me: Endpoint, peer: Endpoint, from_me: bool) -> tuple[str, bool, int] | None:
    """Recognise address assignment and discovery, whose requests and replies do not look like one flow."""
    near = address_kind(peer.ip) != "public"
    if near or "dhcp" in peer.roles:
        for client, server in _DHCP_CLIENT.items():
            ports = {me.port, peer.port}
            if ports == {client, server} or (ports == {server} and address_kind(peer.ip) != "public"):
                return None if _asks_a_stranger(me, peer, from_me, client) else ("dhcp", me.port == client, server)
    sender = me if from_me else peer
    receiver = peer if from_me else me
    for port, role in _DISCOVERY.items():
        to_group = receiver.port == port and is_group(receiver)
        if near and (to_group or (sender.port == port and not is_group(receiver))):
            asks = from_me if to_group or receiver.port == port else not from_me
            return role, asks, port
    return None


def _asks_a_stranger(me: Endpoint, peer: Endpoint, from_me: bool, client_port: int) -> bool:
    """Tell whether a device asks one host for an address that is no server of the site: anybody may be asked at once."""
    is_one = address_kind(peer.ip) == "private" and not is_group(peer)
    return from_me and me.port == client_port and is_one and "dhcp" not in peer.roles


def _other(data: FlowData, me: Endpoint, peer: Endpoint, from_me: bool) -> FlowTerms:
    roles = ("gateway",) if "gateway" in peer.roles else ()
    return _peer_terms(data, peer, is_out=from_me, port=0, roles=roles)


_BUILDERS: Final[dict[int, _Builder]] = {
    -1: _link,
    ICMP: _icmp,
    IGMP: _igmp,
    TCP: _ported,
    UDP: _ported,
    ICMP6: _icmp,
}
