"""All members of a site, their addresses and firm evidence, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from thingward.inventory.firm import firm_keys
from thingward.inventory.members import Bounds, Claim, Member, new_member
from thingward.inventory.network import FOREIGN_ADDRESSES, eui64_of, prefix_of
from thingward.model.ids import Tenant, Uid, device_uid
from thingward.model.terms import address_kind

MAX_SHARING: Final = 64
_KEYED: Final = frozenset({
    "dhcp.client_id", "dhcp.hostname", "dhcp.vendor_class", "dhcp.parameters", "mdns.name", "ssdp.usn",
    "mqtt.client_id", "lldp.serial", "lldp.chassis",
})  # fmt: skip


class Evidence:
    """Members by anchor; `stale` holds those whose firm evidence has to be looked at again.

    `forget` is called whenever an earlier conclusion about an address may be wrong now.

    Attributes:
        owners: address to the member that holds it now.
        holders: address to the anchor of the member that had it first and still does.
        sharing: firm evidence to the anchors that have it.
        evicted: members that a bound pushed out since the records were last reconciled.
    """

    def __init__(self, bounds: Bounds, tenant: Tenant, site: str, forget: Callable[[], None]) -> None:
        self._bounds, self._tenant, self._site = bounds, tenant, site
        self.members: dict[str, Member] = {}
        self.owners: dict[str, Member] = {}
        self.holders: dict[str, str] = {}
        self.sharing: dict[str, list[str]] = {}
        self.forced: dict[str, str] = {}
        self.stale: set[str] = set()
        self.evicted: list[Member] = []
        self.dropped: dict[str, int] = {"devices": 0, "attributes": 0, "addresses": 0}
        self.numbered = 0
        self._forget = forget
        self._fresh: dict[str, None] = {}

    def uid_of(self, member: Member) -> Uid:
        """Name a device after this member's anchor."""
        return device_uid(self._tenant, self._site, member.anchor)

    def add(self, anchor: str, mac: str, time: float) -> Member | None:
        """Start a member; None if the table is full of established ones."""
        if len(self.members) >= self._bounds.devices and not self._make_room():
            self.dropped["devices"] += 1
            return None
        member = new_member(anchor, mac, self.numbered, time)
        self.numbered += 1
        self.members[anchor] = member
        self._fresh[anchor] = None
        return member

    def _make_room(self) -> bool:
        """Push out the oldest member that is not established; a flood of forged addresses pushes out itself."""
        for anchor in list(self._fresh):
            member = self.members.get(anchor)
            del self._fresh[anchor]
            if member is None or member.is_established:
                continue
            self._remove(member)
            self.dropped["devices"] += 1
            return True
        return False

    def _remove(self, member: Member) -> None:
        del self.members[member.anchor]
        for ip in member.addresses:
            if self.owners.get(ip) is member:
                del self.owners[ip]
            if self.holders.get(ip) == member.anchor:
                del self.holders[ip]
        for key in member.keys:
            self._unshare(key, member.anchor)
        self.stale.discard(member.anchor)
        self.evicted.append(member)

    def _unshare(self, key: str, anchor: str) -> None:
        left = [other for other in self.sharing.get(key, ()) if other != anchor]
        if left:
            self.sharing[key] = left
        else:
            self.sharing.pop(key, None)

    def claim(self, member: Member, ip: str, time: float, *, announced: bool) -> Claim | None:
        """Note that a member holds an address; None if the bound refused it."""
        claim = member.addresses.get(ip)
        if claim is None:
            if len(member.addresses) >= self._bounds.addresses:
                oldest = min(
                    member.addresses, key=lambda ip: (member.addresses[ip].announced, member.addresses[ip].last)
                )
                if member.addresses[oldest].announced and not announced:
                    self.dropped["addresses"] += 1
                    return None
                del member.addresses[oldest]
                if self.holders.get(oldest) == member.anchor:
                    del self.holders[oldest]
                self.dropped["addresses"] += 1
            claim = member.addresses[ip] = Claim(time, time, announced)
            self.holders.setdefault(ip, member.anchor)
            if ":" in ip:
                self.stale.add(member.anchor)
        elif announced and not claim.announced:
            claim.announced = True
        owner = self.owners.get(ip)
        if owner is not member and self._outranks(claim, owner, ip):
            if owner is not None and not owner.mac and member.mac:
                self.force(owner.anchor, member.anchor)
            self.owners[ip] = member
        return claim

    def holder_of(self, ip: str, member: Member, quiet_s: float) -> Member:
        """Give who had an address first; the member itself if nobody did, or that one stopped using it since."""
        holder = self.members.get(self.holders.get(ip, ""))
        held = holder.addresses.get(ip) if holder is not None else None
        if holder is None or held is None or not holder.mac or member.addresses[ip].last - held.last > quiet_s:
            self.holders[ip] = member.anchor
            return member
        return holder

    def hand_over(self, ip: str, member: Member) -> None:
        """Note that the site's DHCP server gave an address to a member."""
        self.holders[ip] = member.anchor

    @staticmethod
    def _outranks(claim: Claim, owner: Member | None, ip: str) -> bool:
        if owner is None or not owner.mac:
            return True
        held = owner.addresses.get(ip)
        return held is None or claim.announced or not held.announced

    def learn(self, member: Member, name: str, value: str, source: str, time: float, confidence: float) -> None:
        """Note an attribute of a member."""
        new = member.learn(name, value, source, time, confidence, self._bounds.attributes)
        if new is None:
            self.dropped["attributes"] += 1
        elif new and name in _KEYED:
            self.stale.add(member.anchor)

    def make_router(self, member: Member) -> None:
        """Note that a member forwards for others: what it carried before is not its own."""
        if member.is_router:
            return
        member.is_router = True
        self._forget()
        for ip in member.carried:
            member.addresses.pop(ip, None)
            if self.owners.get(ip) is member:
                del self.owners[ip]
        member.carried = []

    def carries(self, member: Member, ip: str) -> bool:
        """Note a foreign address behind a member; True once it is clear that the member is a router."""
        if ip not in member.carried:
            place = prefix_of(ip) or ip
            if not any((prefix_of(other) or other) == place for other in member.carried):
                member.carried.append(ip)
            if len(member.carried) >= FOREIGN_ADDRESSES:
                self.make_router(member)
                return True
        return False

    def is_sole_address(self, member: Member, ip: str) -> bool:
        """Tell whether an address is the only private one of its kind that a member uses, or that it announced it."""
        claim = member.addresses.get(ip)
        alike = [
            other for other in member.addresses if (":" in other) == (":" in ip) and address_kind(other) == "private"
        ]
        return alike == [ip] or (claim is not None and claim.announced)

    def has_eui64(self, member: Member, ip: str) -> bool:
        """Tell whether an IPv6 address is made from the member's hardware address."""
        suffix = eui64_of(member.mac)
        return bool(suffix) and ip.endswith(suffix)

    def force(self, anchor: str, into: str) -> None:
        """Note that two anchors are one device whatever else is said; an empty `into` takes it back."""
        if into and into != anchor:
            self.forced[anchor] = into
            self.stale.add(into)
        else:
            self.forced.pop(anchor, None)
        self.stale.add(anchor)

    def refresh_keys(self) -> set[str]:
        """Bring firm evidence up to date; gives the anchors of all members that may have to be joined or split."""
        affected: set[str] = set()
        for anchor in self.stale:
            member = self.members.get(anchor)
            if member is None:
                continue
            affected.add(anchor)
            keys = list(firm_keys(member))
            for key in member.keys:
                if key not in keys:
                    self._unshare(key, anchor)
            for key in keys:
                holders = self.sharing.setdefault(key, [])
                if anchor not in holders:
                    if len(holders) < MAX_SHARING:
                        holders.append(anchor)
                    else:
                        self.dropped["attributes"] += 1
            member.keys = keys
        self.stale.clear()
        return affected

    def is_sharing(self, anchors: Iterable[str]) -> bool:
        """Tell whether one of these members has firm evidence that another member has too."""
        members = (self.members.get(anchor) for anchor in anchors)
        return any(len(self.sharing.get(key, ())) > 1 for member in members if member for key in member.keys)

    def linked(self, anchor: str) -> list[Member]:
        """Give all members that are joined to one by firm evidence or by a person, itself included."""
        found = {anchor}
        todo = [anchor]
        backwards: dict[str, list[str]] = {}
        for source, target in self.forced.items():
            backwards.setdefault(target, []).append(source)
        while todo:
            current = self.members.get(todo.pop())
            if current is None:
                continue
            near = [other for key in current.keys for other in self.sharing.get(key, ())]
            near += backwards.get(current.anchor, [])
            if current.anchor in self.forced:
                near.append(self.forced[current.anchor])
            for other in near:
                if other not in found and other in self.members:
                    found.add(other)
                    todo.append(other)
        return [self.members[anchor] for anchor in found if anchor in self.members]

    def restore(
        self,
        members: Iterable[Member],
        owners: Mapping[str, str],
        forced: dict[str, str],
        numbered: int,
        dropped: dict[str, int],
    ) -> None:
        """Take what a snapshot kept."""
        self.members = {member.anchor: member for member in members}
        self.owners = {ip: self.members[anchor] for ip, anchor in owners.items() if anchor in self.members}
        self.forced, self.numbered, self.dropped = forced, numbered, dropped
        self.sharing = {}
        claims = [(c.first, m.number, ip, m.anchor) for m in self.members.values() for ip, c in m.addresses.items()]
        self.holders = {ip: anchor for _, _, ip, anchor in sorted(claims, reverse=True)}
        for member in self.members.values():
            for key in member.keys:
                self.sharing.setdefault(key, []).append(member.anchor)
        self._fresh = {anchor: None for anchor, member in self.members.items() if not member.is_established}
        self.stale, self.evicted = set(), []
