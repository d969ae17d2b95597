"""`finding`, `case`, `event`, `audit`, `evidence`: what looks wrong, what was done, and the proof of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, connect, parse_duration, show, show_one, show_result
from thingward.apps.cli.naming import named

finding = App(name="finding")
case = App(name="case")
event = App(name="event")
audit = App(name="audit")
evidence = App(name="evidence")

Most = Annotated[int, Parameter(name="--most", help="How many at most.")]


@finding.command(name="list")
def list_findings(
    *,
    device: str = "",
    rule: Annotated[str, Parameter(help="Only this rule.")] = "",
    alerts: Annotated[bool, Parameter(help="Only those worth a person's look.")] = False,
    most: Most = 100,
    output: Output = "table",
) -> None:
    """List findings, newest first."""
    columns = {
        "uid": "uid",
        "severity": "severity:severity",
        "what": "title",
        "device": "device",
        "why": "reason",
        "times": "count",
        "last (UTC)": "time:last",
    }
    params = {"device": device, "rule": rule, "is_alert": "true" if alerts else ""}
    client = connect()
    rows = list(client.pages("/findings", params=params, most=most))
    show(output, named(client, output, rows, device="device"), columns)


@finding.command(name="show")
def show_finding(uid: str, *, output: Output = "json") -> None:
    """Show one finding."""
    show_one(output, connect().call("GET", f"/findings/{uid}"))


@finding.command(name="suppress")
def suppress_findings(
    rule: Annotated[str, Parameter(help="Finding rule, or prefix ending in *.")],
    *,
    reason: Annotated[str, Parameter(help="Why such findings are expected.")],
    device: Annotated[str, Parameter(help="Uid of the device; without it every device, which needs an approver.")] = "",
    key: Annotated[str, Parameter(help="Only this matter: the finding's key.")] = "",
    ttl: Annotated[str, Parameter(help="For how long: 2h, 30d ...; 0 is until it is removed.")] = "30d",
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Call findings expected: they are kept and marked, no alert, and no rule acts on them."""
    ttl_s = 0.0 if ttl == "0" else parse_duration(ttl)
    body = {"rule": rule, "device": device, "key": key, "reason": reason, "ttl_s": ttl_s}
    show_result(output, connect().call("POST", "/suppressions", body=body, dry_run=dry_run))


@finding.command(name="suppressions")
def list_suppressions(*, device: str = "", removed: bool = False, output: Output = "table") -> None:
    """List what was called expected, by whom and until when (0 is until it is removed)."""
    columns = {
        "uid": "uid",
        "rule": "rule",
        "device": "device",
        "only": "key",
        "why": "reason",
        "by": "by",
        "until (UTC)": "time:until",
    }
    params = {"device": device, "removed": "true" if removed else ""}
    client = connect()
    rows = list(client.pages("/suppressions", params=params))
    show(output, named(client, output, rows, device="device", person="by"), columns)


@finding.command(name="unsuppress")
def remove_suppression(uid: str, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Take a suppression back: such findings are alerts again."""
    show_result(output, connect().call("DELETE", f"/suppressions/{uid}", dry_run=dry_run))


@case.command(name="list")
def list_cases(
    *, state: Literal["", "open", "contained", "closed"] = "", device: str = "", output: Output = "table"
) -> None:
    """List cases."""
    columns = {
        "uid": "uid",
        "severity": "severity:severity",
        "state": "state",
        "title": "title",
        "device": "device",
        "assignee": "assignee",
        "opened (UTC)": "time:opened",
    }
    client = connect()
    rows = list(client.pages("/cases", params={"state": state, "device": device}))
    show(output, named(client, output, rows, device="device"), columns)


@case.command(name="show")
def show_case(uid: str, *, output: Output = "json") -> None:
    """Show one case with its timeline."""
    show_one(output, connect().call("GET", f"/cases/{uid}"))


@case.command(name="note")
def note_case(uid: str, text: str, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Add a line to a case's timeline."""
    show_result(output, connect().call("POST", f"/cases/{uid}/notes", body={"note": text}, dry_run=dry_run))


@case.command(name="assign")
def assign_case(
    uid: str,
    who: Annotated[str, Parameter(help="Whose it is now; an empty text is nobody.")],
    *,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Say whose case it is."""
    show_result(output, connect().call("PATCH", f"/cases/{uid}", body={"assignee": who}, dry_run=dry_run))


@case.command(name="close")
def close_case(
    uid: str,
    *,
    resolution: Annotated[str, Parameter(help="What it was.")],
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Close a case."""
    body = {"state": "closed", "resolution": resolution}
    show_result(output, connect().call("PATCH", f"/cases/{uid}", body=body, dry_run=dry_run))


@case.command(name="reopen")
def reopen_case(uid: str, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Open a closed case again."""
    show_result(output, connect().call("PATCH", f"/cases/{uid}", body={"state": "open"}, dry_run=dry_run))


@event.command(name="list")
def list_events(
    *,
    device: str = "",
    kind: Annotated[str, Parameter(help="Kind of event: flow, dns, credential ...")] = "",
    search: str = "",
    most: Most = 100,
    output: Output = "table",
) -> None:
    """List events, newest first."""
    columns = {"time (UTC)": "time:time", "kind": "data.type", "from": "src.ip", "to": "dst.ip", "what": "message"}
    show(
        output,
        list(connect().pages("/events", params={"device": device, "kind": kind, "search": search}, most=most)),
        columns,
    )


@audit.command(name="list")
def list_audit(*, most: Most = 100, output: Output = "table") -> None:
    """List what people and programs did."""
    columns = {
        "time (UTC)": "time:time",
        "who": "principal",
        "did": "action",
        "on": "target",
        "result": "result",
        "detail": "detail",
    }
    client = connect()
    rows = list(client.pages("/audit", most=most))
    show(output, named(client, output, rows, person="principal"), columns)


@evidence.command(name="export")
def export_evidence(
    scope: Annotated[Literal["case", "device", "tenant"], Parameter(help="What to prove.")],
    target: Annotated[str, Parameter(help="Uid of the case or device; not needed for everything.")] = "",
    *,
    to: Annotated[Path | None, Parameter(help="File to write; its own name in this folder if not given.")] = None,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Make a signed evidence bundle and download it; verify it with the script inside, offline."""
    client = connect()
    result = client.call("POST", "/evidence-bundles", body={"scope": scope, "target": target}, dry_run=dry_run)
    show_result(output, result)
    for record in result.get("records") or ():
        path = to or Path(record["name"])
        path.write_bytes(client.raw("GET", f"/evidence-bundles/{record['name']}"))
