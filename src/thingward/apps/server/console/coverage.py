"""Does the approval stand for a conversation: asked of summed-up rows, in the words that enforcement uses for flows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec

from thingward.model.matching import AclIndex
from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import ICMP, ICMP6, IGMP, TCP, UDP, FlowTerms, address_kind, is_service_port
from thingward.ports.event_store import PeerRow

_BY_PORT: Final[dict[tuple[int, int], str]] = {
    (UDP, 53): "dns", (TCP, 53): "dns", (TCP, 853): "dns", (UDP, 123): "ntp", (UDP, 67): "dhcp", (UDP, 547): "dhcp",
    (UDP, 5353): "mdns", (UDP, 1900): "ssdp",
}  # fmt: skip
_NEAR_ONLY: Final = frozenset({"dhcp", "mdns", "ssdp"})


class Coverage:
    """The entries in force for one device, ready to be asked.

    A row says less than a flow: no type of ICMP, no ethertype, not always who asked. Where it cannot be told, what
    stays within the site counts as covered and what leaves it does not.
    """

    def __init__(self, approved: Collection[Acl], *, serving: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """Index entries; `serving` maps a peer of the site to the roles that it serves as."""
        self._index: AclIndex[Acl] = AclIndex()
        self._serving = serving or {}
        self._has_resolver = any("dns" in roles for roles in self._serving.values())
        self._link: set[str] = set()
        for acl in approved:
            # What was last seen behind a name counts as the name: rows hold either.
            named = acl.peer is PeerKind.NAME
            self._index.add(msgspec.structs.replace(acl, resolved=False) if named else acl, acl)
            if acl.proto < 0 and acl.peer is PeerKind.ROLE:
                self._link.add(acl.direction)

    def has(self, row: PeerRow, *, is_local: bool = False) -> bool:
        """Tell whether an entry stands for a conversation; `is_local` whether its peer belongs to the site."""
        near = is_local or row.is_device
        if row.proto < 0:
            return ("out" if row.outgoing else "in") in self._link
        if self._allows(row, row.outgoing, near):
            return True
        # Nobody saw who asked where both ports are any: then an entry of the other direction may stand for it.
        is_unclear = row.proto == UDP and not is_service_port(row.port)
        is_control = near and row.proto in (ICMP, ICMP6)
        return (is_unclear or is_control) and self._allows(row, not row.outgoing, near)

    def _allows(self, row: PeerRow, outgoing: bool, near: bool) -> bool:
        direction: Literal["out", "in"] = "out" if outgoing else "in"
        kind = address_kind(row.peer)
        is_name = not row.is_device and kind == "none"
        terms = FlowTerms(
            direction,
            row.proto,
            row.port,
            device=row.peer if row.is_device else "",
            address="" if row.is_device or is_name else row.peer,
            names=(row.peer.lower(),) if is_name else (),
            claimed=row.peer.lower() if is_name and outgoing else "",
            roles=self._roles(row, outgoing, near),
            group=kind == "group",
        )
        return self._index.find(terms) is not None or (near and self._index.find(_as_local(terms)) is not None)

    def _roles(self, row: PeerRow, outgoing: bool, near: bool) -> tuple[str, ...]:
        serving = self._serving.get(row.peer, ())
        found = ["gateway"] if "gateway" in serving else []
        role = _BY_PORT.get((row.proto, row.port), "") if outgoing or row.port in (5353, 1900) else ""
        if role == "dns":
            found += ["dns"] if "dns" in serving or (not self._has_resolver) else []
        elif role and (near or role not in _NEAR_ONLY):
            found.append(role)
        if row.proto == IGMP:
            found.append("igmp")
        if row.proto in (ICMP, ICMP6) and near:
            found += ["icmp", "nd"] if row.proto == ICMP6 else ["icmp"]
        return tuple(found)


def _as_local(terms: FlowTerms) -> FlowTerms:
    """Give the same with a peer of the site, which entries for any device of the site allow."""
    return msgspec.structs.replace(terms, device=terms.device or "-", names=(), address="", group=False)
