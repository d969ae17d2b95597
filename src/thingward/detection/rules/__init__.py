"""The built-in rules. Others' rules are plugins of the same form: a callable that takes Content and gives a Rule."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from thingward.detection.indicators import IndicatorMatcher
from thingward.detection.rule import Rule, RuleInfo
from thingward.detection.rules.floods import Flood, MqttFlood
from thingward.detection.rules.indicators import IndicatorMatch
from thingward.detection.rules.inputs import ExternalAlert, ListensToAll, MalformedBurst
from thingward.detection.rules.logins import BlindGuessing, ClearText, Guessing, KnownPairs
from thingward.detection.rules.scans import ArpScan, HostScan, PortScan
from thingward.detection.rules.site import AddressClaims, Newcomers, Reachable
from thingward.detection.thresholds import Thresholds


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What rules are made of beside code."""

    thresholds: Thresholds = Thresholds()
    matcher: IndicatorMatcher = IndicatorMatcher()


RuleFactory = Callable[[Content], Rule]

BUILT_IN: tuple[RuleFactory, ...] = (
    lambda content: PortScan(content.thresholds),
    lambda content: HostScan(content.thresholds),
    lambda content: ArpScan(content.thresholds),
    lambda content: KnownPairs(content.thresholds),
    lambda content: Guessing(content.thresholds),
    lambda content: BlindGuessing(content.thresholds),
    lambda content: ClearText(content.thresholds),
    lambda content: Flood(content.thresholds),
    lambda content: MqttFlood(content.thresholds),
    lambda content: IndicatorMatch(content.matcher),
    lambda content: Reachable(content.thresholds),
    lambda content: AddressClaims(content.thresholds),
    lambda content: Newcomers(content.thresholds),
    lambda content: MalformedBurst(content.thresholds),
    lambda content: ListensToAll(content.thresholds),
    lambda content: ExternalAlert(content.thresholds),
)


def rule_infos(factories: tuple[RuleFactory, ...] = BUILT_IN) -> dict[str, RuleInfo]:
    """Give what is said of every kind of finding, by rule id, in the rules' order."""
    return {info.id: info for factory in factories for info in factory(Content()).infos}
