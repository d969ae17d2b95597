"""MUD files (RFC 8520) in and out: what makers declare becomes a profile, and a profile becomes a file for others."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from thingward.model.errors import InvalidInput
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant, Uid, hashed_uid
from thingward.model.profile import Acl, MudProfile, PeerKind
from thingward.model.terms import ARP, BROADCAST, ICMP, ICMP6, TCP, UDP
from thingward.policy.mud_render import DEVICE_URN, ROLE_URNS, render_mud, wildcard_in

__all__ = ["MudError", "MudImport", "parse_mud", "render_mud"]

MAX_BYTES: Final = 4 << 20
MAX_ENTRIES: Final = 512
_ROLES: Final = {urn: role for role, urn in ROLE_URNS.items()}
_ANYWHERE: Final = {4: "0.0.0.0/0", 6: "::/0"}
_DISCOVERY: Final = {
    ("224.0.0.251", 5353): "mdns",
    ("ff02::fb", 5353): "mdns",
    ("239.255.255.250", 1900): "ssdp",
    ("ff02::c", 1900): "ssdp",
    ("ff05::c", 1900): "ssdp",
}
_IP_TYPES: Final = frozenset({0x0800, 0x86DD})
_LINK_TYPES: Final = frozenset({0x888E, 0x88C7, 0x88CC, 0x890D, 0x9000})
_PROTOCOLS: Final = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMP6}

Direction = Literal["out", "in"]


class MudError(InvalidInput):
    """A MUD file that cannot be used; the message names the place in it."""

    code = "mud.invalid"


class MudImport(msgspec.Struct, frozen=True, kw_only=True):
    """A declared profile, and what of the file could not be said in it, one line each."""

    profile: MudProfile
    notes: tuple[str, ...] = ()


def parse_mud(
    data: bytes | str,
    *,
    device: str,
    tenant: str = DEFAULT_TENANT,
    site: str = DEFAULT_SITE,
    source: str = "mud",
    time: float = 0.0,
    defaults: tuple[Acl, ...] = (),
) -> MudImport:
    """Read a MUD file as the profile of a device.

    Common sloppiness is taken: list names of drafts, ports and protocols as text, single objects in place of lists, names
    in any case. Anything that would make the profile allow something else than the file says is refused.

    Args:
        device: uid of the device that it is for.
        defaults: safe defaults to add; entries of the file that they cover are left out.
    Raises:
        MudError: no MUD file, or one whose lists cannot be followed.
    """
    if len(data) > MAX_BYTES:
        raise MudError(f"the file has {len(data):,} bytes; a MUD file has at most {MAX_BYTES:,}.")
    try:
        document = json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data.lstrip("\ufeff"))
        if isinstance(document, str):
            document = json.loads(document)  # some tools write the file's text as one JSON string
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MudError(f"not JSON: {error}.") from error
    reader = _Reader(_object(document, "the file"))
    acls = reader.read()
    kept = _merged(acls, defaults)
    if len(kept) > MAX_ENTRIES + len(defaults):
        raise MudError(f"it has {len(kept)} entries; at most {MAX_ENTRIES} are enforced for one device.")
    content = [repr((a.direction, a.peer, a.value, a.proto, a.port, a.port_to, a.ethertype)) for a in kept]
    profile = MudProfile(
        uid=Uid("p-" + hashed_uid("mud", tenant, device, *content)[:24]),
        tenant=Tenant(tenant),
        time=time,
        source=source,
        device=device,
        site=site,
        acls=tuple(kept),
        origin="declared",
        mud_url=_text(reader.mud.get("mud-url")),
        systeminfo=_text(reader.mud.get("systeminfo"))[:256],
    )
    return MudImport(profile=profile, notes=tuple(dict.fromkeys(reader.notes)))


def _merged(acls: list[Acl], defaults: tuple[Acl, ...]) -> list[Acl]:
    found = {_identity(acl): acl for acl in defaults}
    for acl in acls:
        found.setdefault(_identity(acl), acl)
    return sorted(found.values(), key=lambda acl: (acl.origin == "default", *map(str, _identity(acl))))


def _identity(acl: Acl) -> tuple[str, str, str, int, int, int, int]:
    return acl.direction, acl.peer.value, acl.value, acl.proto, acl.port, acl.port_to, acl.ethertype


class _Peer(msgspec.Struct, frozen=True):
    kind: PeerKind
    value: str


class _Reader:
    """Walks one document; `notes` collects what could not be said."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.notes: list[str] = []
        mud = document.get("ietf-mud:mud", document.get("mud"))
        if mud is None:
            raise MudError("no `ietf-mud:mud` container.", hint="Is this a MUD file?")
        self.mud = _object(mud, "ietf-mud:mud")

    def read(self) -> list[Acl]:
        lists = self._lists()
        acls: list[Acl] = []
        for policy, from_device in (("from-device-policy", True), ("to-device-policy", False)):
            for name in self._names(policy):
                if name not in lists:
                    raise MudError(f"{policy} names the access list {name!r}, which is not in the file.")
                acls += self._aces(lists[name], name, from_device=from_device)
        if not acls and not self._names("from-device-policy") and not self._names("to-device-policy"):
            raise MudError("neither `from-device-policy` nor `to-device-policy` names an access list.")
        return acls

    def _lists(self) -> dict[str, Mapping[str, Any]]:
        for key in ("ietf-access-control-list:acls", "ietf-access-control-list:access-lists", "acls", "access-lists"):
            if key in self._document:
                found = _object(self._document[key], key)
                entries = [_object(item, f"{key}/acl") for item in _many(found.get("acl", []))]
                return {_text(item.get("name")): item for item in entries}
        raise MudError("no `ietf-access-control-list:acls` container.")

    def _names(self, policy: str) -> list[str]:
        container = _object(self.mud.get(policy, {}), policy)
        lists = _object(container.get("access-lists", {}), f"{policy}/access-lists")
        found = []
        for item in _many(lists.get("access-list", [])):
            found.append(_text(item.get("name")) if isinstance(item, dict) else _text(item))
        return found

    def _aces(self, acl: Mapping[str, Any], name: str, *, from_device: bool) -> Iterator[Acl]:
        aces = _object(acl.get("aces", {}), f"{name}/aces")
        version = 6 if "6" in _text(acl.get("type")) else 4
        dropping = ""
        for index, item in enumerate(_many(aces.get("ace", []))):
            where = f"{name}/ace[{index}]"
            ace = _object(item, where)
            forwarding = _text(_object(ace.get("actions", {}), where).get("forwarding")).rpartition(":")[2]
            if forwarding != "accept":
                dropping = where
                continue
            if dropping:
                raise MudError(f"{dropping} drops before {where} accepts: such an order cannot be kept.")
            matches = _object(ace.get("matches", {}), f"{where}/matches")
            yield from _Ace(self, matches, where, _text(ace.get("name")), version, from_device).read()


class _Ace:
    """One access control entry."""

    def __init__(
        self, reader: _Reader, matches: Mapping[str, Any], where: str, name: str, version: int, from_device: bool
    ) -> None:
        self._reader, self._matches, self._where, self._name = reader, matches, where, name
        self._from_device = from_device
        self._ip = _object(matches.get("ipv4", matches.get("ipv6", {})), where)
        self._version = 6 if "ipv6" in matches else 4 if "ipv4" in matches else version
        unknown = set(matches) - {"eth", "ipv4", "ipv6", "tcp", "udp", "icmp", "ietf-mud:mud", "mud"}
        if unknown:
            raise MudError(f"{where} matches on {', '.join(sorted(unknown))}, which is not known.")

    def read(self) -> Iterator[Acl]:
        if "eth" in self._matches:
            yield self._ethernet(_object(self._matches["eth"], self._where))
            return
        proto = self._proto()
        if proto is None:
            return
        peer = self._peer()
        if peer is None:
            return
        for direction, low, high in self._services(proto):
            role = _DISCOVERY.get((peer.value, low)) if proto == UDP else None
            if peer.kind is PeerKind.GROUP and proto == UDP and low in (67, 547):
                role = "dhcp"
            kind, value = (PeerKind.ROLE, role) if role else (peer.kind, peer.value)
            yield Acl(
                direction=direction, peer=kind, value=value, proto=proto, port=low,
                port_to=high if high != low else 0, origin="declared",
            )  # fmt: skip

    # -- parts of an entry -------------------------------------------------------------------------------------

    def _ethernet(self, eth: Mapping[str, Any]) -> Acl:
        kind = _number(eth.get("ethertype", 0), f"{self._where}/eth/ethertype")
        mac = _text(eth.get("destination-mac-address" if self._from_device else "source-mac-address")).lower()
        role = "arp" if kind == ARP else "link" if kind in _LINK_TYPES or kind < 0x0600 else ""
        group = bool(mac) and mac[1:2] in "13579bdf"
        if kind in _IP_TYPES and mac == "ff:ff:ff:ff:ff:ff" and self._from_device:
            return Acl(direction="out", peer=PeerKind.GROUP, value=BROADCAST, proto=-1, origin="declared")
        peer = PeerKind.ROLE if role else PeerKind.GROUP if group else PeerKind.ADDRESS if mac else PeerKind.LOCAL
        return Acl(
            direction="out" if self._from_device else "in", peer=peer, value=role or mac, proto=-1,
            ethertype=kind if role != "link" else 0, origin="declared",
        )  # fmt: skip

    def _proto(self) -> int | None:
        for key, proto in _PROTOCOLS.items():
            if key in self._matches and key != "icmp":
                return proto
        if "icmp" in self._matches:
            return ICMP6 if self._version == 6 else ICMP
        stated = self._ip.get("protocol")
        if stated is None:
            return -1
        if isinstance(stated, str) and stated.lower() in _PROTOCOLS:
            return _PROTOCOLS[stated.lower()]
        number = _number(stated, f"{self._where}/protocol")
        if not 0 <= number <= 255:
            raise MudError(f"{self._where}: there is no IP protocol {number}.")
        return number

    def _peer(self) -> _Peer | None:
        mud = self._matches.get("ietf-mud:mud", self._matches.get("mud"))
        if mud is not None:
            return self._mud_peer(_object(mud, f"{self._where}/ietf-mud:mud"))
        side = "dst" if self._from_device else "src"
        name = self._ip.get(f"ietf-acldns:{side}-dnsname", self._ip.get(f"{side}-dnsname"))
        if name is not None:
            return _Peer(PeerKind.NAME, self._dns_name(_text(name)))
        side = "destination" if self._from_device else "source"
        network = self._ip.get(f"{side}-ipv{self._version}-network")
        if network is None:
            return _Peer(PeerKind.ADDRESS, _ANYWHERE[self._version])
        return self._network(_text(network))

    def _dns_name(self, name: str) -> str:
        plain = name.strip().rstrip(".").lower()
        bare = plain.removeprefix("*.")
        if not bare or len(bare) > 253 or any(c in bare for c in " /*@:"):
            raise MudError(f"{self._where}: {name!r} is no DNS name.")
        return wildcard_in(self._name, plain) or plain

    def _network(self, text: str) -> _Peer:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise MudError(f"{self._where}: {text!r} is no address or prefix.") from error
        single = network.num_addresses == 1
        value = str(network.network_address) if single else str(network)
        group = single and (network.network_address.is_multicast or value == BROADCAST)
        return _Peer(PeerKind.GROUP if group else PeerKind.ADDRESS, value)

    def _mud_peer(self, mud: Mapping[str, Any]) -> _Peer | None:
        if "local-networks" in mud:
            return _Peer(PeerKind.LOCAL, "")
        if "same-manufacturer" in mud:
            return _Peer(PeerKind.SAME_MAKER, "")
        if "manufacturer" in mud:
            return _Peer(PeerKind.SAME_MAKER, _text(mud["manufacturer"]).lower())
        if "my-controller" in mud:
            return _Peer(PeerKind.CONTROLLER, "my-controller")
        if "controller" in mud:
            urn = _text(mud["controller"])
            if urn in _ROLES:
                return _Peer(PeerKind.ROLE, _ROLES[urn])
            if urn.startswith(DEVICE_URN):
                return _Peer(PeerKind.DEVICE, urn.removeprefix(DEVICE_URN))
            return _Peer(PeerKind.CONTROLLER, urn)
        self._reader.notes.append(
            f"{self._where}: {', '.join(sorted(mud)) or 'an empty match'} is not supported; left out"
        )
        return None

    def _services(self, proto: int) -> list[tuple[Direction, int, int]]:
        """Give (who asks, service port range) readings of the entry."""
        own: Direction = "out" if self._from_device else "in"
        key = {TCP: "tcp", UDP: "udp"}.get(proto)
        if key is None or key not in self._matches:
            return [(own, 0, 0)]
        layer = _object(self._matches[key], f"{self._where}/{key}")
        there = self._ports(layer.get("destination-port"))
        here = self._ports(layer.get("source-port"))
        began = _text(layer.get("ietf-mud:direction-initiated", layer.get("direction-initiated")))
        if began:
            direction: Direction = "out" if began == "from-device" else "in"
            ports = there if (direction == "out") == self._from_device else here
            return [(direction, *(ports or here or there or (0, 0)))]
        if there:
            return [(own, *there)]
        if here:
            return [("in" if self._from_device else "out", *here)]
        return [(own, 0, 0)]

    def _ports(self, stated: Any) -> tuple[int, int] | None:
        if stated is None:
            return None
        if not isinstance(stated, dict):
            stated = {"port": stated}
        operator = _text(stated.get("operator")) or "eq"
        where = f"{self._where}/port"
        if "lower-port" in stated or "upper-port" in stated:
            low = _number(stated.get("lower-port", 0), where)
            high = _number(stated.get("upper-port", low), where)
        else:
            low = high = _number(stated.get("port", 0), where)
            if operator == "lte":
                low = 1
            elif operator == "gte":
                high = 65535
            elif operator == "neq":
                raise MudError(f"{self._where}: a port that must not match cannot be said.")
        if not 0 <= low <= high <= 65535:
            raise MudError(f"{self._where}: {low}-{high} is no port range.")
        return None if (low, high) == (0, 65535) else (low, high)


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MudError(f"{where} is {type(value).__name__}, not an object.")
    return value


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise MudError(f"{where}: {value!r} is no number.")
    try:
        return int(value, 0) if isinstance(value, str) else value
    except ValueError as error:
        raise MudError(f"{where}: {value!r} is no number.") from error
