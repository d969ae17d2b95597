"""`device`, `approval`, `action`: what exists, what is in force, and what to do about one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, connect, parse_duration, show, show_one, show_result
from thingward.apps.cli.naming import name_of, named
from thingward.apps.cli.sites import write_export
from thingward.model.errors import InvalidInput

device = App(name="device")
approval = App(name="approval")
action = App(name="action")

Uid = Annotated[str, Parameter(help="Uid of the device.")]


@device.command(name="list")
def list_devices(
    *,
    search: Annotated[str, Parameter(help="Text that the record contains.")] = "",
    site: str = "",
    kind: Annotated[str, Parameter(help="Only this kind, for example camera.")] = "",
    mode: Annotated[Literal["", "observe", "enforce", "quarantine"], Parameter(help="Only in this mode.")] = "",
    unknown: Annotated[bool, Parameter(help="Only those that nobody can identify.")] = False,
    output: Output = "table",
) -> None:
    """List devices."""
    params = {"search": search, "site": site, "kind": kind, "mode": mode, "identified": "false" if unknown else ""}
    columns = {
        "uid": "uid",
        "name": "label",
        "names": "names",
        "maker": "maker",
        "kind": "kind",
        "addresses": "addresses",
        "hardware": "macs",
        "mode": "mode",
        "last seen (UTC)": "time:last_seen",
    }
    show(output, list(connect().pages("/devices", params=params)), columns)


@device.command(name="show")
def show_device(uid: Uid, *, output: Output = "json") -> None:
    """Show one device with its evidence."""
    show_one(output, connect().call("GET", f"/devices/{uid}"))


@device.command(name="edit")
def edit_device(
    uid: Uid,
    *,
    label: str | None = None,
    kind: str | None = None,
    maker: str | None = None,
    model: str | None = None,
    merge_into: Annotated[str | None, Parameter(help="Uid of the device that this one is the same as.")] = None,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Correct what is said of a device; a correction outranks all evidence."""
    given = {"label": label, "kind": kind, "maker": maker, "model": model, "merge_into": merge_into}
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise InvalidInput("name at least one thing to correct.", hint="See thingward device edit --help.")
    show_result(output, connect().call("PATCH", f"/devices/{uid}", body=body, dry_run=dry_run))


@device.command(name="peers")
def show_peers(uid: Uid, *, output: Output = "table") -> None:
    """List whom a device talks to, largest first."""
    columns = {
        "peer": "peer",
        "protocol": "proto",
        "port": "port",
        "app": "app",
        "flows": "flows",
        "sent": "bytes_out",
        "received": "bytes_in",
    }
    show(output, list(connect().pages(f"/devices/{uid}/peers")), columns)


@device.command(name="profile")
def show_profile(
    uid: Uid,
    *,
    what: Annotated[
        Literal["profile", "diff", "preview"],
        Parameter(help="The profile, its diff to what is in force, or its preview."),
    ] = "profile",
    output: Output = "json",
) -> None:
    """Show what a device needs, what approving would change, or what it would refuse."""
    path = {"profile": "profile", "diff": "profile/diff", "preview": "preview"}[what]
    show_one(output, connect().call("GET", f"/devices/{uid}/{path}"))


@device.command(name="export")
def export_profile(
    uid: Uid,
    *,
    form: Annotated[
        Literal["mud", "nftables", "openwrt", "dnsmasq", "csv"], Parameter(name=["--format", "-f"], help="Which form.")
    ] = "mud",
    to: Annotated[Path | None, Parameter(help="File to write; standard output if not given.")] = None,
) -> None:
    """Export the newest profile of one device; for all approved devices in one file see `site export`."""
    write_export(connect().raw("GET", f"/devices/{uid}/profile/export", params={"form": form}), to)


@device.command(name="quarantine")
def quarantine(
    uid: Uid,
    *,
    reason: Annotated[str, Parameter(help="Why; it is kept with the action.")],
    ttl: Annotated[
        str,
        Parameter(
            help="For how long: 90s, 15m, 2h, 7d; more than the limit is cut to it. The kernel ends it by itself."
        ),
    ] = "1h",
    case: Annotated[str, Parameter(help="Uid of the case that it belongs to.")] = "",
    force: Annotated[bool, Parameter(help="Override the fleet limit, never the never-block list.")] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Shut a device out for a time."""
    body = {"device": uid, "reason": reason, "ttl_s": parse_duration(ttl), "case": case, "force": force}
    show_result(output, connect().call("POST", "/actions/quarantine", body=body, dry_run=dry_run))


@device.command(name="release")
def release(uid: Uid, *, reason: str = "", dry_run: DryRun = False, output: Output = "table") -> None:
    """Undo a device's quarantine: the rules are then exactly what they were."""
    show_result(
        output, connect().call("POST", "/actions/release", body={"device": uid, "reason": reason}, dry_run=dry_run)
    )


@approval.command(name="list")
def list_approvals(*, device: str = "", site: str = "", state: str = "", output: Output = "table") -> None:
    """List approvals, past ones too."""
    columns = {
        "uid": "uid",
        "device": "device",
        "scope": "scope",
        "state": "state",
        "by": "by",
        "when (UTC)": "time:time",
        "comment": "comment",
    }
    client = connect()
    rows = list(client.pages("/approvals", params={"device": device, "site": site, "state": state}))
    show(output, named(client, output, rows, device="device", person="by"), columns)


@approval.command(name="queue")
def list_queue(*, site: str = "", kind: str = "", output: Output = "table") -> None:
    """List devices whose newest profile is not in force, settled ones first."""
    rows = list(connect().pages("/approvals/queue", params={"site": site, "kind": kind}))
    columns = {
        "uid": "device.uid",
        "device": "name",
        "kind": "device.kind",
        "settled": "settled",
        "learnt from": "learnt",
        "refused of judged": "judged",
        "entries +": "added",
        "-": "removed",
    }
    show(output, [_queued(row) for row in rows] if output == "table" else rows, columns)


def _queued(row: dict[str, Any]) -> dict[str, Any]:
    state, preview = row["profile"]["settled"], row.get("preview")
    return {
        **row,
        "name": name_of(row["device"]),
        "settled": "yes" if state.get("is_settled") else "no",
        "learnt": f"{state.get('flows', 0)} flows",
        "judged": f"{preview['flows_refused']} of {preview['flows_judged']}" if preview else "-",
    }


@approval.command(name="approve")
def approve(
    scope: Annotated[Literal["device", "kind", "site"], Parameter(help="One device, all of a kind, or a site.")],
    target: Annotated[str, Parameter(help="Uid of the device, or name of the kind or site.")],
    *,
    profile: Annotated[str, Parameter(help="Uid of the profile that you saw; a newer one is refused.")] = "",
    comment: str = "",
    include_unsettled: Annotated[bool, Parameter(help="Also profiles that have not settled.")] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Put learnt profiles in force: what no entry allows is refused from then on."""
    body = {
        "scope": scope,
        "target": target,
        "profile": profile,
        "comment": comment,
        "include_unsettled": include_unsettled,
    }
    show_result(output, connect().call("POST", "/approvals", body=body, dry_run=dry_run))


@approval.command(name="withdraw")
def withdraw(uid: str, *, comment: str = "", dry_run: DryRun = False, output: Output = "table") -> None:
    """Take an approval back: the device is observed again."""
    show_result(
        output, connect().call("POST", f"/approvals/{uid}/withdraw", body={"comment": comment}, dry_run=dry_run)
    )


@action.command(name="list")
def list_actions(*, device: str = "", state: str = "", output: Output = "table") -> None:
    """List actions: what was asked, by whom, why, until when, and what came of it."""
    columns = {
        "uid": "uid",
        "kind": "kind",
        "device": "device",
        "state": "state",
        "by": "requested_by",
        "reason": "reason",
        "until (UTC)": "time:expires",
    }
    client = connect()
    rows = list(client.pages("/actions", params={"device": device, "state": state}))
    show(output, named(client, output, rows, device="device", person="requested_by"), columns)


@action.command(name="in-force")
def list_in_force(*, output: Output = "table") -> None:
    """List what holds now and until when."""
    client = connect()
    rows = named(client, output, list(client.pages("/in-force")), device="device", person="by")
    columns = {"kind": "kind", "device": "device", "by": "by", "until (UTC)": "time:until", "why": "reason"}
    show(output, rows, columns)
