"""May this flow be: a profile, compiled, asked about flows in its own terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from thingward.model.matching import AclIndex
from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import FlowTerms

PROTOCOL_NAMES: Final = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmpv6"}


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile's words mean at a site, where the flow itself does not say.

    Attributes:
        same_maker: uids of devices by maker, in lower case.
        controllers: MUD controller URI to device uids, addresses or names.
    """

    same_maker: Mapping[str, tuple[str, ...]] = {}
    controllers: Mapping[str, tuple[str, ...]] = {}


class Verdict(msgspec.Struct, frozen=True):
    """What a profile says to a flow: the entry that allows it, or why none does."""

    acl: Acl | None
    reason: str = ""

    @property
    def permitted(self) -> bool:
        """Tell whether some entry allows the flow."""
        return self.acl is not None


class ProfileJudge:
    """One profile's entries, indexed; judging costs a few look-ups."""

    def __init__(self, acls: Iterable[Acl], site: Site | None = None) -> None:
        self._index: AclIndex[Acl] = AclIndex()
        self._claimable: set[tuple[int, int]] = set()
        self.services: set[tuple[str, int, int]] = set()
        for acl in acls:
            for plain in resolve_acl(acl, site or Site()):
                self._index.add(plain, acl)
            self.services.add((acl.direction, acl.proto, acl.port))
            if acl.peer is PeerKind.NAME and not acl.resolved:
                self._claimable.add((acl.proto, acl.port))

    def judge(self, terms: FlowTerms) -> Verdict:
        """Say whether an entry allows the flow."""
        acl = self._index.find(terms)
        return Verdict(acl) if acl is not None else Verdict(None, refusal(terms))

    def may_claim(self, terms: FlowTerms) -> bool:
        """Tell whether a name that the flow may still show (TLS, HTTP) could make an entry allow it."""
        return terms.direction == "out" and not terms.claimed and (terms.proto, terms.port) in self._claimable


def resolve_acl(acl: Acl, site: Site) -> list[Acl]:
    """Write an entry in words that flows carry: devices of one maker, controllers; others stay as they are."""
    if acl.peer is PeerKind.SAME_MAKER:
        devices = site.same_maker.get(acl.value.lower(), ())
        return [msgspec.structs.replace(acl, peer=PeerKind.DEVICE, value=uid) for uid in devices]
    if acl.peer is PeerKind.CONTROLLER:
        return [
            msgspec.structs.replace(acl, peer=_kind_of(value), value=value)
            for value in site.controllers.get(acl.value, ())
        ]
    return [acl]


def _kind_of(value: str) -> PeerKind:
    if value.startswith("d-"):
        return PeerKind.DEVICE
    is_address = ":" in value or value.replace(".", "").isdigit()
    return PeerKind.ADDRESS if is_address else PeerKind.NAME


def refusal(terms: FlowTerms) -> str:
    """Say in one line what no entry allows."""
    towards = "to" if terms.direction == "out" else "from"
    return f"no entry allows {service_text(terms.proto, terms.port, terms.ethertype)} {towards} {peer_text(terms)}"


def service_text(proto: int, port: int, ethertype: int = 0) -> str:
    """Give a service for people: `tcp/443`, `icmp`, `ether 0x88cc`."""
    if proto < 0:
        return f"ether {ethertype:#06x}" if ethertype else "link control"
    name = PROTOCOL_NAMES.get(proto, f"ip/{proto}")
    return f"{name}/{port}" if port else name


def peer_text(terms: FlowTerms) -> str:
    """Give a flow's peer for people: its name if one is known, else device or address."""
    name = terms.names[0] if terms.names else terms.claimed
    if name:
        return name
    return terms.device or terms.address or "/".join(terms.roles) or "nobody"
