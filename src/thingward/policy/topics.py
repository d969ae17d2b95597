"""May this device do that with this topic: a snapshot's grants, compiled into tries and asked per message.

`Rulebook` holds a snapshot; `Rulebook.rules(device)` fills in one device's names when it connects; `decide` answers.
`TopicGate` is one connection's: rules that can be exchanged while it lives, rate limits, counts. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from thingward.model.topic_access import (
    AccessSnapshot,
    DeviceAccess,
    Door,
    Grant,
    Mode,
    Operation,
    RateLimit,
    TopicDecision,
    TopicRequest,
)

KEPT_ANSWERS: Final = 256
MAX_GRANTS: Final = 4096
MAX_LEVELS: Final = 128
ANY_BYTES: Final = 268_435_455
PLACEHOLDERS: Final = ("device", "client_id", "user", "class")
STRANGER: Final = DeviceAccess(door=Door.GUEST)


Filled = Mapping[str, str | None]


class _Node:
    __slots__ = ("below", "ends", "rest", "slots")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.slots: dict[str, _Node] = {}
        self.ends: list[Grant] = []
        self.rest: list[Grant] = []


class TopicTrie:
    """Grants by their filters' levels; built once, then only read, and shared by all devices that have these grants.

    Levels with placeholders stay as they are: what they mean for a device (`Filled`, by level) comes with the question.

    Attributes:
        templates: the levels with placeholders.
        unusable: names of grants that are no topic filters.
    """

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._root = _Node()
        self.templates: frozenset[str] = frozenset()
        self.unusable: tuple[str, ...] = ()
        for grant in grants:
            if is_filter(grant.filter):
                self._add(grant)
            else:
                self.unusable += (grant.name,)

    def _add(self, grant: Grant) -> None:
        levels = grant.filter.split("/")
        node = self._root
        for level in levels[:-1] if levels[-1] == "#" else levels:
            where = node.below
            if "${" in level:
                where = node.slots
                self.templates |= {level}
            node = where.setdefault(level, _Node())
        (node.rest if levels[-1] == "#" else node.ends).append(grant)

    def match(self, topic: str, filled: Filled = MappingProxyType({})) -> list[Grant]:
        """Give the grants whose filter matches a topic name; wildcards do not reach names that begin with `$`."""
        nodes, found, exact = [self._root], [], topic.startswith("$")
        for level in topic.split("/"):
            after = []
            for node in nodes:
                below = node.below
                if (child := below.get(level)) is not None:
                    after.append(child)
                if node.slots:
                    after += [child for text, child in node.slots.items() if filled.get(text) == level]
                if exact:
                    continue
                if node.rest:
                    found += node.rest
                if (child := below.get("+")) is not None:
                    after.append(child)
            if not after:
                return found
            nodes, exact = after, False
        for node in nodes:
            found += node.ends
            found += node.rest
        return found

    def containing(self, topic_filter: str, filled: Filled = MappingProxyType({})) -> list[Grant]:
        """Give the grants whose filter matches every topic name that the given filter matches.

        Of a filter, `+` lies within `+` and `#` alone, and `#` within `#` alone; but at the top `#` and `+/#` are the
        same, since every name has a first level.
        """
        levels = topic_filter.split("/")
        if levels[-1] != "#" and "+" not in levels:
            return self.match(topic_filter, filled)
        nodes, found = [self._root], []
        for depth, level in enumerate(levels):
            exact = depth == 0 and level.startswith("$")
            if not exact:
                found += [grant for node in nodes for grant in node.rest]
            if level == "#":
                plus = self._root.below.get("+") if depth == 0 else None
                return found + (plus.rest if plus is not None else [])
            wanted = ("+",) if level == "+" else (level,) if exact else (level, "+")
            after = [node.below[key] for node in nodes for key in wanted if key in node.below]
            if level != "+":
                after += [each for node in nodes for text, each in node.slots.items() if filled.get(text) == level]
            nodes = after
        return found + [grant for node in nodes for grant in (*node.ends, *node.rest)]


class DeviceRules(msgspec.Struct, frozen=True, kw_only=True):
    """One device's part of a snapshot.

    Attributes:
        filled: what levels with placeholders mean for it; None grants nothing.
    """

    version: int
    access: DeviceAccess
    enforced: bool
    publish: TopicTrie
    subscribe: TopicTrie
    filled: Filled = MappingProxyType({})

    @property
    def unfilled(self) -> tuple[str, ...]:
        """Levels that grant nothing, because a placeholder has no value that fits a topic level."""
        return tuple(sorted(text for text, value in self.filled.items() if value is None))


def fill_level(text: str, values: Mapping[str, str]) -> str | None:
    """Put values in for placeholders; None where one is empty or would add levels or wildcards."""
    for name in PLACEHOLDERS:
        mark = f"${{{name}}}"
        if mark in text:
            value = values.get(name, "")
            if not value or any(sign in value for sign in "/+#$\0"):
                return None
            text = text.replace(mark, value)
    return text


def is_filter(text: str) -> bool:
    """Tell whether a grant's text is a topic filter: `+` and `#` alone in their level, `#` last, known placeholders."""
    levels = text.split("/")
    bare = text
    for name in PLACEHOLDERS:
        bare = bare.replace(f"${{{name}}}", "")
    wild = all(level in ("+", "#") or not ("+" in level or "#" in level) for level in levels)
    return bool(text) and wild and "#" not in levels[:-1] and "${" not in bare and len(levels) <= MAX_LEVELS


class Rulebook:
    """A snapshot, ready to be asked for any device; devices with the same sets of grants share their tries."""

    def __init__(self, snapshot: AccessSnapshot) -> None:
        self.snapshot = snapshot
        self._tries: dict[tuple[str, ...], tuple[TopicTrie, TopicTrie]] = {}

    def rules(self, device: str, client_id: str = "", user: str = "") -> DeviceRules:
        """Give a device's rules; a device that no record names gets the strangers' grants.

        Args:
            client_id, user: as it connected; they fill placeholders.
        """
        book = self.snapshot
        access = book.devices.get(device)
        sets = book.strangers if access is None else access.grants
        access = access or STRANGER
        values = {"device": device, "client_id": client_id, "user": user, "class": access.device_class}
        publish, subscribe = self.tries(sets)
        levels = publish.templates | subscribe.templates
        return DeviceRules(
            version=book.version,
            access=access,
            enforced=book.modes.get(access.door) is Mode.ENFORCE,
            publish=publish,
            subscribe=subscribe,
            filled={level: fill_level(level, values) for level in levels},
        )

    def tries(self, sets: tuple[str, ...]) -> tuple[TopicTrie, TopicTrie]:
        """Compile some sets of grants, for publications and for subscriptions; a set that is not there is empty."""
        found = self._tries.get(sets)
        if found is None:
            grants = [grant for name in sets for grant in self.snapshot.grants.get(name, ())][:MAX_GRANTS]
            publish = TopicTrie(grant for grant in grants if grant.publish)
            found = self._tries[sets] = (publish, TopicTrie(grant for grant in grants if grant.subscribe))
        return found


def decide(request: TopicRequest, rules: DeviceRules) -> TopicDecision:
    """Answer one request.

    Reasons: `granted`; `blocked: why` (in every mode); `no grant`; `too large`, `qos`, `retain`, `shared`, where a
    grant matches the topic and this alone is beyond it.
    """
    if rules.access.blocked:
        return TopicDecision(False, f"blocked: {rules.access.blocked}")
    return _judge(request, _candidates(request, rules), rules.enforced)


def _candidates(request: TopicRequest, rules: DeviceRules) -> list[Grant]:
    if request.operation is Operation.PUBLISH:
        return rules.publish.match(request.topic, rules.filled)
    if request.operation is Operation.RECEIVE:
        return rules.subscribe.match(request.topic, rules.filled)
    return rules.subscribe.containing(request.topic, rules.filled)


def _judge(request: TopicRequest, grants: list[Grant], enforced: bool) -> TopicDecision:
    if not grants:
        return TopicDecision(False, "no grant", enforced)
    lack = ""
    for grant in grants:
        lack = _beyond(request, grant)
        if not lack:
            up_to_bytes = grant.max_bytes or ANY_BYTES
            return TopicDecision(True, "granted", enforced, grant.name, up_to_bytes)
    return TopicDecision(False, lack, enforced, grants[-1].name)


def _beyond(request: TopicRequest, grant: Grant) -> str:
    """Name what of a request goes beyond a grant that covers its topic; empty if nothing does."""
    if request.operation is Operation.PUBLISH:
        if grant.max_bytes and request.size_bytes > grant.max_bytes:
            return "too large"
        if request.retain and not grant.retain:
            return "retain"
        return "qos" if request.qos > grant.max_qos else ""
    if request.operation is Operation.SUBSCRIBE:
        if request.group and not grant.shared:
            return "shared"
        return "qos" if request.qos > grant.max_qos else ""
    return ""


class TokenBucket:
    """A level that may go below zero: who overdraws waits until it is back, nothing is thrown away."""

    __slots__ = ("at_s", "level", "limit")

    def __init__(self, limit: RateLimit, now: float) -> None:
        self.limit = limit
        self.level = float(max(1, limit.burst))
        self.at_s = now

    def spend(self, count: float, now: float) -> float:
        """Take tokens out and give the seconds until the level is no longer below zero."""
        rate_hz = self.limit.rate_hz
        if rate_hz <= 0:
            return 0.0
        self.level = min(float(max(1, self.limit.burst)), self.level + max(0.0, now - self.at_s) * rate_hz) - count
        self.at_s = max(self.at_s, now)
        return -self.level / rate_hz if self.level < 0 else 0.0


class Buckets:
    """The buckets that devices share, by class and for all; one of these per worker."""

    def __init__(self, snapshot: AccessSnapshot, now: float) -> None:
        self._fleet = TokenBucket(snapshot.fleet_rate, now)
        self._classes = {name: TokenBucket(limit, now) for name, limit in snapshot.class_rates.items()}

    def adopt(self, snapshot: AccessSnapshot, now: float) -> None:
        """Take a new snapshot's limits; levels stay where the limit did not change."""
        fresh = Buckets(snapshot, now)
        if fresh._fleet.limit != self._fleet.limit:
            self._fleet = fresh._fleet
        kept = {name: old for name, old in self._classes.items() if snapshot.class_rates.get(name) == old.limit}
        self._classes = fresh._classes | kept

    def of(self, device_class: str) -> tuple[TokenBucket, ...]:
        """Give those buckets that a class's devices share and that have a limit."""
        shared = (self._classes.get(device_class), self._fleet)
        return tuple(bucket for bucket in shared if bucket is not None and bucket.limit.rate_hz > 0)


class TopicGate:
    """One connection's decisions: rules, rates and counts.

    Attributes:
        counts: decisions by (operation, reason, whether it was refused); bounded, since the words are.
        standing, is_paced: what the machine may do without asking; emptied with every change of rules.
    """

    def __init__(self, rules: DeviceRules, buckets: Buckets, now: float) -> None:
        self.rules = rules
        self.counts: dict[tuple[Operation, str, bool], int] = {}
        self.standing: dict[int, dict[bytes, int]] = {}
        self._known: dict[tuple[Operation, str], list[Grant]] = {}
        self._shared = buckets.of(rules.access.device_class)
        self._own = TokenBucket(rules.access.rates, now)
        self.is_paced = rules.access.rates.rate_hz > 0 or bool(self._shared)

    def adopt(self, rules: DeviceRules, buckets: Buckets, now: float) -> None:
        """Go on by new rules, from the next message on."""
        if rules.access.rates != self.rules.access.rates:
            self._own = TokenBucket(rules.access.rates, now)
        self.rules, self._shared = rules, buckets.of(rules.access.device_class)
        self.is_paced = rules.access.rates.rate_hz > 0 or bool(self._shared)
        self._known.clear()
        self.standing.clear()

    def count_passed(self, operation: Operation, count: int) -> None:
        """Count messages that went by standing permits."""
        name = (operation, "granted", False)
        self.counts[name] = self.counts.get(name, 0) + count

    def decide(self, request: TopicRequest) -> TopicDecision:
        """Answer as `decide` does, and count; what matches the topics last seen is remembered."""
        rules = self.rules
        if rules.access.blocked:
            decision = decide(request, rules)
        else:
            key = (request.operation, request.topic)
            grants = self._known.get(key)
            if grants is None:
                if len(self._known) >= KEPT_ANSWERS:
                    self._known.clear()
                grants = self._known[key] = _candidates(request, rules)
            decision = _judge(request, grants, rules.enforced)
        name = (request.operation, decision.reason, decision.refuses)
        self.counts[name] = self.counts.get(name, 0) + 1
        return decision

    def pace(self, size_bytes: int, now: float) -> float:
        """Count one message in the device's, its class's and the fleet's bucket; give the longest wait."""
        wait_s = self._own.spend(1.0, now)
        for bucket in self._shared:
            wait_s = max(wait_s, bucket.spend(1.0, now))
        return wait_s
