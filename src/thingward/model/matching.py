"""What an entry of a profile means: an index that finds the entry which allows a flow."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import FlowTerms, address_kind

T = TypeVar("T")
_Key = tuple[str, PeerKind, str, int, int]
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAME_LABELS_MIN = 2


class AclIndex(Generic[T]):
    """Entries by direction, peer and protocol; each carries a value of the caller.

    A name that begins with `*.` allows the domain itself and everything below it. Port 0 allows any port, protocol -1
    without an ethertype any IP protocol. An entry whose name was never resolved by the device (`resolved` false) also
    allows the name that the flow claims and the addresses last seen behind it, as enforcement does.
    """

    def __init__(self) -> None:
        self._entries: dict[_Key, list[tuple[int, int, T]]] = {}
        self._claimable: set[_Key] = set()
        self._networks: list[tuple[_Network, str]] = []

    def add(self, acl: Acl, value: T) -> None:
        """Put an entry in; several may be alike, the first one is found."""
        text = acl.value.lower()
        key = (acl.direction, acl.peer, text, acl.proto, acl.ethertype)
        ports = (acl.port, acl.port_to or acl.port or 65535, value)
        self._entries.setdefault(key, []).append(ports)
        if acl.peer is PeerKind.NAME and not acl.resolved:
            self._claimable.add(key)
            for address in acl.addresses:
                near = (acl.direction, PeerKind.ADDRESS, address, acl.proto, acl.ethertype)
                self._entries.setdefault(near, []).append(ports)
        if acl.peer is PeerKind.ADDRESS and "/" in text:
            self._networks.append((ipaddress.ip_network(text, strict=False), text))

    def discard(self, acl: Acl, value: T) -> None:
        """Take an entry out again; nothing happens if it is not there."""
        keys = [(acl.direction, acl.peer, acl.value.lower(), acl.proto, acl.ethertype)]
        keys += [(acl.direction, PeerKind.ADDRESS, address, acl.proto, acl.ethertype) for address in acl.addresses]
        for key in keys:
            kept = [entry for entry in self._entries.get(key, ()) if entry[2] is not value]
            if kept:
                self._entries[key] = kept
            else:
                self._entries.pop(key, None)
                self._claimable.discard(key)

    def find(self, terms: FlowTerms) -> T | None:
        """Give the value of an entry that allows a flow, in either reading where it cannot be told who asked."""
        found = self._find(terms)
        return self._find(terms.flipped()) if found is None and terms.flip_port else found

    def _find(self, terms: FlowTerms) -> T | None:
        entries, direction, proto, ethertype = self._entries, terms.direction, terms.proto, terms.ethertype
        any_ip = proto >= 0
        for peer, value in _candidates(terms):
            found = entries.get((direction, peer, value, proto, ethertype))
            if found is not None and (match := _port_match(found, terms.port)) is not None:
                return match
            if any_ip and (found := entries.get((direction, peer, value, -1, 0))) is not None:
                return found[0][2]
        if terms.claimed and self._claimable:
            for value in name_patterns(terms.claimed):
                key = (direction, PeerKind.NAME, value, proto, ethertype)
                if key in self._claimable and (match := _port_match(entries[key], terms.port)) is not None:
                    return match
        return self._find_in_networks(terms) if self._networks else None

    def _find_in_networks(self, terms: FlowTerms) -> T | None:
        try:
            address = ipaddress.ip_address(terms.address)
        except ValueError:
            return None
        for network, text in self._networks:
            if address.version == network.version and address in network:
                for proto in (terms.proto, -1):
                    found = self._entries.get((terms.direction, PeerKind.ADDRESS, text, proto, 0))
                    if found is not None and (match := _port_match(found, terms.port)) is not None:
                        return match
        return None


def _port_match(entries: Iterable[tuple[int, int, T]], port: int) -> T | None:
    for low, high, value in entries:
        if low == 0 or low <= port <= high:
            return value
    return None


def _candidates(terms: FlowTerms) -> Iterator[tuple[PeerKind, str]]:
    for role in terms.roles:
        yield PeerKind.ROLE, role
    if terms.group:
        yield PeerKind.GROUP, terms.address
        return
    if terms.device:
        yield PeerKind.DEVICE, terms.device
    for name in terms.names:
        for pattern in name_patterns(name):
            yield PeerKind.NAME, pattern
    if terms.address:
        yield PeerKind.ADDRESS, terms.address
    if terms.device or address_kind(terms.address) == "private":
        yield PeerKind.LOCAL, ""


def name_patterns(name: str) -> Iterator[str]:
    """Give a name, and every wildcard that covers it, nearest first."""
    yield name
    rest = name
    while rest.count(".") >= NAME_LABELS_MIN - 1:
        yield f"*.{rest}"
        rest = rest.partition(".")[2]
