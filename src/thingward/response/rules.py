"""Rules that people wrote: what one may say, and which of them applies to a finding."""

from __future__ import annotations

from collections.abc import Iterable

from thingward.model.action import ActionKind, Limits, ResponseRule
from thingward.model.device import Device
from thingward.model.errors import InvalidInput
from thingward.model.finding import Finding

MIN_TTL_S = 10.0
MAX_PATTERNS = 64


def verify_rule(rule: ResponseRule, limits: Limits) -> None:
    """Raise InvalidInput for a rule that could never act, or would act beyond the limits."""
    if not rule.name.strip() or len(rule.name) > 100:
        raise InvalidInput("a rule has a name of 1 to 100 characters.")
    if rule.action is not ActionKind.QUARANTINE:
        raise InvalidInput(f"a rule cannot {rule.action}.", hint="It can quarantine.")
    if not MIN_TTL_S <= rule.ttl_s <= limits.max_ttl_s:
        raise InvalidInput(f"ttl_s is {MIN_TTL_S:.0f} to {limits.max_ttl_s:.0f} seconds.")
    if not 1 <= rule.min_severity <= 5 or not 0 <= rule.min_confidence <= 1:
        raise InvalidInput("min_severity is 1 to 5, min_confidence 0 to 1.")
    if not 1 <= len(rule.rules) <= MAX_PATTERNS or not all(pattern.strip() for pattern in rule.rules):
        raise InvalidInput(f"rules names 1 to {MAX_PATTERNS} finding rules, or prefixes ending in `*`.")


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
