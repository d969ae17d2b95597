"""Bounded, undoable steps: plans, approvals, actions, outcomes, and what is in force."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from thingward.model.ids import DEFAULT_SITE
from thingward.model.profile import Acl
from thingward.model.record import Record


class ActionKind(StrEnum):
    """What an action does to the network or to people."""

    QUARANTINE = "quarantine"
    RELEASE = "release"
    ENFORCE = "enforce"
    RELAX = "relax"
    NOTIFY = "notify"


class ActionState(StrEnum):
    """Life of an action; `expired` means the kernel's timeout ended it."""

    PLANNED = "planned"
    REQUESTED = "requested"
    IN_FORCE = "in_force"
    UNDONE = "undone"
    EXPIRED = "expired"
    REFUSED = "refused"
    FAILED = "failed"


class BlastRadius(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step would touch: devices, their share of the site's fleet (0 to 1), services that stop."""

    devices: int = 0
    fleet_share: float = 0.0
    services: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Action(Record, frozen=True, kw_only=True, tag="action"):
    """One bounded command with its owner, reason, end and undo.

    Attributes:
        requested_by: principal uid or `rule:<uid>`.
        ttl_s: 0 means until undone (only for approved profiles); quarantines always have an end.
        expires: seconds since 1970, 0 if none.
        refused: why limits or the never-block list stopped it.
        requested_at, applied_at, ended_at: seconds since 1970; 0 if not yet. trigger_at: time of the first packet
            behind it, so that time to effect is measured.
        state_before: digest of the enforcer's ruleset before; undo must give it again.
        force: a person overrides the fleet limit (never the never-block list).
    """

    kind: ActionKind
    device: str = ""
    site: str = DEFAULT_SITE
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    reason: str = ""
    requested_by: str = "system"
    case: str = ""
    finding: str = ""
    state: ActionState = ActionState.PLANNED
    ttl_s: float = 0.0
    expires: float = 0.0
    blast: BlastRadius = BlastRadius()
    refused: str = ""
    requested_at: float = 0.0
    applied_at: float = 0.0
    ended_at: float = 0.0
    trigger_at: float = 0.0
    state_before: str = ""
    state_after: str = ""
    dry_run: bool = False
    force: bool = False


class Outcome(Record, frozen=True, kw_only=True, tag="outcome"):
    """What came of an action, as the enforcer reports it (OCSF remediation activity)."""

    action: str
    status: Literal["applied", "undone", "refused", "failed", "expired"]
    enforcer: str = ""
    detail: str = ""
    took_s: float = 0.0
    state_before: str = ""
    state_after: str = ""


class Approval(Record, frozen=True, kw_only=True, tag="approval"):
    """A person's consent that a profile is enforced; the newest one in force counts.

    Attributes:
        scope: `device`, `kind` (all devices of a kind) or `site`; `target` is its uid or name.
        profile: uid of the profile version that was approved, `acls` its entries, so that the diff is exact.
        by: principal; `rule:<uid>` where a person's rule approved.
        state: `in_force`, `superseded`, `withdrawn`.
    """

    scope: Literal["device", "kind", "site"]
    target: str
    device: str
    profile: str
    site: str = DEFAULT_SITE
    acls: tuple[Acl, ...] = ()
    by: str = ""
    comment: str = ""
    state: Literal["in_force", "superseded", "withdrawn"] = "in_force"
    added: int = 0
    removed: int = 0
    withdrawn_by: str = ""
    withdrawn_at: float = 0.0


class ResponseRule(Record, frozen=True, kw_only=True, tag="rule"):
    """A rule that a person wrote and approved: when such a finding comes, do that, within limits.

    Attributes:
        rules: finding rule ids or prefixes ending in `*`.
        min_severity: 1 to 5. min_confidence: 0 to 1.
        action: what to do; `ttl_s` for how long.
        enabled: off by default; only an approver may switch it on.
        deleted: kept as a record of what was, and never acts.
    """

    name: str
    site: str = ""
    rules: tuple[str, ...] = ("*",)
    min_severity: int = 4
    min_confidence: float = 0.7
    kinds: tuple[str, ...] = ()
    action: ActionKind = ActionKind.QUARANTINE
    ttl_s: float = 3600.0
    enabled: bool = False
    deleted: bool = False
    by: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bounds that every enforcer honours.

    Attributes:
        fleet_share_per_hour: at most this share of the site's devices (at least one device) quarantined per hour.
        max_ttl_s: longest quarantine, in seconds.
        never_block: MACs, addresses or CIDR prefixes that nothing may block.
    """

    fleet_share_per_hour: float = 0.10
    min_devices_per_hour: int = 1
    max_ttl_s: float = 7 * 86400.0
    never_block: tuple[str, ...] = ()


class EnforcementEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the enforcer must hold for one device: the approved entries bound to its hardware addresses."""

    device: str
    macs: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    acls: tuple[Acl, ...] = ()


class EnforcementState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole desired state of one enforcer, replaced as one; `version` grows.

    Attributes:
        entries: devices with approved profiles.
        roles: role name to the site's addresses (`dns`, `ntp`, `dhcp`, `gateway`).
        devices: uid to (macs, addresses) for entries that name another device.
        fleet_size: devices of the site, of which the limits allow a share; 0 counts `devices`.
    """

    version: int
    site: str = DEFAULT_SITE
    entries: tuple[EnforcementEntry, ...] = ()
    roles: dict[str, tuple[str, ...]] = {}
    devices: dict[str, tuple[str, ...]] = {}
    networks: tuple[str, ...] = ()
    limits: Limits = Limits()
    fleet_size: int = 0
