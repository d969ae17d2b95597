"""The learning stage: a MUD profile per device from what it was seen to do, and the traffic to try it on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from thingward.inventory.adoption import Kept, join_learning, read_learnt
from thingward.inventory.defaults import update_defaults
from thingward.inventory.learner import DeviceLearner, LearnBounds
from thingward.inventory.names import answered_addresses
from thingward.inventory.traffic import TrafficLog
from thingward.model.device import Device
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.flow import Output
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant
from thingward.model.observation import DnsData, Endpoint, FlowData
from thingward.model.profile import Learnt, MudProfile
from thingward.model.record import Record
from thingward.model.terms import TCP, FlowGroup, FlowTerms, is_answered, is_stray, terms_of

# Findings that say that the device's traffic itself was hostile: what it did then is not what it needs.
HOSTILE_RULES: Final = (
    "scan.", "flood.", "mqtt.flood", "mqtt.slow", "login.bruteforce", "login.mirai_list", "arp.spoof", "dhcp.rogue",
    "indicator.match",
)  # fmt: skip
_EVERYTHING: Final = ("scan.", "login.mirai_list")
GRACE_S: Final = 60.0

Side = Literal["src", "dst"]
_SIDES: Final[tuple[Side, Side]] = ("src", "dst")


class _Pending(msgspec.Struct):
    """A flow whose first report was seen: learnt already, or waiting for an answer."""

    device: str
    terms: FlowTerms
    time: float
    learnt: bool


class _State(msgspec.Struct, kw_only=True):
    devices: list[Kept]
    pending: list[tuple[str, Side, _Pending]]
    merged: dict[str, str]
    dropped: dict[str, int]


class LearningStage:
    """Learns profiles from events that passed inventory; emits each that changed at most once a minute.

    `Finding` records in the stream make it forget what a hostile device did; `Device` records tell it of merges and
    makers.
    """

    name = "learning"

    def __init__(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        site: str = DEFAULT_SITE,
        producer: str = "learning",
        bounds: LearnBounds | None = None,
    ) -> None:
        self._bounds = bounds or LearnBounds()
        self._tenant, self._site, self._producer = Tenant(tenant), site, producer
        self._learners: dict[str, DeviceLearner] = {}
        self._traffic: dict[str, TrafficLog] = {}
        self._pending: OrderedDict[tuple[str, Side], _Pending] = OrderedDict()
        self._merged: dict[str, str] = {}
        self._emitted: dict[str, tuple[float, int, bool]] = {}
        self._dirty: set[str] = set()
        self.dropped: dict[str, int] = {"devices": 0, "pending": 0}

    # -- the stage ---------------------------------------------------------------------------------------------

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Learn from a batch; changed profiles follow its records."""
        adopted = False
        for record in batch:
            kind = type(record)
            if kind is Event:
                self._event(record)  # type: ignore[arg-type]
            elif kind is Finding:
                self._finding(record)  # type: ignore[arg-type]
            elif kind is Device:
                self._device(record)  # type: ignore[arg-type]
            elif kind is Learnt:
                self._adopt(record, now)  # type: ignore[arg-type]
                adopted = True
        if adopted:  # it ends here: what is kept of it is the profile
            batch = [record for record in batch if type(record) is not Learnt]
        return Output(records=[*batch, *self._due(now, self._bounds.interval_s)])

    def tick(self, now: float) -> Output:
        """Emit what the rate limit held back."""
        return Output(records=list(self._due(now, self._bounds.interval_s)))

    def finish(self, now: float) -> Output:
        """Take flows that never ended as they are, and emit every profile that changed: the end of a file."""
        for pending in self._pending.values():
            if not pending.learnt:
                self._take(pending.terms, pending.time, answered=False, opened=True, size=0, device=pending.device)
        self._pending.clear()
        return Output(records=list(self._due(now, 0.0)))

    def snapshot(self) -> bytes:
        """Give the whole state."""
        return msgspec.msgpack.encode(
            _State(
                devices=[
                    Kept(learner=learner.state, traffic=self._traffic[uid].state())
                    for uid, learner in self._learners.items()
                ],
                pending=[(flow, side, pending) for (flow, side), pending in self._pending.items()],
                merged=self._merged,
                dropped=self.dropped,
            )
        )

    def restore(self, state: bytes) -> None:
        """Take a state that `snapshot` gave."""
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"not a snapshot of learning: {error}.") from error
        self._learners, self._traffic = {}, {}
        for item in kept.devices:
            uid = item.learner.device
            self._learners[uid] = DeviceLearner(uid, self._bounds)
            self._learners[uid].restore(item.learner)
            self._traffic[uid] = TrafficLog(self._bounds.cells)
            self._traffic[uid].restore(item.traffic)
        self._pending = OrderedDict(((flow, side), pending) for flow, side, pending in kept.pending)
        self._merged, self.dropped = kept.merged, kept.dropped
        self._emitted, self._dirty = {}, set()

    # -- what others ask ---------------------------------------------------------------------------------------

    def profile(self, device: str, *, until: float | None = None) -> MudProfile | None:
        """Give a device's profile; with `until`, the one learnt from traffic that began before that time."""
        uid = self._merged.get(device, device)
        learner = self._learners.get(uid)
        if learner is None:
            return None
        # A trial must be as narrow as the profile that would be approved, or it judges something else.
        is_narrow = learner.is_watched
        if until is not None:
            learner = self._replay(learner, self._traffic[uid], until)
        return learner.profile(self._tenant, self._site, self._producer, is_narrow=is_narrow)

    def profiles(self) -> tuple[MudProfile, ...]:
        """Give all profiles."""
        return tuple(learner.profile(self._tenant, self._site, self._producer) for learner in self._learners.values())

    def kept(self, device: str) -> Kept | None:
        """Give a device's whole learning, so that another run can go on from it."""
        uid = self._merged.get(device, device)
        learner = self._learners.get(uid)
        return Kept(learner=learner.state, traffic=self._traffic[uid].state()) if learner is not None else None

    def traffic(self, device: str) -> tuple[FlowGroup, ...]:
        """Give a device's recorded flows in a profile's terms, by time."""
        log = self._traffic.get(self._merged.get(device, device))
        return tuple(map(self._present, log.groups())) if log is not None else ()

    def _present(self, group: FlowGroup) -> FlowGroup:
        """Name the peer of recorded flows as it is known now."""
        into = self._merged.get(group.terms.device)
        if into is None:
            return group
        return msgspec.structs.replace(group, terms=msgspec.structs.replace(group.terms, device=into))

    def split_time(self, device: str, share: float = 0.5) -> float:
        """Give the time that splits a device's observation: `share` of it lies before; 0 if it is not known."""
        learner = self._learners.get(self._merged.get(device, device))
        if learner is None:
            return 0.0
        return learner.state.first + share * (learner.state.last - learner.state.first)

    def _replay(self, learner: DeviceLearner, log: TrafficLog, until: float) -> DeviceLearner:
        fresh = DeviceLearner(learner.state.device, self._bounds)
        fresh.state.blocked = list(learner.state.blocked)
        if learner.state.maker:
            fresh.add_defaults(update_defaults(learner.state.maker))
        steps: list[tuple[float, int, FlowGroup | tuple[str, str]]] = [
            (time, 0, (address, name)) for time, address, name in log.bindings if time < until
        ]
        steps += [(group.first, 1, self._present(group)) for group in log.groups() if group.first < until]
        for _, _, step in sorted(steps, key=lambda step: step[:2]):
            if isinstance(step, FlowGroup):
                fresh.learn(
                    step.terms,
                    step.first,
                    answered=step.answered > 0,
                    opened=step.opened > 0,
                    count=step.flows,
                    last=min(step.last, until),
                )
            else:
                fresh.bind(*step)
        return fresh

    # -- records -----------------------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        data = event.data
        if type(data) is FlowData:
            if event.src is not None and event.dst is not None:
                for side in _SIDES:
                    me = event.src if side == "src" else event.dst
                    if me.device and not is_stray(data, side):
                        self._flow(event, data, side, me.device)
        elif type(data) is DnsData and event.src is not None and event.src.device and data.answers:
            self._dns(event.src, data, event.time)

    def _flow(self, event: Event, data: FlowData, side: Side, device: str) -> None:
        terms = terms_of(event, side)
        if terms is None:
            return
        answered = is_answered(data) or (terms.direction == "out") != (side == "src")
        opened = not data.mid_stream and (data.proto != TCP or bool(data.flags_out & 0x02) or not data.flags_out)
        size = data.bytes_out + data.bytes_in
        if data.state == "whole":
            self._take(terms, data.first, answered=answered, opened=opened, size=size, device=device)
            return
        key = (data.flow, side)
        known = self._pending.get(key)
        if known is not None and known.learnt:
            self._late_name(known, terms, device)
        elif answered or data.state == "end":
            time = known.time if known is not None else data.first
            self._take(terms, time, answered=answered, opened=opened, size=size, device=device)
            self._remember(key, _Pending(device, terms, time, learnt=True))
        elif known is None:
            self._remember(key, _Pending(device, terms, data.first, learnt=False))
        if data.state == "end":
            self._pending.pop(key, None)

    def _remember(self, key: tuple[str, Side], pending: _Pending) -> None:
        self._pending[key] = pending
        if len(self._pending) > self._bounds.pending:
            self._pending.popitem(last=False)
            self.dropped["pending"] += 1

    def _take(self, terms: FlowTerms, time: float, *, answered: bool, opened: bool, size: int, device: str) -> None:
        learner = self._learner(device)
        if learner is None:
            return
        learner.learn(terms, time, answered=answered, opened=opened)
        uid = learner.state.device
        self._traffic[uid].add(terms, time, answered=answered, opened=opened, size=size)
        self._dirty.add(uid)

    def _late_name(self, known: _Pending, terms: FlowTerms, device: str) -> None:
        """Take a name that a long flow showed only after its first report."""
        if terms.claimed and not known.terms.claimed and not known.terms.names and not terms.device:
            learner = self._learner(device)
            if learner is not None:
                learner.bind(terms.address, terms.claimed, claimed=True)
                self._traffic[learner.state.device].rename(known.terms, terms, known.time)
                known.terms = terms

    def _dns(self, src: Endpoint, data: DnsData, time: float) -> None:
        addresses = answered_addresses(data)
        learner = self._learner(src.device) if addresses else None
        if learner is None:
            return
        log = self._traffic[learner.state.device]
        for address in addresses:
            log.bind(time, address, data.qname)
            if learner.bind(address, data.qname):
                self._dirty.add(learner.state.device)

    def _learner(self, device: str) -> DeviceLearner | None:
        uid = self._merged.get(device, device)
        learner = self._learners.get(uid)
        if learner is None and uid:
            if len(self._learners) >= self._bounds.devices:
                self.dropped["devices"] += 1
                return None
            learner = self._learners[uid] = DeviceLearner(uid, self._bounds)
            self._traffic[uid] = TrafficLog(self._bounds.cells)
        return learner

    def _device(self, device: Device) -> None:
        if device.merged_into:
            self._join(device.uid, device.merged_into)
            return
        if device.uid in self._merged:
            del self._merged[device.uid]  # the evidence showed two devices after all
        learner = self._learners.get(self._merged.get(device.uid, device.uid))
        if learner is not None and device.maker and learner.state.maker != device.maker:
            learner.state.maker = device.maker
            learner.add_defaults(update_defaults(device.maker))

    def _adopt(self, learnt: Learnt, now: float) -> None:
        """Go on from what another run learnt of a device; the same record again changes nothing."""
        learner = self._learner(learnt.device)
        if learner is None or any(item.record == learnt.uid for item in learner.state.adopted):
            return
        uid = learner.state.device
        kept = read_learnt(learnt, uid, self._bounds)
        joined, self._traffic[uid] = join_learning(learner, self._traffic[uid], kept, learnt, self._bounds, now)
        for old, new in self._merged.items():
            joined.rename_device(old, new)
        self._learners[uid] = joined
        self._dirty.add(uid)
        self._emitted.pop(uid, None)

    def _join(self, old: str, new: str) -> None:
        """Follow a merge of device records: what both did is what the one device needs."""
        new = self._merged.get(new, new)
        if old == new:
            return
        for uid, target in self._merged.items():
            if target == old:
                self._merged[uid] = new
        self._merged[old] = new
        for uid, learner in self._learners.items():
            if learner.rename_device(old, new):
                self._dirty.add(uid)
        gone, log = self._learners.pop(old, None), self._traffic.pop(old, None)
        self._dirty.discard(old)
        kept = self._learner(new)
        if gone is not None and log is not None and kept is not None:
            kept.absorb(gone)
            self._traffic[new].absorb(log)
            self._dirty.add(new)

    def _finding(self, finding: Finding) -> None:
        if not finding.rule.startswith(HOSTILE_RULES) or not finding.device:
            return
        learner = self._learners.get(self._merged.get(finding.device, finding.device))
        if learner is None:
            return
        peers = {finding.target} if finding.target else set()
        ports: set[int] = set()
        if finding.dst is not None:
            peers |= {text for text in (finding.dst.device, finding.dst.ip, *finding.dst.names) if text}
            ports = {finding.dst.port} if finding.dst.port else set()
        everything = finding.rule.startswith(_EVERYTHING)
        since = (finding.first or finding.time) - GRACE_S
        if learner.unlearn(since, peers, ports, everything=everything):
            self._dirty.add(learner.state.device)

    def _due(self, now: float, interval_s: float) -> list[MudProfile]:
        ready = []
        for uid in sorted(self._dirty):
            learner = self._learners.get(uid)
            if learner is None:
                self._dirty.discard(uid)
                continue
            at, version, was_settled = self._emitted.get(uid, (-1.0, -1, False))
            # What is missing until it is settled changes without a new entry, and people wait for it.
            wait = interval_s if version != learner.state.version or not was_settled else interval_s * 10
            if at >= 0 and abs(now - at) < wait:
                continue
            self._dirty.discard(uid)
            profile = learner.profile(self._tenant, self._site, self._producer)
            self._emitted[uid] = (now, learner.state.version, profile.settled.is_settled)
            ready.append(profile)
        return ready
