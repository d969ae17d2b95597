"""The detection stage: hands every event and device to the rules of its site, and folds what they say into findings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from thingward.detection.knowledge import SiteKnowledge
from thingward.detection.rule import Hit, Rule, RuleInfo
from thingward.detection.rules import BUILT_IN, Content, RuleFactory
from thingward.model.device import Device, Site
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.flow import Output
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.record import Record

MAX_SITES = 1024
MAX_EPISODES = 20_000
STATE_VERSION = 1


class _Episode(msgspec.Struct):
    """What was last said of one key: when, how severe, and hits that were folded since."""

    said: float
    severity: int
    first: float
    folded: int = 0


class _SiteRules:
    """One site's rules with their state: nothing of it is shared with another site or tenant."""

    def __init__(self, factories: Sequence[RuleFactory], content: Content) -> None:
        self.knowledge = SiteKnowledge()
        self.rules: tuple[Rule, ...] = ()
        self.by_type: dict[type, list[Rule]] = {}
        self.episodes: OrderedDict[str, _Episode] = OrderedDict()
        self.renew(factories, content)

    def renew(self, factories: Sequence[RuleFactory], content: Content) -> None:
        """Make the rules of other content; they go on with what the old ones of their kind remember."""
        remembered = {type(rule): rule.state() for rule in self.rules}
        self.rules = tuple(factory(content) for factory in factories)
        self.by_type = {}
        for rule in self.rules:
            if type(rule) in remembered:
                rule.load(msgspec.msgpack.decode(msgspec.msgpack.encode(remembered[type(rule)])))
            for kind in rule.takes:
                self.by_type.setdefault(kind, []).append(rule)


class DetectionStage:
    """Looks at events and devices, passes them on, and adds findings after the record that gave rise to them.

    What it says depends on the records and their times only: not on how they were cut into batches, nor on `now`
    (except that `tick` reports devices that stayed unidentified).

    Args:
        content: thresholds and indicator packs.
        rules: factories; the built-in ones, and others' plugins after them.
        source: name of the producer in findings.
    """

    name = "detection"

    def __init__(
        self,
        content: Content | None = None,
        *,
        rules: Sequence[RuleFactory] = BUILT_IN,
        source: str = "detection",
    ) -> None:
        self._content = content or Content()
        self._factories = tuple(rules)
        self._source = source
        self._sites: dict[tuple[str, str], _SiteRules] = {}
        self.infos: dict[str, RuleInfo] = {
            info.id: info for factory in self._factories for info in factory(self._content).infos
        }
        self.dropped = 0

    def use(self, content: Content) -> None:
        """Look for other content from the next record on; what the rules remember stays."""
        self._content = content
        for site in self._sites.values():
            site.renew(self._factories, content)

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Look at a batch, in order."""
        records: list[Record] = []
        for record in batch:
            records.append(record)
            if isinstance(record, Event):
                site = self._site(record.tenant, record.site)
                site.knowledge.pass_time(record.time)
                rules = site.by_type.get(type(record.data), ())
                records += self._look(record, site, rules)
            elif isinstance(record, Device):
                site = self._site(record.tenant, record.site)
                site.knowledge.learn_device(record)
                records += self._look(record, site, site.by_type.get(Device, ()))
            elif isinstance(record, Site):
                self._site(record.tenant, record.name).knowledge.learn_site(record)
        return Output(records=records)

    def tick(self, now: float) -> Output:
        """Let time pass in every site's rules."""
        records: list[Record] = []
        for (tenant, name), site in self._sites.items():
            for rule in site.rules:
                for hit in rule.tick(now, site.knowledge):
                    finding = self._fold(hit, site, tenant, name, min(now, site.knowledge.newest or now), "")
                    if finding is not None:
                        records.append(finding)
        return Output(records=records)

    def snapshot(self) -> bytes:
        """Give the state of every site's rules."""
        sites = [
            {
                "tenant": tenant,
                "site": name,
                "knowledge": site.knowledge.state(),
                "episodes": msgspec.to_builtins(site.episodes),
                "rules": {type(rule).__name__: rule.state() for rule in site.rules},
            }
            for (tenant, name), site in self._sites.items()
        ]
        return msgspec.msgpack.encode({"version": STATE_VERSION, "sites": sites})

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave; a rule that is new since then starts empty. Raises InvalidInput otherwise."""
        try:
            held: Any = msgspec.msgpack.decode(state)
            if held["version"] != STATE_VERSION:
                raise InvalidInput(f"a detection state of version {held['version']} cannot be read.")
            self._sites = {(entry["tenant"], entry["site"]): self._load(entry) for entry in held["sites"]}
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"not a state of the detection stage: {error}") from error

    def _load(self, entry: Any) -> _SiteRules:
        site = _SiteRules(self._factories, self._content)
        site.knowledge.load(entry["knowledge"])
        site.episodes = OrderedDict(msgspec.convert(entry["episodes"], dict[str, _Episode]))
        for rule in site.rules:
            held = entry["rules"].get(type(rule).__name__)
            if held is not None:
                rule.load(held)
        return site

    def _site(self, tenant: str, name: str) -> _SiteRules:
        key = (tenant, name)
        site = self._sites.get(key)
        if site is None:
            if len(self._sites) >= MAX_SITES:
                del self._sites[next(iter(self._sites))]
                self.dropped += 1
            site = self._sites[key] = _SiteRules(self._factories, self._content)
        return site

    def _look(self, record: Event | Device, site: _SiteRules, rules: Iterable[Rule]) -> list[Finding]:
        found = []
        for rule in rules:
            for hit in rule.look(record, site.knowledge):
                finding = self._fold(hit, site, record.tenant, record.site, record.time, record.uid)
                if finding is not None:
                    found.append(finding)
        return found

    def _fold(self, hit: Hit, site: _SiteRules, tenant: str, name: str, time: float, parent: str) -> Finding | None:
        """Say a matter once per `repeat_s`, or again at once if it got more severe; count what was folded."""
        info = self.infos[hit.rule]
        severity = hit.severity or info.severity
        key = f"{hit.rule} {hit.key}"
        episode = site.episodes.pop(key, None)
        if episode is not None and severity <= episode.severity and time - episode.said < info.repeat_s:
            episode.folded += 1
            site.episodes[key] = episode
            return None
        folded = episode.folded if episode else 0
        site.episodes[key] = _Episode(time, severity, hit.first or time)
        if len(site.episodes) > MAX_EPISODES:
            site.episodes.popitem(last=False)
            self.dropped += 1
        return self._finding(hit, info, site, (tenant, name, time, parent), severity, folded)

    def _finding(
        self,
        hit: Hit,
        info: RuleInfo,
        site: _SiteRules,
        where: tuple[str, str, float, str],
        severity: int,
        folded: int,
    ) -> Finding:
        tenant, name, time, parent = where
        return Finding(
            uid=Uid("f-" + hashed_uid("finding", tenant, name, hit.rule, hit.key, parent or repr(hit.first))[:30]),
            tenant=Tenant(tenant),
            time=time,
            source=self._source,
            parents=(parent,) if parent else (),
            rule=hit.rule,
            title=hit.title or info.title,
            reason=hit.reason + (f"; {folded} more like it since the last report" if folded else ""),
            site=name,
            class_uid=info.class_uid,
            severity=severity,
            confidence=info.confidence if hit.confidence < 0 else hit.confidence,
            device=hit.device,
            target=hit.target,
            src=hit.src,
            dst=hit.dst,
            key=f"{hit.rule} {hit.key}",
            artifacts=hit.artifacts,
            attack=info.attack,
            count=hit.count,
            first=min(hit.first or time, time),
            last=time,
            suggested=info.suggested,
            simulated=site.knowledge.is_simulated(hit.device) or site.knowledge.is_simulated(hit.target),
        )
