"""What is worked out from the stages' states, beside the road: trial of a profile, and the rules the network should have."""

from __future__ import annotations

from collections.abc import Iterator

from thingward.model.action import Action, Approval, EnforcementState, Limits, ResponseRule
from thingward.model.profile import MudProfile, Preview
from thingward.policy.desired import desired_state
from thingward.policy.preview import preview_profile
from thingward.ports.control_store import ControlStore
from thingward.runtime.desk_identity import current_limits
from thingward.runtime.stages import Stages

LEARN_SHARE = 0.5
_PAGE = 500


def preview_of(stages: Stages, profile: MudProfile, now: float, *, learn_share: float = LEARN_SHARE) -> Preview | None:
    """Replay a device's recorded traffic against its profile as learnt from the first part of it; None if there is none."""
    learning = stages.learning
    split = learning.split_time(profile.device, learn_share)
    trial = learning.profile(profile.device, until=split)
    if trial is None:
        return None
    return preview_profile(
        profile,
        trial,
        learning.traffic(profile.device),
        devices=stages.inventory.devices(),
        roles=stages.inventory.roles(),
        learnt_until=split,
        now=now,
    )


def state_of(
    stages: Stages,
    control: ControlStore,
    tenant: str,
    *,
    site: str,
    networks: tuple[str, ...],
    limits: Limits,
    version: int,
) -> EnforcementState | None:
    """Give what the network should hold; None as long as nobody approved anything, wrote a rule or shut anything out.

    Until then the enforcer is told nothing and makes no table.
    """
    if not any(control.count(tenant, kind) for kind in (Approval, ResponseRule, Action)):
        return None
    return desired_state(
        _approvals(control, tenant),
        stages.inventory.devices(),
        stages.inventory.roles(),
        site=site,
        version=version,
        networks=networks,
        limits=current_limits(control, tenant, limits),
    )


def _approvals(control: ControlStore, tenant: str) -> Iterator[Approval]:
    cursor = ""
    while True:
        page = control.page(tenant, Approval, where={"state": "in_force"}, cursor=cursor, limit=_PAGE)
        yield from page.items
        cursor = page.cursor
        if not cursor:
            return
