"""What a device needs and what is in force for it: newest profile, approval, difference, and the queue of both."""

from __future__ import annotations

from typing import Final

import msgspec

from thingward.apps.server.deps import Deps
from thingward.apps.server.standing import all_devices
from thingward.model.action import Approval, EnforcementState
from thingward.model.device import Device, Site
from thingward.model.errors import InvalidInput
from thingward.model.profile import Acl, MudProfile, Preview
from thingward.policy.desired import desired_state
from thingward.policy.diff import diff_acls

MAX_APPROVALS: Final = 20_000
_SERVES_AS: Final = {"gateway": ("gateway", "dns", "dhcp", "ntp"), "resolver": ("dns",)}


class ProfileDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What approving the newest profile would change against what is in force.

    Attributes:
        profile: uid of the newest profile. approval: uid of the approval in force, empty if there is none.
        added, removed, kept: entries. is_current: nothing would change.
    """

    device: str
    profile: str
    approval: str = ""
    added: tuple[Acl, ...] = ()
    removed: tuple[Acl, ...] = ()
    kept: tuple[Acl, ...] = ()
    is_current: bool = False


class QueueItem(msgspec.Struct, frozen=True, kw_only=True):
    """One device that waits for a person's decision on its profile."""

    device: Device
    profile: MudProfile
    preview: Preview | None = None
    approval: str = ""
    added: int = 0
    removed: int = 0


def newest_profile(deps: Deps, device: str) -> MudProfile | None:
    """Give the newest profile of a device, None if it has none yet."""
    found = deps.newest(MudProfile, 1, device=device)
    return found[0] if found else None


def newest_preview(deps: Deps, device: str) -> Preview | None:
    """Give the newest preview of a device, None if there is none."""
    found = deps.newest(Preview, 1, device=device)
    return found[0] if found else None


def approval_in_force(deps: Deps, device: str) -> Approval | None:
    """Give the approval in force for a device, None if there is none."""
    found = deps.newest(Approval, 1, device=device, state="in_force")
    return found[0] if found else None


def compare(profile: MudProfile, approval: Approval | None) -> ProfileDiff:
    """Compare a profile with what is in force."""
    diff = diff_acls(profile.acls, approval.acls if approval else ())
    return ProfileDiff(
        device=profile.device,
        profile=profile.uid,
        approval=approval.uid if approval else "",
        added=diff.added,
        removed=diff.removed,
        kept=diff.kept,
        is_current=approval is not None and diff.is_empty,
    )


def approval_queue(deps: Deps, *, site: str = "", kind: str = "", limit: int = 1000) -> tuple[QueueItem, ...]:
    """List devices whose newest profile is not the one in force, settled ones first."""
    approvals = {row.device: row for row in reversed(deps.newest(Approval, 1000, state="in_force"))}
    newest: dict[str, MudProfile] = {}
    for profile in deps.newest(MudProfile, 1000):
        newest.setdefault(profile.device, profile)
    items = []
    for profile in list(newest.values())[:limit]:
        diff = compare(profile, approvals.get(profile.device))
        device = deps.backend.control.get(deps.tenant, Device, profile.device)
        if device is None or device.group or diff.is_current:
            continue
        if (site and device.site != site) or (kind and (device.kind or "unknown") != kind):
            continue
        items.append(
            QueueItem(
                device=device,
                profile=profile,
                preview=newest_preview(deps, profile.device),
                approval=diff.approval,
                added=len(diff.added),
                removed=len(diff.removed),
            )
        )
    return tuple(
        sorted(items, key=lambda item: (not item.profile.settled.is_settled, item.device.kind, item.device.uid))
    )


def serving_at(devices: list[Device]) -> dict[str, tuple[str, ...]]:
    """Give the roles that devices serve their site as, by uid and by address."""
    return {
        peer: _SERVES_AS[row.role] for row in devices if row.role in _SERVES_AS for peer in (row.uid, *row.addresses)
    }


def state_of_profile(deps: Deps, device: Device, profile: MudProfile) -> EnforcementState:
    """Give what the network would hold if this one profile were approved and nothing else.

    Raises:
        InvalidInput: no rules are made for such a device.
    """
    approval = Approval(
        uid=profile.uid,
        tenant=profile.tenant,
        time=profile.time,
        source=profile.source,
        scope="device",
        target=device.uid,
        device=device.uid,
        profile=profile.uid,
        site=device.site,
        acls=profile.acls,
    )
    state = _state(deps, device.site, [approval])
    if not state.entries:
        raise InvalidInput(
            f"no rules are made for {device.uid!r}: it is a gateway, a group or has no address.",
            hint="Export MUD or CSV.",
        )
    return state


def state_of_site(deps: Deps, site: str, only: tuple[str, ...] = ()) -> EnforcementState:
    """Give what the network should hold at a site: all approvals in force, or those of some devices.

    Raises:
        InvalidInput: nothing is approved there, or not for one of the named devices.
    """
    approvals: list[Approval] = []
    cursor = ""
    while len(approvals) < MAX_APPROVALS:
        where = {"site": site, "state": "in_force"}
        page = deps.backend.control.page(deps.tenant, Approval, where=where, cursor=cursor, limit=1000)
        approvals += [row for row in page.items if not only or row.device in only]
        cursor = page.cursor
        if not cursor:
            break
    state = _state(deps, site, approvals)
    held = {entry.device for entry in state.entries}
    missing = [uid for uid in only if uid not in held]
    if missing or not held:
        what = f"for {missing[0]!r}" if missing else f"at the site {site!r}"
        raise InvalidInput(f"nothing that becomes rules is approved {what}.", hint="Approve a profile first.")
    return state


def _state(deps: Deps, site: str, approvals: list[Approval]) -> EnforcementState:
    devices = all_devices(deps, site)
    roles: dict[str, tuple[str, ...]] = {}
    for row in devices:
        for role in _SERVES_AS.get(row.role, ()):
            roles[role] = (*roles.get(role, ()), *row.addresses)
    networks = next((row.networks for row in deps.newest(Site, 1, name=site)), ())
    return desired_state(approvals, devices, roles, site=site, networks=networks)
