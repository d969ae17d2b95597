"""What the network should hold: approvals in force, bound to the addresses that devices have now."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from thingward.model.action import Approval, EnforcementEntry, EnforcementState, Limits
from thingward.model.device import Device
from thingward.model.ids import DEFAULT_SITE
from thingward.model.profile import Acl, PeerKind
from thingward.policy.preview import resolves_elsewhere
from thingward.policy.verdict import Site, resolve_acl


def approvals_in_force(approvals: Iterable[Approval], devices: Iterable[Device] = ()) -> dict[str, Approval]:
    """Give the newest approval in force per device; approvals of absorbed records count for the one that stands."""
    moved: dict[str, str] = {device.uid: device.merged_into for device in devices if device.merged_into}
    newest: dict[str, Approval] = {}
    for approval in sorted(approvals, key=lambda item: (item.time, item.uid)):
        uid: str = approval.device
        for _ in range(8):
            uid = moved.get(uid, uid)
        if approval.state == "in_force":
            newest[uid] = approval
        elif approval.state == "withdrawn" or (uid in newest and newest[uid].uid == approval.uid):
            newest.pop(uid, None)  # taken back: the device is observed again, an older approval does not return
    return newest


def site_words(devices: Sequence[Device], controllers: Mapping[str, Sequence[str]] | None = None) -> Site:
    """Say what `same-manufacturer` and controllers mean at a site."""
    makers: dict[str, list[str]] = {}
    for device in devices:
        if device.maker and not device.group and not device.merged_into:
            makers.setdefault(device.maker.lower(), []).append(device.uid)
    return Site(
        same_maker={maker: tuple(uids) for maker, uids in makers.items()},
        controllers={uri: tuple(values) for uri, values in (controllers or {}).items()},
    )


def desired_state(
    approvals: Iterable[Approval],
    devices: Sequence[Device],
    roles: Mapping[str, Sequence[str]],
    *,
    site: str = DEFAULT_SITE,
    version: int = 1,
    networks: Sequence[str] = (),
    limits: Limits | None = None,
    controllers: Mapping[str, Sequence[str]] | None = None,
) -> EnforcementState:
    """Give the whole desired state of a site's enforcer.

    Gateways and group addresses are left out whatever was approved: shutting them in shuts the site in. Time services
    that `roles` names by domain become entries by name.
    """
    here = [device for device in devices if device.site == site]
    standing: dict[str, Device] = {device.uid: device for device in here if not device.merged_into}
    words = site_words(here, controllers)
    time_names = [value for value in roles.get("ntp", ()) if not _is_address(value)]
    named_only = bool(time_names) and len(time_names) == len(roles.get("ntp", ()))
    entries = []
    named: set[str] = set()
    for uid, approval in sorted(approvals_in_force(approvals, here).items()):
        device = standing.get(uid)
        if device is None or device.group or device.role == "gateway" or not (device.macs or device.addresses):
            continue
        acls = tuple(_expanded(as_enforceable(approval.acls), words, time_names, named_only=named_only))
        named.update(acl.value for acl in acls if acl.peer is PeerKind.DEVICE)
        entries.append(EnforcementEntry(device=uid, macs=device.macs, addresses=_own(device), acls=acls))
    return EnforcementState(
        version=version,
        site=site,
        entries=tuple(entries),
        roles={role: tuple(value for value in values if _is_address(value)) for role, values in roles.items()},
        devices={uid: (*standing[uid].macs, *_own(standing[uid])) for uid in sorted(named) if uid in standing},
        networks=tuple(networks),
        limits=limits or Limits(),
        fleet_size=sum(not device.group for device in standing.values()),
    )


def as_enforceable(acls: Sequence[Acl]) -> tuple[Acl, ...]:
    """Mark names as not resolved here where the device asks another resolver than the site's.

    The set behind such a name would stay empty, and the device would be refused what was approved.
    """
    if not resolves_elsewhere(acls):
        return tuple(acls)
    return tuple(msgspec.structs.replace(acl, resolved=False) if acl.peer is PeerKind.NAME else acl for acl in acls)


def _expanded(acls: Iterable[Acl], words: Site, time_names: Sequence[str], *, named_only: bool) -> list[Acl]:
    found: dict[Acl, None] = {}
    for acl in acls:
        is_time = acl.peer is PeerKind.ROLE and acl.value == "ntp" and acl.direction == "out"
        for plain in () if is_time and named_only else resolve_acl(acl, words):
            found[plain] = None
        if is_time:
            for name in time_names:
                found[msgspec.structs.replace(acl, peer=PeerKind.NAME, value=f"*.{name}")] = None
    return list(found)


def _own(device: Device) -> tuple[str, ...]:
    """Leave out addresses that a device claims and another holds: nothing is bound to them, nobody protected by them."""
    return tuple(address for address in device.addresses if address not in device.contested)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return True
