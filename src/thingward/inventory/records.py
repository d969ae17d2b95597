"""Device records: built from the members that are one device, emitted when they changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from thingward.inventory.evidence import Evidence
from thingward.inventory.identify import Identification, identify
from thingward.inventory.members import Member
from thingward.inventory.network import Network
from thingward.inventory.reconcile import Cluster, partition
from thingward.inventory.standing import Standing
from thingward.model.device import Attribute, Correction, Device, DeviceClass
from thingward.model.ids import Tenant, Uid, device_uid

MAX_EVIDENCE: Final = 64
MAX_NAMES: Final = 8
MAX_NOTES: Final = 8
SEEN_INTERVAL_S: Final = 300.0

# Where a device's names come from, most telling first.
_NAME_SOURCES: Final = (
    "mdns.friendly_name", "ssdp.friendly_name", "dhcp.hostname", "mdns.name", "dhcp.fqdn", "nbns.name", "llmnr.name",
    "lldp.system_name", "snmp.name",
)  # fmt: skip


class RecordState(msgspec.Struct, kw_only=True):
    """One record: who belongs to it, why, what a person said, and when it was last emitted.

    Attributes:
        anchor: of the member that the record is named after.
        into: uid of the record that absorbed it, empty while it stands.
        emitted_at: time of the last emission, 0 if never.
    """

    uid: str
    anchor: str
    anchors: list[str]
    into: str = ""
    reasons: list[str] = []
    against: list[str] = []
    label: str = ""
    maker: str = ""
    model: str = ""
    kind: str = ""
    emitted_at: float = 0.0
    simulated: bool = False


class RecordBook:
    """Keeps records in step with the evidence; `forget` is called when an address moved to another record.

    Attributes:
        dirty: records whose content changed; touched: records that were only active. Both since the last emission.
        simulated: mark new records as simulated.
    """

    def __init__(
        self,
        evidence: Evidence,
        network: Network,
        tenant: Tenant,
        site: str,
        producer: str,
        maker_of: Callable[[str], str],
        forget: Callable[[], None],
    ) -> None:
        self._evidence = evidence
        self.standing = Standing(evidence, network)
        self._tenant, self._site, self._producer, self._maker_of = tenant, site, producer, maker_of
        self.records: dict[str, RecordState] = {}
        self.dirty: set[str] = set()
        self.touched: set[str] = set()
        self._forget = forget
        self.simulated = False

    def start(self, member: Member) -> None:
        """Give a new member a record of its own."""
        member.record = self._evidence.uid_of(member)
        self.records[member.record] = RecordState(
            uid=member.record, anchor=member.anchor, anchors=[member.anchor], simulated=self.simulated
        )
        self.dirty.add(member.record)

    def anchor_of(self, uid: str) -> str:
        """Give the anchor of the member that a record is named after, empty if there is no such record."""
        record = self.records.get(uid)
        return record.anchor if record else ""

    # -- joining and splitting ---------------------------------------------------------------------------------

    def reconcile(self) -> list[tuple[str, str]]:
        """Join and split records as the evidence says; gives (absorbed uid, uid that absorbed it) pairs."""
        affected = self._evidence.refresh_keys()
        for uid in self.touched | self.dirty:
            record = self.records.get(uid)
            if record is not None and (len(record.anchors) > 1 or self._evidence.is_sharing(record.anchors)):
                affected.update(record.anchors)
        moves: list[tuple[str, str]] = []
        done: set[str] = set()
        for anchor in sorted(affected):
            if anchor not in done:
                component = self._component(anchor)
                done.update(member.anchor for member in component)
                if len(component) > 1:
                    moves += self._arrange(partition(component, self._evidence.forced))
        return moves

    def _component(self, anchor: str) -> list[Member]:
        """Give everything that may belong together: linked by evidence, or so far in one record."""
        found: dict[str, Member] = {}
        todo = [anchor]
        while todo:
            for member in self._evidence.linked(todo.pop()):
                if member.anchor in found:
                    continue
                found[member.anchor] = member
                record = self.records.get(member.record)
                todo += [other for other in (record.anchors if record else ()) if other not in found]
        return list(found.values())

    def _arrange(self, clusters: list[Cluster]) -> list[tuple[str, str]]:
        before = {member.record for cluster in clusters for member in cluster.members}
        target: dict[str, str] = {}
        for cluster in clusters:
            uid = str(self._evidence.uid_of(cluster.lead()))
            anchors = [member.anchor for member in sorted(cluster.members, key=lambda member: member.number)]
            record = self.records.setdefault(uid, RecordState(uid=uid, anchor=cluster.lead().anchor, anchors=[]))
            if record.anchors != anchors or record.into:
                self._forget()
                self.dirty.add(uid)
            if record.against != cluster.against:
                self.dirty.add(uid)
            record.anchors, record.into = anchors, ""
            record.reasons, record.against = cluster.reasons[-MAX_NOTES:], cluster.against[-MAX_NOTES:]
            for member in cluster.members:
                target[self._evidence.uid_of(member)] = uid
                member.record = uid
        moves = []
        for uid in sorted(before - set(target.values())):
            moves.append((uid, target[uid]))
            self._absorb(self.records[uid], self.records[target[uid]])
        return moves

    def _absorb(self, old: RecordState, new: RecordState) -> None:
        for field in ("label", "maker", "model", "kind"):
            if not getattr(new, field):
                setattr(new, field, getattr(old, field))
        old.into, old.anchors = new.uid, []
        self.dirty |= {old.uid, new.uid}

    def forget_evicted(self) -> list[str]:
        """Drop the records of members that a bound pushed out; gives their uids."""
        gone = []
        for member in self._evidence.evicted:
            record = self.records.get(member.record)
            if record is None:
                continue
            record.anchors = [anchor for anchor in record.anchors if anchor != member.anchor]
            if not record.anchors:
                del self.records[record.uid]
                self.dirty.discard(record.uid)
                self.touched.discard(record.uid)
                gone.append(record.uid)
            self._forget()
        self._evidence.evicted.clear()
        return gone

    # -- people and other runs ---------------------------------------------------------------------------------

    def correct(self, correction: Correction) -> None:
        """Take what a person says; it outranks all evidence."""
        record = self.records.get(correction.device)
        if record is None:
            return
        if correction.kind is not None:
            self.standing.trust(record.anchors, is_router=correction.kind == "router")
        for field in ("label", "maker", "model", "kind"):
            value = getattr(correction, field)
            if value is not None:
                setattr(record, field, value)
        self.dirty.add(record.uid)

    def adopt(self, device: Device) -> None:
        """Take over what a person called a device in another run."""
        record = self.records.get(device.uid)
        if record is not None:
            record.label = record.label or device.label
            record.simulated = record.simulated or device.simulated

    # -- emission ----------------------------------------------------------------------------------------------

    def due(self, now: float, interval_s: float, limit: int) -> Iterator[Device]:
        """Give records that changed and were not emitted within the interval, at most `limit`."""
        if not self.dirty and not self.touched:
            return
        ready = [uid for uid in self.dirty if self._is_due(uid, now, interval_s)]
        seen_after = min(interval_s * 30, SEEN_INTERVAL_S)
        ready += [uid for uid in self.touched - self.dirty if self._is_due(uid, now, seen_after)]
        for uid in sorted(ready, key=lambda uid: self.records[uid].emitted_at if uid in self.records else 0.0)[:limit]:
            self.dirty.discard(uid)
            self.touched.discard(uid)
            record = self.records.get(uid)
            if record is None or self._is_candidate(record):
                continue
            record.emitted_at = now or 1.0
            yield self._device(record)

    def _is_candidate(self, record: RecordState) -> bool:
        """Tell whether it is no device yet: nobody is told of it until it has an address or says something."""
        members = [self._evidence.members[anchor] for anchor in record.anchors if anchor in self._evidence.members]
        return bool(members) and not record.emitted_at and all(member.is_candidate for member in members)

    def _is_due(self, uid: str, now: float, interval_s: float) -> bool:
        record = self.records.get(uid)
        # That a record was absorbed is told at once: learners have to follow.
        return (
            record is None or bool(record.into) or not record.emitted_at or abs(now - record.emitted_at) >= interval_s
        )

    def all(self) -> tuple[Device, ...]:
        """Give every standing record, by the time of first activity."""
        records = self.records.values()
        standing: list[Device] = []
        candidates: list[Member] = []
        for record in records:
            if record.into:
                continue
            if self._is_candidate(record):
                candidates += [self._evidence.members[anchor] for anchor in record.anchors]
            else:
                standing.append(self._device(record))
        standing.sort(key=lambda device: (device.first_seen, device.uid))
        return (*standing, self._passers(candidates)) if candidates else tuple(standing)

    def _passers(self, candidates: list[Member]) -> Device:
        """Give one record for all random addresses that only probed: nobody knows how few stations they are."""
        last = max(member.last for member in candidates)
        return Device(
            uid=device_uid(self._tenant, self._site, "passers"),
            tenant=self._tenant,
            time=last,
            source=self._producer,
            site=self._site,
            macs=tuple(sorted(member.mac for member in candidates)),
            names=("random addresses that only probed",),
            first_seen=min(member.first for member in candidates),
            last_seen=last,
            randomised=True,
            group=True,
        )

    def _device(self, record: RecordState) -> Device:
        members = [self._evidence.members[anchor] for anchor in record.anchors if anchor in self._evidence.members]
        if not members:
            return Device(
                uid=Uid(record.uid), tenant=self._tenant, time=record.emitted_at, source=self._producer,
                site=self._site, merged_into=record.into, label=record.label,
            )  # fmt: skip
        evidence = tuple(_attributes(members, record))
        macs = [member.mac for member in sorted(members, key=_mac_rank) if member.mac]
        maker = next((found for mac in macs if (found := self._maker_of(mac))), "")
        known = identify([(item.name, item.value, item.confidence) for item in evidence], maker)
        return self._build(record, members, evidence, macs, known)

    def _build(
        self,
        record: RecordState,
        members: list[Member],
        evidence: tuple[Attribute, ...],
        macs: list[str],
        known: Identification,
    ) -> Device:
        kind = record.kind or known.kind
        role, contested = self.standing.role_of(members), self.standing.contested(members)
        reason = "a person said so" if record.kind else known.reason
        if not kind and role == "gateway":
            kind, reason = "router", "it forwards traffic of the site"
        last = max(member.last for member in members)
        return Device(
            uid=Uid(record.uid),
            tenant=self._tenant,
            time=last,
            source=self._producer,
            site=self._site,
            macs=tuple(macs),
            addresses=_addresses(members),
            names=_names(evidence),
            label=record.label,
            maker=record.maker or known.maker,
            model=record.model or known.model,
            kind=kind,
            kind_reason=reason if kind else "",
            role=role,
            device_class=known.class_of(kind) if kind else DeviceClass.UNKNOWN,
            evidence=evidence,
            first_seen=min(member.first for member in members),
            last_seen=last,
            identified=bool(kind),
            randomised=any(member.is_randomised for member in members),
            contested=tuple(contested),
            conflicts=(*_claims(contested), *record.against, *known.conflicts)[:MAX_NOTES],
            group=all(member.is_group for member in members),
            simulated=record.simulated,
        )


def _claims(contested: dict[str, str]) -> list[str]:
    return [
        f"claims {ip}, which {anchor.partition(':')[2]} held before" if anchor else f"whose {ip} is, is disputed"
        for ip, anchor in list(contested.items())[:MAX_NOTES]
    ]


def _mac_rank(member: Member) -> tuple[bool, bool, float]:
    return member.is_group, member.is_randomised, -member.last


def _addresses(members: list[Member]) -> tuple[str, ...]:
    claims = [(claim, ip) for member in members for ip, claim in member.addresses.items()]
    claims.sort(key=lambda pair: (-pair[0].last, not pair[0].announced, pair[1]))
    return tuple(dict.fromkeys(ip for _, ip in claims))


def _attributes(members: list[Member], record: RecordState) -> Iterator[Attribute]:
    best: dict[tuple[str, str], Attribute] = {}
    for member in members:
        for (name, value), fact in member.facts.items():
            old = best.get((name, value))
            best[name, value] = Attribute(
                name=name,
                value=value,
                source=old.source if old else fact.source,
                first=min(old.first, fact.first) if old else fact.first,
                last=max(old.last, fact.last) if old else fact.last,
                confidence=max(old.confidence, fact.confidence) if old else fact.confidence,
                count=(old.count if old else 0) + fact.count,
            )
    for reason in record.reasons:
        yield Attribute(name="merge", value=reason[:256], source="merge", first=members[0].first, last=members[0].last)
    order = sorted(best.values(), key=lambda item: (-item.confidence, item.name, item.value))
    yield from order[: MAX_EVIDENCE - len(record.reasons)]


def _names(evidence: tuple[Attribute, ...]) -> tuple[str, ...]:
    found = [item.value for source in _NAME_SOURCES for item in evidence if item.name == source]
    return tuple(dict.fromkeys(found))[:MAX_NAMES]
