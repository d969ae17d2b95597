"""A profile in others' forms: MUD (RFC 8520), nftables, OpenWrt, dnsmasq, CSV."""

from __future__ import annotations

import csv
import io
from typing import Final, Literal

from thingward.apps.server.deps import Deps
from thingward.apps.server.standing import all_devices
from thingward.model.action import EnforcementEntry, EnforcementState
from thingward.model.device import Device
from thingward.model.profile import MudProfile

Form = Literal["mud", "nftables", "openwrt", "dnsmasq", "csv"]

#: Form to media type and file name suffix.
FORMS: Final[dict[Form, tuple[str, str]]] = {
    "mud": ("application/mud+json", "mud.json"),
    "nftables": ("text/plain", "nft"),
    "openwrt": ("text/plain", "openwrt.nft"),
    "dnsmasq": ("text/plain", "dnsmasq.conf"),
    "csv": ("text/csv", "csv"),
}
_COLUMNS: Final = (
    "direction",
    "peer",
    "value",
    "proto",
    "port",
    "port_to",
    "ethertype",
    "flows",
    "first",
    "last",
    "days",
    "origin",
    "resolved",
)
#: What begins a formula in spreadsheets.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def render_profile(deps: Deps, device: Device, profile: MudProfile, form: Form) -> tuple[str, str, str]:
    """Give (text, media type, file name suffix) of a profile in a form."""
    if form == "mud":
        text = _mud(device, profile)
    elif form == "csv":
        text = _csv(profile)
    else:
        text = _rules(deps, device, profile, form)
    return text, *FORMS[form]


def _rules(deps: Deps, device: Device, profile: MudProfile, form: Form) -> str:
    from thingward.wire.nft.export import render_dnsmasq, render_file, render_openwrt
    from thingward.wire.nft.ruleset import build_ruleset

    ruleset = build_ruleset({deps.tenant: state_for(deps, device, profile)})
    if form == "dnsmasq":
        return render_dnsmasq(ruleset.names)
    return render_openwrt(ruleset) if form == "openwrt" else render_file(ruleset)


def state_for(deps: Deps, device: Device, profile: MudProfile) -> EnforcementState:
    """Describe a site in which this one profile is in force."""
    site = [row for row in all_devices(deps, device.site) if not row.group and not row.merged_into]
    roles: dict[str, tuple[str, ...]] = {}
    for row in site:
        for role in _ROLES.get(row.role, ()):
            roles[role] = (*roles.get(role, ()), *row.addresses)
    named = {acl.value for acl in profile.acls if acl.peer == "device"}
    return EnforcementState(
        version=1,
        site=device.site,
        entries=(EnforcementEntry(device=device.uid, macs=device.macs, addresses=device.addresses, acls=profile.acls),),
        roles=roles,
        devices={row.uid: (*row.macs, *row.addresses) for row in site if row.uid in named},
    )


_ROLES: Final = {"gateway": ("gateway", "dns", "dhcp", "ntp"), "resolver": ("dns",)}


def _csv(profile: MudProfile) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for acl in profile.acls:
        writer.writerow([_cell(getattr(acl, column)) for column in _COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    text = str(value)
    return "'" + text if isinstance(value, str) and text.startswith(_FORMULA) else text


def _mud(device: Device, profile: MudProfile) -> str:
    from thingward.policy.mud_render import render_mud

    return render_mud(profile, device)
