"""A profile in others' forms: MUD (RFC 8520), nftables, OpenWrt, dnsmasq, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Final, Literal

from thingward.model.action import EnforcementState
from thingward.model.device import Device
from thingward.model.profile import MudProfile
from thingward.policy.mud_render import render_mud
from thingward.wire.nft.export import render_dnsmasq, render_file, render_openwrt
from thingward.wire.nft.ruleset import build_ruleset

Form = Literal["mud", "nftables", "openwrt", "dnsmasq", "csv"]

COLUMNS: Final = (
    "direction", "peer", "value", "proto", "port", "port_to", "ethertype", "flows", "first", "last", "days", "origin",
    "resolved",
)  # fmt: skip
# What begins a formula in spreadsheets.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def export_profile(profile: MudProfile, device: Device, state: Callable[[], EnforcementState], form: Form) -> str:
    """Write a profile in a form.

    Args:
        state: gives what `desired_state` gives for this device alone; asked by the forms that are rules, which need the
            addresses behind devices and roles.
    """
    if form == "mud":
        return render_mud(profile, device)
    if form == "csv":
        return render_csv(profile)
    ruleset = build_ruleset({str(profile.tenant): state()})
    if form == "dnsmasq":
        return render_dnsmasq(ruleset.names)
    return render_openwrt(ruleset) if form == "openwrt" else render_file(ruleset)


def render_csv(profile: MudProfile) -> str:
    """Write a profile's entries as CSV with a head line; no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for acl in profile.acls:
        writer.writerow([_cell(getattr(acl, column)) for column in COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    text = str(value)
    return "'" + text if isinstance(value, str) and text.startswith(_FORMULA) else text
