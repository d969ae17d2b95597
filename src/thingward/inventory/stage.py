"""The inventory stage: says which device each end of an event is, and keeps one record per device."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from thingward.inventory.evidence import Evidence
from thingward.inventory.members import Bounds, Claim, Member
from thingward.inventory.names import NameBook
from thingward.inventory.network import Network, NetworkState, time_service_of
from thingward.inventory.records import RecordBook, RecordState
from thingward.model import ocsf
from thingward.model.device import Correction, Device
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.flow import Output
from thingward.model.flow_reports import FlowReports, Row
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant, event_uid, hashed_uid
from thingward.model.observation import DnsData, Endpoint, FlowData, IdentityData, LeaseData, StatusData
from thingward.model.record import Record
from thingward.model.terms import address_kind, is_group_mac

CACHE_ENTRIES: Final = 65_536
_ANNOUNCING: Final = frozenset({"arp", "ndp"})
_ARP: Final = 0x0806
_SILENT: Final = frozenset({"arp", "frame"})
_DHCP: Final = 67
_NTP: Final = 123


class Seen(msgspec.Struct, gc=False):
    """What is known of one (hardware address, IP) pair; uid is empty for hosts beyond a router and groups."""

    uid: str = ""
    member: Member | None = None
    claim: Claim | None = None
    roles: tuple[str, ...] = ()


_NOBODY: Final = Seen()


def _is_answer(data: object) -> bool:
    """Tell whether the destination sent what the event is about: a DNS answer, a DHCP server's word."""
    if type(data) is DnsData:
        return data.rcode >= 0
    return type(data) is LeaseData and data.message in ("offer", "ack", "advertise", "reply")


def _is_nobodys(ip: str) -> bool:
    """Tell whether an address names no single host of the site: a group's, or every host's own (loopback)."""
    return address_kind(ip) == "group" or ip.startswith("127.") or ip == "::1"


class _InTime:
    """Hands out the rows of flow reports, which are in order of time, up to one time after another.

    Attributes:
        due: time of the next row, infinite after the last.
    """

    def __init__(self, reports: Iterable[FlowReports]) -> None:
        self._rows = [row for one in reports for row in one.rows()]
        self._times = [row[0] for row in self._rows]
        self._at = 0
        self.due = self._times[0] if self._times else math.inf

    def until(self, time: float) -> list[Row]:
        """Give the rows that ended by then and were not given yet."""
        begin, self._at = self._at, bisect_right(self._times, time, self._at)
        self.due = self._times[self._at] if self._at < len(self._times) else math.inf
        return self._rows[begin : self._at]


class _State(msgspec.Struct, kw_only=True):
    network: NetworkState
    members: list[Member]
    records: dict[str, RecordState]
    names: dict[str, dict[str, tuple[str, ...]]]
    owners: dict[str, str]
    holders: dict[str, str] = {}
    forced: dict[str, str]
    numbered: int
    dropped: dict[str, int]
    reported: dict[str, int]


def no_maker(mac: str) -> str:
    """Know no maker of any hardware address."""
    return ""


class InventoryStage:
    """Fills `Endpoint.device`, `names` and `roles`; emits `Device` records that changed, at a bounded rate.

    Args:
        maker_of: gives the maker of a hardware address, empty if unknown.
        networks: the site's address ranges where they are not private ones, in CIDR form.
    """

    name = "inventory"

    def __init__(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        site: str = DEFAULT_SITE,
        producer: str = "inventory",
        maker_of: Callable[[str], str] = no_maker,
        networks: Sequence[str] = (),
        bounds: Bounds | None = None,
        simulated: bool = False,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._cache: dict[tuple[str, str], Seen] = {}
        self._epoch = 0
        self._routers: set[str] = set()
        self._tenant, self._site, self._producer = Tenant(tenant), site, producer
        self.network = Network(networks, self._forget)
        self._evidence = Evidence(self._bounds, Tenant(tenant), site, self._forget)
        self._records = RecordBook(self._evidence, self.network, Tenant(tenant), site, producer, maker_of, self._forget)
        self._records.simulated = simulated
        self._names = NameBook(self._bounds.names)
        self._reported: dict[str, int] = {}

    # -- the stage ---------------------------------------------------------------------------------------------

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Enrich a batch; changed device records follow its records."""
        records: list[Record] = []
        flows = _InTime(record for record in batch if type(record) is FlowReports)
        for record in batch:
            if flows.due <= record.time:
                records += map(self._report_event, flows.until(record.time))
            if type(record) is Event:
                records.append(self._event(record))
            elif type(record) is not FlowReports:
                if type(record) is Correction:
                    self._correct(record)
                elif type(record) is Device:
                    self._adopt(record)
                records.append(record)
        records += map(self._report_event, flows.until(math.inf))
        self._reconcile()
        records += self._records.due(now, self._bounds.interval_s, self._bounds.emitted)
        return Output(records=records)

    def tick(self, now: float) -> Output:
        """Emit what the rate limit held back."""
        self._reconcile()
        records: list[Record] = list(self._records.due(now, self._bounds.interval_s, self._bounds.emitted))
        return Output(records=[*records, *self._drops(now)])

    def finish(self, now: float) -> Output:
        """Emit every record that changed, at the end of a file."""
        self._reconcile()
        records: list[Record] = list(self._records.due(now, 0.0, len(self._records.records)))
        return Output(records=[*records, *self._drops(now)])

    def snapshot(self) -> bytes:
        """Give the whole state."""
        evidence = self._evidence
        return msgspec.msgpack.encode(
            _State(
                network=self.network.state,
                members=list(evidence.members.values()),
                records=self._records.records,
                names=self._names.state(),
                owners={ip: member.anchor for ip, member in evidence.owners.items()},
                holders=evidence.holders,
                forced=evidence.forced,
                numbered=evidence.numbered,
                dropped=evidence.dropped,
                reported=self._reported,
            )
        )

    def restore(self, state: bytes) -> None:
        """Take a state that `snapshot` gave."""
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"not a snapshot of the inventory: {error}.") from error
        self.network.restore(kept.network)
        self._evidence.restore(kept.members, kept.owners, kept.forced, kept.numbered, kept.dropped)
        self._evidence.holders.update(kept.holders)
        self._records.records = kept.records
        self._names.restore(kept.names)
        self._reported = kept.reported

    # -- what others ask ---------------------------------------------------------------------------------------

    def devices(self) -> tuple[Device, ...]:
        """Give all present records, in the order in which the devices were met; absorbed ones are left out."""
        self._reconcile()
        return self._records.all()

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Give the site's addresses by role; `ntp` lists the domains of public time services too."""
        return self.network.by_role()

    @property
    def dropped(self) -> dict[str, int]:
        """What bounds refused, by kind."""
        return {**self._evidence.dropped, "names": self._names.dropped}

    # -- events ------------------------------------------------------------------------------------------------

    def _event(self, event: Event) -> Event:
        data, src, dst = event.data, event.src, event.dst
        kind = type(data)
        if kind is FlowData:
            return self._flow(event, data)  # type: ignore[arg-type]
        if src is None:
            return event
        source = self._see(src, dst, sends=True, time=event.time)
        target = self._see(dst, src, sends=_is_answer(data), time=event.time) if dst else _NOBODY
        if source.member is not None:
            source.member.has_spoken |= not (kind is IdentityData and data.protocol in _SILENT)  # type: ignore[union-attr]
            source.member.touch(event.time, event.time)
            self._records.touched.add(source.member.record)
            if kind is IdentityData:
                self._identity(source.member, src, data, event.time)  # type: ignore[arg-type]
            elif kind is LeaseData:
                self._lease(source.member, data, dst, target, event.time)  # type: ignore[arg-type]
            elif kind is DnsData:
                self._answer(source, target, dst, data)  # type: ignore[arg-type]
        elif kind is LeaseData:
            self._learn_lease(data, dst, target, event.time)  # type: ignore[arg-type]
        return self._enrich(event, src, dst, source, target)

    def _flow(self, event: Event, data: FlowData) -> Event:
        src, dst = event.src, event.dst
        if src is None or dst is None:
            return event
        source, target = self._talkers(src, dst, data)
        return self._enrich(event, src, dst, source, target)

    def _report_event(self, row: Row) -> Event:
        """Make the event of one flow report; like `_flow`, without the observation and the event in between."""
        last, uid, packet, activity, src_mac, src_ip, src_port, dst_mac, dst_ip, dst_port, data, reports = row
        cache = self._cache
        source, target = cache.get((src_mac, src_ip)), cache.get((dst_mac, dst_ip))
        if source is None or target is None or target.member is None:
            src = Endpoint(mac=src_mac, ip=src_ip, port=src_port)
            dst = Endpoint(mac=dst_mac, ip=dst_ip, port=dst_port)
            source, target = self._talkers(src, dst, data)
        else:
            self._touch(source, target, data)
        return Event(
            uid=event_uid(uid),
            tenant=reports.tenant,
            time=last,
            source=reports.source,
            parents=(uid, packet),
            class_uid=ocsf.NETWORK_ACTIVITY,
            activity_id=activity,
            site=reports.site,
            src=self._placed(src_mac, src_ip, src_port, source, target.uid),
            dst=self._placed(dst_mac, dst_ip, dst_port, target, source.uid),
            data=data,
        )

    def _talkers(self, src: Endpoint, dst: Endpoint, data: FlowData) -> tuple[Seen, Seen]:
        """Find out who a flow's ends are, and note that they were active."""
        cache = self._cache
        source = cache.get((src.mac, src.ip)) or self._see(src, dst, sends=True, time=data.first)
        answers = data.packets_in > 0
        target = cache.get((dst.mac, dst.ip)) or self._see(dst, src, sends=answers, time=data.first)
        if answers and target.member is None and dst.mac not in self._routers:
            self._routed(dst, data.first)
        self._touch(source, target, data)
        return source, target

    def _touch(self, source: Seen, target: Seen, data: FlowData) -> None:
        member = source.member
        if member is not None:
            if not member.has_spoken:
                member.has_spoken = data.ethertype != _ARP or data.proto >= 0
            member.touch(data.first, data.last)
            if source.claim is not None and data.last > source.claim.last:
                source.claim.last = data.last
            self._records.touched.add(member.record)
        member = target.member
        if member is not None and data.packets_in > 0:
            member.touch(data.first, data.last)
            if target.claim is not None and data.last > target.claim.last:
                target.claim.last = data.last
            self._records.touched.add(member.record)

    def _routed(self, dst: Endpoint, time: float) -> None:
        """Note who others route by: an answer came from outside by this hardware address."""
        router = self._evidence.members.get(f"mac:{dst.mac}")
        if router is not None and address_kind(dst.ip) == "public" and not self.network.is_local(dst.ip):
            self._routers.add(dst.mac)
            self._records.standing.route(router, time)
            self._records.dirty.add(router.record)

    def _enrich(self, event: Event, src: Endpoint, dst: Endpoint | None, source: Seen, target: Seen) -> Event:
        new_src = self._endpoint(src, source, target.uid)
        new_dst = self._endpoint(dst, target, source.uid) if dst is not None else None
        if new_src is src and new_dst is dst:
            return event
        return Event(
            uid=event.uid,
            tenant=event.tenant,
            time=event.time,
            source=event.source,
            parents=event.parents,
            class_uid=event.class_uid,
            activity_id=event.activity_id,
            severity=event.severity,
            site=event.site,
            src=new_src,
            dst=new_dst,
            data=event.data,
            message=event.message,
        )

    def _endpoint(self, endpoint: Endpoint, seen: Seen, other: str) -> Endpoint:
        placed = self._placed(endpoint.mac, endpoint.ip, endpoint.port, seen, other)
        return placed if placed.device or placed.names or placed.roles else endpoint

    def _placed(self, mac: str, ip: str, port: int, seen: Seen, other: str) -> Endpoint:
        """Give an endpoint with its device, or the names that the `other` device knows it by, and its roles."""
        names: tuple[str, ...] = ()
        roles = seen.roles
        if other and not seen.uid:
            book = self._names.of(other)
            if book is not None:
                names = book.get(ip, ())
                if port == _NTP and names and any(time_service_of(name) for name in names):
                    roles = (*roles, "ntp")
        if port == _DHCP and "dhcp" not in roles and not self.network.has_dhcp_server(ip):
            roles = (*roles, "dhcp")
        return Endpoint(mac=mac, ip=ip, port=port, device=seen.uid, names=names, roles=roles)

    # -- who is it ---------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Forget who was who: something that it rests on changed."""
        self._cache.clear()
        self._routers.clear()
        self._epoch += 1

    def _see(self, endpoint: Endpoint, other: Endpoint | None, *, sends: bool, time: float) -> Seen:
        """Find out who an endpoint is; may make a member if it sends."""
        mac, ip, epoch = endpoint.mac, endpoint.ip, self._epoch
        seen = self._cache.get((mac, ip))
        if seen is not None:
            return seen
        if mac:
            seen = self._see_mac(mac, ip, other, sends=sends, time=time)
        else:
            seen = self._see_ip(ip, sends=sends, time=time)
        # Who is only spoken to, or only probes, is not known yet: once it sends or says something, it is.
        known = not mac or bool(seen.uid) or (seen.member is None and f"mac:{mac}" in self._evidence.members)
        if known and seen is not _NOBODY and epoch == self._epoch:
            if len(self._cache) >= CACHE_ENTRIES:
                self._cache.clear()
            self._cache[mac, ip] = seen
        return seen

    def _see_mac(self, mac: str, ip: str, other: Endpoint | None, *, sends: bool, time: float) -> Seen:
        if not sends and is_group_mac(mac):
            return _NOBODY
        member = self._evidence.members.get(f"mac:{mac}")
        if member is None:
            if not sends:
                if ip and address_kind(ip) == "public" and not self.network.is_local(ip):
                    return Seen(roles=self.network.state.roles.get(ip, ()))
                return _NOBODY
            member = self._evidence.add(f"mac:{mac}", mac, time)
            if member is None:
                return _NOBODY
            self._records.start(member)
        roles = self.network.state.roles.get(ip, ())
        standing = self._records.standing
        if "gateway" in roles and standing.speaks_for(ip, member):
            self._evidence.make_router(member)
        kind = address_kind(ip)
        if kind in ("none", "group"):
            return Seen("" if member.is_candidate else member.record, member, None, roles)
        if self._is_beyond(member, ip, other):
            return Seen(roles=roles, member=None)
        claim = self._evidence.claim(member, ip, time, announced=False)
        if roles:
            standing.claim(ip, member, time)
        elif member.is_router and self._evidence.is_sole_address(member, ip) and standing.is_gateway([member]):
            self.network.add_role(ip, "gateway")
            standing.route(member, time)
            roles = self.network.state.roles.get(ip, ())
        return Seen(member.record, member, claim, roles)

    def _is_beyond(self, member: Member, ip: str, other: Endpoint | None) -> bool:
        """Tell whether an address is only routed by this member, and note what that says of the member."""
        network = self.network
        if network.is_local(ip):
            foreign = member.is_router and ip not in member.addresses and not network.is_own_of_router(ip)
            return foreign and address_kind(ip) == "private"
        if member.is_router:
            return True
        if ":" in ip and self._evidence.has_eui64(member, ip):
            network.add_prefix(ip)
            return False
        if other is not None and other.mac and other.mac != member.mac and network.is_local(other.ip):
            self._evidence.make_router(member)
            return True
        return self._evidence.carries(member, ip)

    def _see_ip(self, ip: str, *, sends: bool, time: float) -> Seen:
        """Where a source has no hardware addresses: by who holds the address, else a device per local address."""
        roles = self.network.state.roles.get(ip, ())
        owner = self._evidence.owners.get(ip)
        if owner is None and sends and self.network.is_local(ip) and not _is_nobodys(ip):
            owner = self._evidence.add(f"ip:{ip}", "", time)
            if owner is not None:
                self._evidence.claim(owner, ip, time, announced=False)
                self._records.start(owner)
        if owner is None:
            return Seen(roles=roles) if roles or address_kind(ip) == "public" else _NOBODY
        return Seen(owner.record, owner, owner.addresses.get(ip), roles)

    # -- evidence ----------------------------------------------------------------------------------------------

    def _identity(self, member: Member, src: Endpoint, data: IdentityData, time: float) -> None:
        if data.protocol in _ANNOUNCING:
            told = [value for name, value in data.attributes if name in ("arp.ip", "ndp.ip")] or [src.ip]
            for ip in told:
                self._announce(member, ip, time)
        for name, value in data.attributes:
            if name == "ndp.router":
                self._evidence.make_router(member)
                if self._records.standing.may_route(member):
                    self.network.advertise(src.ip)
            elif name == "ntp.mode" and self.network.is_local(src.ip) and src.ip in member.addresses:
                self.network.add_role(src.ip, "ntp")
            if name not in ("arp.ip", "ndp.ip"):
                self._evidence.learn(member, name, value, data.protocol, time, data.confidence)
        self._records.dirty.add(member.record)

    def _announce(self, member: Member, ip: str, time: float) -> None:
        if not ip or address_kind(ip) in ("none", "group") or not member.mac or member.is_group:
            return
        if ip not in self.network.state.announced or ip not in member.addresses:
            self.network.announce(ip, member.mac, time)
            self._evidence.claim(member, ip, time, announced=True)
            self._records.dirty.add(member.record)
            self._cache.pop((member.mac, ip), None)
            self._records.standing.claim(ip, member, time)
            if "gateway" in self.network.state.roles.get(ip, ()) and self._records.standing.speaks_for(ip, member):
                self._evidence.make_router(member)
        else:
            claim = self._evidence.claim(member, ip, time, announced=True)
            if claim is not None:
                claim.last = max(claim.last, time)

    def _lease(self, member: Member, data: LeaseData, server: Endpoint | None, target: Seen, time: float) -> None:
        if data.message in ("ack", "reply") and data.address:
            self._announce(member, data.address, time)
            if server is not None and server.ip == self.network.state.dhcp_server and self._is_server(server, target):
                self._evidence.hand_over(data.address, member)
        if data.hostname:
            self._evidence.learn(member, "dhcp.hostname", data.hostname, "dhcp", time, 1.0)
            self._records.dirty.add(member.record)
        self._learn_lease(data, server, target, time)

    def _learn_lease(self, data: LeaseData, server: Endpoint | None, target: Seen, time: float) -> None:
        """Take a server's word, unless somebody else holds the address that it speaks from."""
        if server is not None and not self._is_server(server, target):
            return
        self.network.learn_lease(data, server.ip if server else "", time)
        member = self._evidence.members.get(f"mac:{server.mac}") if server is not None and server.mac else None
        if member is not None and server is not None and data.message in ("offer", "ack"):
            self._evidence.claim(member, server.ip, time, announced=False)
            self._records.standing.claim(server.ip, member, time)
            self._records.standing.lease(server.ip, member, time)

    def _is_server(self, server: Endpoint, target: Seen) -> bool:
        return target.member is None or self._records.standing.speaks_for(server.ip, target.member)

    def _answer(self, source: Seen, target: Seen, server: Endpoint | None, data: DnsData) -> None:
        self._names.learn(source.uid, data)
        answered = data.rcode == 0 and data.transport == "dns" and bool(data.answers)
        if answered and server is not None and target.member is not None:
            self.network.learn_answer(server.ip, is_gateway=target.member.is_router)

    # -- corrections and imports -------------------------------------------------------------------------------

    def _correct(self, correction: Correction) -> None:
        anchor = self._records.anchor_of(correction.device)
        if correction.merge_into is not None and anchor:
            into = self._records.anchor_of(correction.merge_into) if correction.merge_into else ""
            self._evidence.force(anchor, into)
        self._records.correct(correction)

    def _adopt(self, device: Device) -> None:
        """Take a record that another run made: its addresses, evidence and times."""
        if device.merged_into or device.source == self._producer:
            return
        anchors = [(f"mac:{mac}", mac) for mac in device.macs] or [(f"ip:{ip}", "") for ip in device.addresses[:1]]
        for anchor, mac in anchors:
            member = self._evidence.members.get(anchor) or self._evidence.add(anchor, mac, device.first_seen)
            if member is None:
                continue
            if not member.record:
                self._records.start(member)
            member.touch(device.first_seen, device.first_seen)
            member.touch(device.last_seen, device.last_seen)
            for attribute in device.evidence:
                if attribute.source not in ("merge", "person"):
                    self._evidence.learn(
                        member, attribute.name, attribute.value, attribute.source, attribute.first, attribute.confidence
                    )
            for ip in device.addresses:
                self._evidence.claim(member, ip, device.last_seen, announced=False)
            self._records.dirty.add(member.record)
        self._records.adopt(device)

    # -- records -----------------------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        for old, new in self._records.reconcile():
            self._names.move(old, new)
        for uid in self._records.forget_evicted():
            self._names.drop(uid)

    def _drops(self, now: float) -> list[Event]:
        counts = {kind: count for kind, count in self.dropped.items() if count != self._reported.get(kind, 0)}
        if not counts:
            return []
        self._reported = dict(self.dropped)
        total = sum(self._reported.values())
        return [
            Event(
                uid=hashed_uid("inventory-drops", self._producer, self._site, str(total)),
                tenant=self._tenant,
                time=now,
                source=self._producer,
                class_uid=ocsf.SOURCE_STATUS,
                activity_id=99,
                site=self._site,
                data=StatusData(status="drops", detail="inventory", counts=dict(self._reported)),
                message="inventory reached a bound: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()),
            )
        ]
