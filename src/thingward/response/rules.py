"""Which of the rules that people wrote applies to a finding."""

from __future__ import annotations

from collections.abc import Iterable

from thingward.model.action import ActionKind, ResponseRule
from thingward.model.device import Device
from thingward.model.finding import Finding


def choose_rule(rules: Iterable[ResponseRule], finding: Finding, device: Device | None) -> ResponseRule | None:
    """Give the enabled quarantine rule that applies; of several the one that holds longest. None if none applies."""
    fitting = [rule for rule in rules if is_fitting(rule, finding, device)]
    return max(fitting, key=lambda rule: (rule.ttl_s, rule.uid)) if fitting else None


def is_fitting(rule: ResponseRule, finding: Finding, device: Device | None) -> bool:
    """Tell whether a rule applies to a finding about this device.

    A pattern of `*` alone means the findings that suggest the rule's action: a device with a weak password is not
    shut out by it. Whoever wants that names the rule, or a prefix of it.
    """
    if not rule.enabled or rule.deleted or rule.action is not ActionKind.QUARANTINE or device is None:
        return False
    if finding.severity < rule.min_severity or finding.confidence < rule.min_confidence:
        return False
    if rule.site and rule.site != finding.site:
        return False
    if rule.kinds and device.kind not in rule.kinds:
        return False
    return any(_matches(pattern, rule, finding) for pattern in rule.rules)


def _matches(pattern: str, rule: ResponseRule, finding: Finding) -> bool:
    if pattern == "*":
        return rule.action.value in finding.suggested
    if pattern.endswith("*"):
        return finding.rule.startswith(pattern[:-1])
    return finding.rule == pattern
