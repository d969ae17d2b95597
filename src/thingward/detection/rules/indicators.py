"""Talk to what a list calls bad."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from thingward.detection.flows import is_answered
from thingward.detection.indicators import IndicatorMatcher, Sighting
from thingward.detection.knowledge import SiteKnowledge, is_group_address
from thingward.detection.rule import Hit, RuleInfo, WindowRule, who
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.finding import FindingArtifact
from thingward.model.observation import DnsData, Endpoint, FlowData, HttpData, TlsData, where


class IndicatorMatch(WindowRule):
    """Compares addresses, names and TLS fingerprints with the imported packs."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="indicator.match",
            title="Known-bad address, name or fingerprint",
            severity=4,
            confidence=0.8,
            attack=("T1071", "T0869"),
            repeat_s=3600.0,
            suggested=("quarantine",),
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (FlowData, DnsData, TlsData, HttpData)

    def __init__(self, matcher: IndicatorMatcher) -> None:
        super().__init__()
        self._matcher = matcher

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at who is spoken to, and what is asked for."""
        assert isinstance(record, Event)
        if not self._matcher.size:
            return
        data, src, dst = record.data, record.src, record.dst
        if isinstance(data, FlowData):
            yield from self._look_flow(record, data, site)
        elif src is None or dst is None:
            return
        elif isinstance(data, DnsData):
            if data.transport == "dns":
                yield from self._hit(record, src, dst, self._matcher.match_name(data.qname), "asks for the name")
        elif isinstance(data, TlsData):
            named = self._matcher.match_name(data.sni) or self._matcher.match_ja4(data.ja4)
            yield from self._hit(record, src, dst, named, "opens TLS with")
        elif isinstance(data, HttpData):
            yield from self._hit(record, src, dst, self._matcher.match_name(data.host), "sends HTTP to")

    def _look_flow(self, record: Event, data: FlowData, site: SiteKnowledge) -> Iterator[Hit]:
        src, dst = record.src, record.dst
        if src is None or dst is None:
            return
        if dst.ip and not is_group_address(dst.ip):
            sighting = self._matcher.match_address(dst.ip)
            yield from self._hit(
                record, src, dst, sighting, "talks to", answered=data.state == "new" or is_answered(data)
            )
        if src.ip:
            sighting = self._matcher.match_address(src.ip)
            if sighting is not None:
                # Being knocked at is everyday; only an answer makes it matter.
                severity = 4 if is_answered(data) else 1
                reason = f"{src.ip} is on {sighting.pack} and came to {where(dst)}"
                yield self._make(record, dst, src, sighting, reason, severity)

    def _hit(
        self,
        record: Event,
        src: Endpoint,
        dst: Endpoint,
        sighting: Sighting | None,
        verb: str,
        *,
        answered: bool = True,
    ) -> Iterator[Hit]:
        if sighting is not None:
            reason = f"{src.ip or src.mac} {verb} {sighting.pattern}, which is on {sighting.pack}"
            yield self._make(record, src, dst, sighting, reason, 0 if answered else 3)

    def _make(
        self, record: Event, ours: Endpoint, theirs: Endpoint, sighting: Sighting, reason: str, severity: int
    ) -> Hit:
        return Hit(
            rule="indicator.match",
            key=f"{who(ours)} {sighting.pattern}",
            title=f"{ours.ip or ours.mac} and {sighting.pattern} of {sighting.pack}",
            reason=reason,
            device=ours.device,
            src=record.src,
            dst=record.dst,
            severity=severity,
            confidence=sighting.confidence,
            first=record.data.first if isinstance(record.data, FlowData) else record.time,
            artifacts=(
                FindingArtifact(name="indicator", value=sighting.pattern, record=record.uid),
                FindingArtifact(name="pack", value=sighting.pack),
            ),
        )
