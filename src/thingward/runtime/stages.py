"""The stages of the one road, in their order: this list is the architecture diagram.

Detection stands before learning, so that what it calls hostile is not learnt as a need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from thingward.assurance.ledger import LedgerStage
from thingward.detection.content import built_in_pairs
from thingward.detection.credentials import CredentialStage
from thingward.detection.rules import Content
from thingward.detection.stage import DetectionStage
from thingward.detection.triage import TriageSettings, TriageStage
from thingward.inventory.learning import LearningStage
from thingward.inventory.stage import InventoryStage
from thingward.model.action import Limits
from thingward.model.flow import Stage
from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT
from thingward.policy.judge import JudgeStage
from thingward.response.stage import ResponseStage
from thingward.sensing.normalise import NormaliseStage


class RoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the stages are told when they are made.

    Attributes:
        producer: names the road in the records that it makes; the same for the same input, so that uids repeat.
        networks: the site's ranges in CIDR form; empty means private ranges.
        maker_of: maker of a hardware address, empty if unknown.
        content: thresholds and indicator packs of detection.
        simulated: every device of the site is marked as simulated.
    """

    tenant: str = DEFAULT_TENANT
    site: str = DEFAULT_SITE
    producer: str = "core"
    networks: tuple[str, ...] = ()
    maker_of: Callable[[str], str]
    content: Content | None = None
    triage: TriageSettings | None = None
    limits: Limits = Limits()
    simulated: bool = False


class Stages(msgspec.Struct, frozen=True):
    """Every stage by name, for those who ask one of them; `road()` is their order."""

    credentials: CredentialStage
    normalise: NormaliseStage
    inventory: InventoryStage
    detection: DetectionStage
    learning: LearningStage
    judge: JudgeStage
    triage: TriageStage
    response: ResponseStage
    ledger: LedgerStage

    def road(self) -> tuple[Stage, ...]:
        """Give the stages that a platform runs, first to last."""
        return (
            self.credentials,  # what lists hold a seen log-in; its digest ends here
            self.normalise,  # observations become events (OCSF)
            self.inventory,  # every endpoint gets its device; devices come out
            self.detection,  # what looks wrong becomes a finding
            self.learning,  # what a device needs becomes its profile
            self.judge,  # what an approved profile does not allow becomes a finding
            self.triage,  # findings that are worth a person's look become alerts
            self.response,  # alerts become cases, cases become bounded actions
            self.ledger,  # every step leaves a link in the chain
        )

    def guard(self) -> tuple[Stage, ...]:
        """Give the stages that a run on files needs: nothing is in force, so nothing is judged, done or proven."""
        return (self.credentials, self.normalise, self.inventory, self.detection, self.learning, self.triage)


def build_stages(plan: RoadPlan) -> Stages:
    """Make every stage for one tenant and site."""
    where: dict[str, Any] = {"tenant": plan.tenant, "site": plan.site}
    return Stages(
        CredentialStage(built_in_pairs()),
        NormaliseStage(),
        InventoryStage(
            **where,
            producer=f"{plan.producer}/inventory",
            maker_of=plan.maker_of,
            networks=plan.networks,
            simulated=plan.simulated,
        ),
        DetectionStage(plan.content, source=f"{plan.producer}/detection"),
        LearningStage(**where, producer=f"{plan.producer}/learning"),
        JudgeStage(**where, producer=f"{plan.producer}/judge"),
        TriageStage(plan.triage),
        ResponseStage(plan.limits),
        LedgerStage(),
    )
