"""The judge stage: flows of devices with an approved profile that the profile does not allow become findings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from thingward.model.action import Approval
from thingward.model.device import Device, device_name
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.finding import Finding, FindingArtifact
from thingward.model.flow import Output
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant, hashed_uid
from thingward.model.observation import Endpoint, FlowData
from thingward.model.record import Record
from thingward.model.terms import FlowTerms, is_answered, is_stray, terms_of
from thingward.policy.desired import approvals_in_force, site_words
from thingward.policy.verdict import ProfileJudge, peer_text, service_text

RULE: Final = "policy.violation"
WINDOW_S: Final = 600.0
NAME_WAIT_S: Final = 10.0

Side = Literal["src", "dst"]
_SIDES: Final[tuple[Side, Side]] = ("src", "dst")


class JudgeBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much the judge may keep.

    Attributes:
        matters: (device, peer, service) combinations whose repeats are folded. waiting: flows whose name may still come.
    """

    matters: int = 20_000
    waiting: int = 4096


class _Matter(msgspec.Struct):
    """Violations of one device, peer and service."""

    start: float
    first: float
    last: float
    count: int = 0
    reported: int = 0
    unanswered: int = 0


class _Waiting(msgspec.Struct):
    event: Event
    side: Side
    since: float


class _State(msgspec.Struct, kw_only=True):
    approvals: list[Approval]
    devices: list[Device]
    matters: list[tuple[str, _Matter]]
    dropped: dict[str, int]
    waiting: list[tuple[Side, _Waiting]] = []


class JudgeStage:
    """Emits one `policy.violation` finding per device, peer and service and ten minutes, with counts.

    Only approved profiles are judged: a device that is merely observed never violates anything.
    """

    name = "judge"

    def __init__(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        site: str = DEFAULT_SITE,
        producer: str = "judge",
        bounds: JudgeBounds | None = None,
        controllers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._bounds = bounds or JudgeBounds()
        self._tenant, self._site, self._producer = Tenant(tenant), site, producer
        self._controllers = dict(controllers or {})
        self._approvals: dict[str, Approval] = {}
        self._devices: dict[str, Device] = {}
        self._judges: dict[str, ProfileJudge] = {}
        self._stale = True
        self._matters: OrderedDict[str, _Matter] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, Side], _Waiting] = OrderedDict()
        self.dropped: dict[str, int] = {"matters": 0, "waiting": 0}

    # -- the stage ---------------------------------------------------------------------------------------------

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Judge a batch; findings follow its records."""
        findings: list[Record] = []
        for record in batch:
            kind = type(record)
            if kind is Event:
                if self._approvals:
                    findings += self._event(record)  # type: ignore[arg-type]
            elif kind is Approval:
                self._approvals[record.uid] = record  # type: ignore[assignment]
                self._stale = True
            elif kind is Device:
                self._device(record)  # type: ignore[arg-type]
        return Output(records=[*batch, *findings])

    def tick(self, now: float) -> Output:
        """Judge flows whose name did not come, and report what was folded into windows that are over."""
        findings: list[Record] = []
        if self._waiting and self._stale:
            self._compile()
        for key, waiting in list(self._waiting.items()):
            if abs(now - waiting.since) >= NAME_WAIT_S:
                del self._waiting[key]
                findings += self._judge(waiting.event, waiting.side, may_wait=False)
        for name, matter in list(self._matters.items()):
            if now - matter.last >= WINDOW_S:
                del self._matters[name]
        return Output(records=findings)

    def finish(self, now: float) -> Output:
        """Judge everything that still waits: the end of a file."""
        findings: list[Record] = []
        for waiting in self._waiting.values():
            findings += self._judge(waiting.event, waiting.side, may_wait=False)
        self._waiting.clear()
        return Output(records=findings)

    def snapshot(self) -> bytes:
        """Give the whole state."""
        return msgspec.msgpack.encode(
            _State(
                approvals=list(self._approvals.values()),
                devices=list(self._devices.values()),
                matters=list(self._matters.items()),
                dropped=self.dropped,
                waiting=[(side, waiting) for (_, side), waiting in self._waiting.items()],
            )
        )

    def restore(self, state: bytes) -> None:
        """Take a state that `snapshot` gave."""
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"not a snapshot of the judge: {error}.") from error
        self._approvals = {approval.uid: approval for approval in kept.approvals}
        self._devices = {device.uid: device for device in kept.devices}
        self._matters = OrderedDict(kept.matters)
        self.dropped = kept.dropped
        self._waiting = OrderedDict()
        for side, waiting in kept.waiting[-self._bounds.waiting :]:
            if isinstance(waiting.event.data, FlowData):
                self._waiting[waiting.event.data.flow, side] = waiting
        self._stale = True

    # -- judging -----------------------------------------------------------------------------------------------

    def _device(self, device: Device) -> None:
        """Keep what entries by maker and merges need, and what people call it; nothing else of it matters here."""
        old = self._devices.get(device.uid)
        self._devices[device.uid] = Device(
            uid=device.uid, tenant=device.tenant, time=device.time, source=device.source, site=device.site,
            maker=device.maker, merged_into=device.merged_into, group=device.group, label=device_name(device),
        )  # fmt: skip
        if old is None or (old.maker, old.merged_into, old.group) != (device.maker, device.merged_into, device.group):
            self._stale = True

    def _peer_name(self, terms: FlowTerms) -> str:
        """Give a flow's peer as people call it; its uid only where nothing else is known."""
        peer = peer_text(terms)
        if not terms.device or peer != terms.device:
            return peer
        known = self._devices.get(terms.device)
        return (known.label if known is not None else "") or terms.address or peer

    def _compile(self) -> None:
        devices = list(self._devices.values())
        words = site_words(devices, self._controllers)
        in_force = approvals_in_force(self._approvals.values(), devices)
        self._judges = {uid: ProfileJudge(approval.acls, words) for uid, approval in in_force.items()}
        live = {approval.uid for approval in in_force.values()}
        self._approvals = {uid: item for uid, item in self._approvals.items() if uid in live}
        self._stale = False

    def _event(self, event: Event) -> list[Finding]:
        if type(event.data) is not FlowData or event.src is None or event.dst is None:
            return []
        if self._stale:
            self._compile()
        found: list[Finding] = []
        for side in _SIDES:
            me: Endpoint = event.src if side == "src" else event.dst
            if me.device in self._judges and not is_stray(event.data, side):
                self._waiting.pop((event.data.flow, side), None)
                found += self._judge(event, side, may_wait=event.data.state in ("new", "update"))
        return found

    def _judge(self, event: Event, side: Side, *, may_wait: bool) -> list[Finding]:
        terms = terms_of(event, side)
        me = event.src if side == "src" else event.dst
        if terms is None or me is None or me.device not in self._judges:
            return []
        judge = self._judges[me.device]
        verdict = judge.judge(terms)
        if verdict.permitted:
            return []
        if may_wait and judge.may_claim(terms):
            self._wait(event, side)
            return []
        return self._report(event, terms, me.device, verdict.reason)

    def _wait(self, event: Event, side: Side) -> None:
        assert isinstance(event.data, FlowData)
        self._waiting[event.data.flow, side] = _Waiting(event, side, event.time)
        if len(self._waiting) > self._bounds.waiting:
            self._waiting.popitem(last=False)
            self.dropped["waiting"] += 1

    def _report(self, event: Event, terms: FlowTerms, device: str, reason: str) -> list[Finding]:
        data = event.data
        assert isinstance(data, FlowData)
        peer, service = peer_text(terms), service_text(terms.proto, terms.port, terms.ethertype)
        key = f"{device} {terms.direction} {peer} {service}"
        matter = self._matters.get(key)
        if matter is None or abs(data.last - matter.start) >= WINDOW_S:
            matter = self._matters[key] = _Matter(data.last, data.first, data.last)
            if len(self._matters) > self._bounds.matters:
                self._matters.popitem(last=False)
                self.dropped["matters"] += 1
        self._matters.move_to_end(key)
        if data.state in ("new", "whole") or not matter.count:
            matter.count += 1
            matter.unanswered += not is_answered(data)
        matter.last = max(matter.last, data.last)
        if matter.count < max(1, matter.reported * 2):
            return []  # repeats are told when their number has doubled
        if matter.count == matter.reported:
            return []
        matter.reported = matter.count
        return [self._finding(event, terms, device, reason, key, matter)]

    def _finding(self, event: Event, terms: FlowTerms, device: str, reason: str, key: str, matter: _Matter) -> Finding:
        peer, service = self._peer_name(terms), service_text(terms.proto, terms.port, terms.ethertype)
        towards = "to" if terms.direction == "out" else "from"
        lateral = bool(terms.device) and terms.direction == "out"
        attempt = " (never answered)" if matter.unanswered == matter.count else ""
        return Finding(
            uid=hashed_uid("violation", self._site, key, f"{matter.start:.3f}", str(matter.count)),
            tenant=self._tenant,
            time=event.time,
            source=self._producer,
            parents=(event.uid,),
            rule=RULE,
            title=f"{service} {towards} {peer} is outside the approved profile",
            reason=f"{reason.replace(peer_text(terms), peer)}; {matter.count} flow{'s' * (matter.count != 1)}{attempt}",
            site=self._site,
            severity=4 if lateral else 3,
            confidence=0.9,
            device=device,
            target=terms.device if terms.direction == "out" else "",
            src=event.src,
            dst=event.dst,
            key=f"{RULE} {key}",
            artifacts=(
                FindingArtifact(name="approval", value=self._approval_of(device)),
                FindingArtifact(name="flow", value=event.data.flow, record=event.uid)
                if isinstance(event.data, FlowData)
                else FindingArtifact(name="event", value=event.uid),
            ),
            attack=("T1021",) if lateral else (),
            count=matter.count,
            first=matter.first,
            last=matter.last,
            suggested=("quarantine",) if lateral else (),
        )

    def _approval_of(self, device: str) -> str:
        in_force = approvals_in_force(self._approvals.values(), self._devices.values())
        return in_force[device].uid if device in in_force else ""
