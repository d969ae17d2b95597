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
from thingward.wire.nft.ruleset import Ruleset, build_ruleset
from thingward.wire.nft.tokens import TABLE, safe_id

RuleForm = Literal["nftables", "openwrt", "dnsmasq"]
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
    return _render(
        build_ruleset({str(profile.tenant): state()}),
        form,
        table=device_table(device),
        holds=f"the newest profile of one device, {device.uid}",
        notes=(
            "Only this device, in a table of its own: files of other devices may be loaded beside it.",
            "All approved devices in one file: thingward site export. Load either that one or these, not both.",
            *(_ONE_RESOLVER if form == "dnsmasq" else ()),
        ),
    )


def export_site(state: EnforcementState, tenant: str, form: RuleForm) -> str:
    """Write what is approved at a site, all devices in one file.

    Args:
        state: what `desired_state` gives for the site.
    """
    notes = (
        f"The site {state.site!r}: all devices whose profiles are approved. It stands in the place of older ones.",
    )
    return _render(build_ruleset({tenant: state}), form, table=TABLE, holds="", notes=notes)


def device_table(device: Device) -> str:
    """Name the nftables table of a file that holds one device."""
    return f"{TABLE}_{safe_id(device.tenant, device.uid)}"


_ONE_RESOLVER: Final = ("dnsmasq takes one line for a name: where devices share names, use the site's file.",)


def _render(ruleset: Ruleset, form: RuleForm, *, table: str, holds: str, notes: tuple[str, ...]) -> str:
    if form == "dnsmasq":
        return render_dnsmasq(ruleset.names, table=table, notes=notes)
    render = render_openwrt if form == "openwrt" else render_file
    return render(ruleset, table=table, holds=holds, notes=notes)


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
