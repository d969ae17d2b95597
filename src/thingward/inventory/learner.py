"""What one device needs, learnt flow by flow: entries generalised to roles, names, services and ports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from thingward.inventory.defaults import SAFE_DEFAULTS
from thingward.inventory.naming import wildcard_for
from thingward.inventory.narrow import is_needless, is_time_entry, is_watched, own_time_service, signs_of
from thingward.inventory.settle import settledness, thin
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.matching import AclIndex
from thingward.model.profile import Acl, Adoption, MudProfile, PeerKind
from thingward.model.terms import ICMP, ICMP6, SERVICE_PORTS, TCP, UDP, FlowTerms, address_kind

ADDRESSES_PER_ENTRY: Final = 16
PORTS_BEFORE_RANGE: Final = 2
PORTS_OF_DEVICE_BEFORE_RANGE: Final = 8
TIME_SERVERS_BEFORE_ANY: Final = 2
DEVICES_BEFORE_LOCAL: Final = 2
HIGH_PORTS: Final = (1024, 65535)
ONE_SIDED_ATTEMPTS: Final = 10
# Roles that an entry rests on before anything else is considered; `gateway` comes after groups.
_PROTOCOL_ROLES: Final = frozenset({"arp", "link", "nd", "igmp", "icmp", "dhcp", "dns", "ntp", "mdns", "ssdp"})
_WEB_PORTS: Final = frozenset({80, 443, 8080, 8443})
_NTP: Final = 123
_PORTED: Final = frozenset({TCP, UDP})
_ANSWERING: Final = frozenset({TCP, UDP, ICMP, ICMP6})

EntryKey = tuple[str, str, str, int, int, int, int]


class LearnBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much learning may keep; what goes beyond is dropped and counted.

    Attributes:
        devices: devices with a profile. entries: per profile. attempts: unanswered services per device.
        cells: rows of recorded traffic per device. pending: flows whose first report was not enough to learn from.
        interval_s: time between two emissions of a device's profile.
    """

    devices: int = 4096
    entries: int = 512
    attempts: int = 256
    cells: int = 1024
    pending: int = 65_536
    interval_s: float = 60.0


class Entry(msgspec.Struct, kw_only=True):
    """One entry while it is learnt.

    Attributes:
        days: distinct days since 1970 on which it was used, bounded by thinning to a count of 400.
        claimed: flows whose name came from the device's own claim (TLS SNI, HTTP host) and not from DNS.
        opened: flows seen from their beginning.
        flip_port: the device's own port, where the first flow did not show who asked.
    """

    direction: Literal["out", "in"]
    peer: PeerKind
    value: str
    proto: int
    port: int
    port_to: int
    ethertype: int
    origin: Literal["learnt", "default"] = "learnt"
    flows: int = 0
    first: float = 0.0
    last: float = 0.0
    days: set[int] = set()
    addresses: list[str] = []
    claimed: int = 0
    opened: int = 0
    flip_port: int = 0

    def key(self) -> EntryKey:
        """Give what makes it this entry."""
        return (
            self.direction, self.peer.value, self.value, self.proto, self.port, self.port_to, self.ethertype,
        )  # fmt: skip

    def acl(self) -> Acl:
        """Give it as an entry of a profile."""
        return Acl(
            direction=self.direction,
            peer=self.peer,
            value=self.value,
            proto=self.proto,
            port=self.port,
            port_to=self.port_to,
            ethertype=self.ethertype,
            flows=self.flows,
            first=self.first,
            last=self.last,
            days=len(self.days),
            origin=self.origin,
            addresses=tuple(sorted(self.addresses)),
            resolved=not (self.peer is PeerKind.NAME and self.claimed),
        )


class LearnerState(msgspec.Struct, kw_only=True):
    """What a snapshot keeps of a learner.

    Attributes:
        telling: flows that no safe default covers.
        seen: flows that show which safe defaults are needed, by kind (`narrow.signs_of`).
    """

    device: str
    entries: list[Entry]
    maker: str = ""
    attempts: dict[str, int] = {}
    blocked: list[EntryKey] = []
    curve: list[tuple[int, int]] = []
    first: float = 0.0
    last: float = 0.0
    flows: int = 0
    telling: int = 0
    flows_since_new: int = 0
    last_new: float = 0.0
    answered: int = 0
    hours: set[int] = set()
    days: set[int] = set()
    dropped: int = 0
    version: int = 0
    adopted: list[Adoption] = []
    seen: dict[str, int] = {}


class DeviceLearner:
    """One device's profile in the making. Everything that it learnt from, its profile allows."""

    def __init__(self, device: str, bounds: LearnBounds, extra: Iterable[Acl] = ()) -> None:
        self._bounds = bounds
        self.state = LearnerState(device=device, entries=[])
        self._index: AclIndex[Entry] = AclIndex()
        self._indexed: dict[int, Acl] = {}
        self.add_defaults((*SAFE_DEFAULTS, *extra))

    # -- learning ----------------------------------------------------------------------------------------------

    def learn(
        self, terms: FlowTerms, time: float, *, answered: bool, opened: bool, count: int = 1, last: float = 0.0
    ) -> bool:
        """Learn from like flows; gives whether there is a new entry.

        An attempt that nobody answered is not a need, unless the device asked DNS for the peer: then its
        function, and not a scan, made it call.
        """
        state = self.state
        last = last or time
        self._note_time(time, last)
        state.flows += count
        state.answered += count if answered and terms.proto in _ANSWERING and not terms.group else 0
        self._note_signs(terms, count)
        entry = self._index.find(terms)
        telling = count
        if entry is not None and entry.origin == "default":
            telling = 0
            terms = own_time_service(terms)
            entry = self._index.find(terms)
        state.telling += telling
        if entry is not None:
            state.flows_since_new += telling
            self._use(entry, terms, time, last, opened=opened, count=count)
            return False
        if not self._is_need(terms, answered=answered):
            self._attempt(terms, count)
            return False
        terms = self._oriented(terms)
        entry = self._new_entry(terms)
        if entry is None:
            return False
        self._use(entry, terms, time, last, opened=opened, count=count)
        state.flows_since_new = max(telling - 1, 0)
        state.last_new = max(state.last_new, time)
        self._widen(entry)
        state.curve = thin([*state.curve, (state.telling, self.size)])
        return True

    def knows(self, terms: FlowTerms) -> bool:
        """Tell whether an entry stands for such flows."""
        entry = self._index.find(terms)
        if entry is not None and entry.origin == "default":
            entry = self._index.find(own_time_service(terms))
        return entry is not None

    def bind(self, address: str, name: str, *, claimed: bool = False) -> bool:
        """Take what DNS told the device: entries that rest on this bare address now rest on the name.

        Args:
            claimed: the name comes from the device's own claim (TLS SNI, HTTP host), not from DNS.
        """
        moved = False
        for entry in list(self.state.entries):
            if entry.peer is PeerKind.ADDRESS and entry.value == address and entry.direction == "out":
                self._remove(entry)
                named = self._named(entry, name)
                if address not in named.addresses and len(named.addresses) < ADDRESSES_PER_ENTRY:
                    named.addresses.append(address)
                named.claimed += entry.flows if claimed else 0
                self._merge(named, entry)
                self._widen(named)
                moved = True
        return moved

    def _named(self, entry: Entry, name: str) -> Entry:
        terms = FlowTerms(entry.direction, entry.proto, entry.port or 1, names=(name,))
        known = self._index.find(terms)
        if known is not None and known.origin != "default":
            return known
        fresh = Entry(
            direction=entry.direction, peer=PeerKind.NAME, value=name, proto=entry.proto, port=entry.port,
            port_to=entry.port_to, ethertype=0, first=entry.first, last=entry.last,
        )  # fmt: skip
        self._insert(fresh)
        return fresh

    def unlearn(self, since: float, peers: set[str], ports: set[int], *, everything: bool) -> int:
        """Take back what was learnt from traffic that detection calls malicious; it is not learnt again.

        Args:
            since: entries first used before it stay.
            peers: values (device uid, name, address) it was about. ports: services. everything: all new entries.
        """
        gone = 0
        for entry in list(self.state.entries):
            if entry.origin == "default" or entry.first < since:
                continue
            hit = everything or entry.value in peers or bool(peers.intersection(entry.addresses))
            if hit or (entry.port in ports and not peers):
                self._remove(entry)
                if len(self.state.blocked) < self._bounds.entries:
                    self.state.blocked.append(entry.key())
                gone += 1
        if gone:
            self.state.version += 1
        return gone

    def block(self, keys: Iterable[EntryKey]) -> None:
        """Drop entries that another run found to be hostile; they are not learnt again."""
        blocked = dict.fromkeys([*self.state.blocked, *keys])
        for entry in list(self.state.entries):
            if entry.origin != "default" and entry.key() in blocked:
                self._remove(entry)
        self.state.blocked = list(blocked)[: self._bounds.entries]

    def rename_device(self, old: str, new: str) -> bool:
        """Follow a peer whose record was absorbed by another one."""
        stale = [entry for entry in self.state.entries if entry.peer is PeerKind.DEVICE and entry.value == old]
        for entry in stale:
            self._remove(entry)
            wanted = msgspec.structs.replace(entry, value=new)
            known = next((item for item in self.state.entries if item.key() == wanted.key()), None)
            if known is None:
                self._insert(wanted)
            else:
                self._merge(known, entry)
        return bool(stale)

    def add_defaults(self, acls: Iterable[Acl]) -> None:
        """Put in safe defaults that are not there yet."""
        known = {entry.key() for entry in self.state.entries}
        for acl in acls:
            entry = Entry(
                direction=acl.direction, peer=acl.peer, value=acl.value, proto=acl.proto, port=acl.port,
                port_to=acl.port_to, ethertype=acl.ethertype, origin="default",
            )  # fmt: skip
            if entry.key() not in known:
                self._insert(entry)

    def absorb(self, other: DeviceLearner) -> None:
        """Take what another learner knows: the two devices are one."""
        mine, theirs = self.state, other.state
        for entry in theirs.entries:
            known = next((item for item in mine.entries if item.key() == entry.key()), None)
            if known is None and (self.size < self._bounds.entries or entry.origin == "default"):
                self._insert(msgspec.structs.replace(entry, flows=0))
                known = mine.entries[-1]
            if known is not None:
                self._merge(known, entry)
        mine.first = min(mine.first or theirs.first, theirs.first or mine.first)
        mine.last, mine.last_new = max(mine.last, theirs.last), max(mine.last_new, theirs.last_new)
        mine.flows, mine.telling = mine.flows + theirs.flows, mine.telling + theirs.telling
        mine.flows_since_new = min(mine.flows_since_new, theirs.flows_since_new)
        mine.seen = {kind: mine.seen.get(kind, 0) + theirs.seen.get(kind, 0) for kind in {*mine.seen, *theirs.seen}}
        mine.hours |= theirs.hours
        mine.days |= theirs.days
        mine.blocked = [*mine.blocked, *theirs.blocked][: self._bounds.entries]
        mine.adopted = [*mine.adopted, *(item for item in theirs.adopted if item not in mine.adopted)]
        mine.version += 1

    # -- what came of it ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Learnt entries, without defaults."""
        return sum(1 for entry in self.state.entries if entry.origin != "default")

    @property
    def is_watched(self) -> bool:
        """Tell whether it was watched long enough to say which safe defaults it does not use."""
        return is_watched(self.state.last - self.state.first, len(self.state.days))

    def profile(self, tenant: Tenant, site: str, source: str, *, is_narrow: bool | None = None) -> MudProfile:
        """Give the profile as it is now.

        Args:
            is_narrow: safe defaults that show no need are left out; None: if the device was watched long enough.
        """
        state = self.state
        acls = tuple(sorted(self._needed(self.is_watched if is_narrow is None else is_narrow), key=acl_order))
        content = [repr((*acl_order(acl), acl.resolved)) for acl in acls]
        unopened = [
            f"{entry.value}:{entry.port}" if entry.port else entry.value
            for entry in state.entries
            if entry.peer is PeerKind.ADDRESS and entry.proto == TCP and not entry.opened
        ]
        settled = settledness(
            first=state.first,
            last=state.last,
            flows=state.telling,
            flows_since_new=state.flows_since_new,
            last_new=state.last_new or state.first,
            days=len(state.days),
            hours=len(state.hours),
            curve=[*state.curve, (state.telling, self.size)] if state.curve else (),
            unopened=unopened,
            one_sided=not state.answered and sum(state.attempts.values()) >= ONE_SIDED_ATTEMPTS,
        )
        return MudProfile(
            uid=Uid("p-" + hashed_uid("profile", tenant, state.device, *content)[:24]),
            tenant=tenant,
            time=state.last,
            source=source,
            device=state.device,
            site=site,
            version=state.version,
            acls=acls,
            settled=settled,
            dropped=state.dropped,
            adopted=tuple(state.adopted),
        )

    def _needed(self, is_narrow: bool) -> list[Acl]:
        acls = [entry.acl() for entry in self.state.entries]
        has_time = any(map(is_time_entry, acls))
        return [acl for acl in acls if not (is_narrow and is_needless(acl, self.state.seen, has_time=has_time))]

    def restore(self, state: LearnerState) -> None:
        """Take a state from a snapshot."""
        self.state = state
        self._index, self._indexed = AclIndex(), {}
        for entry in state.entries:
            self._reindex(entry)

    # -- entries -----------------------------------------------------------------------------------------------

    def _is_need(self, terms: FlowTerms, *, answered: bool) -> bool:
        if terms.proto in _PORTED and terms.port == 0:
            return False
        if terms.group or terms.proto not in _ANSWERING or _PROTOCOL_ROLES.intersection(terms.roles):
            return True
        return answered or bool(terms.names and terms.direction == "out")

    def _attempt(self, terms: FlowTerms, count: int) -> None:
        what = f"{terms.direction} {terms.device or terms.address} {terms.proto}/{terms.port}"
        attempts = self.state.attempts
        if what in attempts or len(attempts) < self._bounds.attempts:
            attempts[what] = attempts.get(what, 0) + count

    def _oriented(self, terms: FlowTerms) -> FlowTerms:
        """Where it cannot be told who asked, a port of the device's own that comes back is the service.

        Not so towards outside hosts: whatever the ports, the device called them.
        """
        if not terms.flip_port or address_kind(terms.address) == "public":
            return terms
        peer, value = _choose(terms)
        for entry in self.state.entries:
            if entry.flip_port == terms.flip_port and (entry.peer, entry.value) == (peer, value):
                self._remove(entry)
                return terms.flipped()
        return terms

    def _new_entry(self, terms: FlowTerms) -> Entry | None:
        peer, value = _choose(terms)
        entry = Entry(
            direction=terms.direction, peer=peer, value=value, proto=terms.proto, port=terms.port, port_to=0,
            ethertype=terms.ethertype, flip_port=terms.flip_port,
        )  # fmt: skip
        if entry.key() in self.state.blocked:
            return None
        if self.size >= self._bounds.entries:
            self.state.dropped += 1
            return None
        self._insert(entry)
        return entry

    def _insert(self, entry: Entry) -> None:
        self.state.entries.append(entry)
        self._reindex(entry)
        self.state.version += 1

    def _remove(self, entry: Entry) -> None:
        self.state.entries.remove(entry)
        self._index.discard(self._indexed.pop(id(entry)), entry)

    def _reindex(self, entry: Entry) -> None:
        old = self._indexed.pop(id(entry), None)
        if old is not None:
            self._index.discard(old, entry)
        acl = entry.acl()
        self._indexed[id(entry)] = acl
        self._index.add(acl, entry)

    def _use(self, entry: Entry, terms: FlowTerms, time: float, last: float, *, opened: bool, count: int) -> None:
        entry.first = min(entry.first, time) if entry.flows else time
        entry.flows += count
        entry.last = max(entry.last, last)
        if len(entry.days) < 400:
            entry.days.update({int(time // 86_400), int(last // 86_400)})
        entry.opened += count if opened else 0
        if entry.peer is not PeerKind.NAME:
            return
        changed = False
        by_dns = any(_covers(entry.value, name) for name in terms.names)
        if not by_dns:
            changed = not entry.claimed
            entry.claimed += count
        if terms.address not in entry.addresses:
            entry.addresses.append(terms.address)
            if len(entry.addresses) > ADDRESSES_PER_ENTRY:
                entry.addresses.pop(0)
            changed = changed or bool(entry.claimed)
        if changed:
            self._reindex(entry)
            self.state.version += 1

    def _merge(self, kept: Entry, other: Entry) -> None:
        """Add another entry's uses to one that covers it."""
        kept.first = min(kept.first or other.first, other.first or kept.first)
        kept.last = max(kept.last, other.last)
        kept.flows += other.flows
        kept.days |= other.days
        kept.claimed += other.claimed
        kept.opened += other.opened
        for address in other.addresses:
            if address not in kept.addresses and len(kept.addresses) < ADDRESSES_PER_ENTRY:
                kept.addresses.append(address)
        self._reindex(kept)

    # -- generalising ------------------------------------------------------------------------------------------

    def _widen(self, entry: Entry) -> None:
        """See whether a new entry and those like it are better written as one."""
        if entry.peer is PeerKind.NAME and not entry.value.startswith("*."):
            entry = self._widen_name(entry)
        if entry.proto in _PORTED and entry.port >= HIGH_PORTS[0] and entry.port not in SERVICE_PORTS:
            self._widen_ports(entry)
        if entry.peer is PeerKind.DEVICE and entry.direction == "in":
            self._widen_devices(entry)
        if entry.peer is PeerKind.ADDRESS and (entry.direction, entry.proto, entry.port) == ("out", UDP, _NTP):
            self._widen_time_servers(entry)

    def _widen_name(self, entry: Entry) -> Entry:
        alike = [
            other
            for other in self.state.entries
            if other.peer is PeerKind.NAME
            and other.origin != "default"
            and (other.direction, other.proto, other.port, other.port_to)
            == (entry.direction, entry.proto, entry.port, entry.port_to)
        ]
        names = [other.value for other in alike if not other.value.startswith("*.")]
        pattern = wildcard_for(entry.value, names, is_web=entry.port in _WEB_PORTS)
        if not pattern:
            return entry
        inside = [other for other in alike if _covers(pattern, other.value.removeprefix("*."))]
        return self._replace(inside, peer=PeerKind.NAME, value=pattern, port=entry.port, port_to=entry.port_to)

    def _widen_ports(self, entry: Entry) -> None:
        alike = [
            other
            for other in self.state.entries
            if (other.direction, other.peer, other.value, other.proto)
            == (entry.direction, entry.peer, entry.value, entry.proto)
            and other.port >= HIGH_PORTS[0]
            and other.port not in SERVICE_PORTS
        ]
        limit = PORTS_OF_DEVICE_BEFORE_RANGE if entry.peer is PeerKind.DEVICE else PORTS_BEFORE_RANGE
        if len(alike) > limit:
            low, high = HIGH_PORTS
            self._replace(alike, peer=entry.peer, value=entry.value, port=low, port_to=high)

    def _widen_devices(self, entry: Entry) -> None:
        alike = [
            other
            for other in self.state.entries
            if other.peer is PeerKind.DEVICE
            and other.direction == "in"
            and (other.proto, other.port, other.port_to) == (entry.proto, entry.port, entry.port_to)
        ]
        if len(alike) > DEVICES_BEFORE_LOCAL:
            self._replace(alike, peer=PeerKind.LOCAL, value="", port=entry.port, port_to=entry.port_to)

    def _widen_time_servers(self, entry: Entry) -> None:
        """A device that asks many bare addresses for the time has a list of its own that rotates."""
        alike = [
            other
            for other in self.state.entries
            if other.peer is PeerKind.ADDRESS
            and (other.direction, other.proto, other.port) == ("out", UDP, _NTP)
            and (":" in other.value) == (":" in entry.value)
        ]
        if len(alike) > TIME_SERVERS_BEFORE_ANY:
            anywhere = "::/0" if ":" in entry.value else "0.0.0.0/0"
            self._replace(alike, peer=PeerKind.ADDRESS, value=anywhere, port=_NTP, port_to=0)

    def _replace(self, entries: list[Entry], *, peer: PeerKind, value: str, port: int, port_to: int) -> Entry:
        model = entries[0]
        wider = Entry(
            direction=model.direction, peer=peer, value=value, proto=model.proto, port=port, port_to=port_to,
            ethertype=model.ethertype,
        )  # fmt: skip
        for entry in entries:
            self._remove(entry)
        self._insert(wider)
        for entry in entries:
            self._merge(wider, entry)
        return wider

    def _note_signs(self, terms: FlowTerms, count: int) -> None:
        seen = self.state.seen
        for kind in signs_of(terms):
            seen[kind] = seen.get(kind, 0) + count

    def _note_time(self, first: float, last: float) -> None:
        state = self.state
        state.first = min(state.first, first) if state.flows else first
        state.last = max(state.last, last)
        for time in (first, last):
            state.hours.add(int(time // 3600) % 168)
            if len(state.days) < 400:
                state.days.add(int(time // 86_400))


def acl_order(acl: Acl) -> tuple[str, str, str, str, int, int, int, int]:
    """Give what entries are sorted and told apart by."""
    return (
        "b" if acl.origin == "default" else "a", acl.direction, acl.peer.value, acl.value, acl.proto, acl.port,
        acl.port_to, acl.ethertype,
    )  # fmt: skip


def _choose(terms: FlowTerms) -> tuple[PeerKind, str]:
    """Pick how an entry names the peer: what will still be true tomorrow comes first."""
    for role in terms.roles:
        if role in _PROTOCOL_ROLES:
            return PeerKind.ROLE, role
    if terms.group:
        return PeerKind.GROUP, terms.address
    if "gateway" in terms.roles:
        return PeerKind.ROLE, "gateway"
    if terms.device:
        return PeerKind.DEVICE, terms.device
    if terms.names:
        return PeerKind.NAME, terms.names[0]
    if terms.claimed:
        return PeerKind.NAME, terms.claimed
    return PeerKind.ADDRESS, terms.address


def _covers(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.startswith("*.") and (name == pattern[2:] or name.endswith(pattern[1:])))
