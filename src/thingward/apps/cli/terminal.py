"""The terminal report of `guard`: what was read, which devices, what looks wrong, what a profile would refuse."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thingward.apps.cli import words
from thingward.model.device import device_name
from thingward.model.profile import FlowVerdict, Preview
from thingward.runtime.guard_result import DeviceView, GuardResult

_COLOURS = {1: "dim", 2: "cyan", 3: "yellow", 4: "red", 5: "bold red", 6: "bold red"}
MAX_FINDINGS = 40
MAX_DEVICES = 60
MAX_REFUSED = 10


def print_result(console: Console, result: GuardResult, *, every_flow: bool = False) -> None:
    """Print the whole report.

    Args:
        every_flow: all flows that would have been refused, not only the first of each device.
    """
    console.print(_captures(result))
    for report in result.sources:
        if report.data.error and report.is_capture:
            console.print(f"[red]{escape(report.source)}: {escape(report.data.error)}[/red]")
    single = result.single_devices
    if single:
        console.print(_devices(single))
        _print_rest(console, len(single), MAX_DEVICES, "devices")
    if result.findings:
        console.print(_findings(result))
        _print_rest(console, len(result.findings), MAX_FINDINGS, "findings")
    elif words.is_blank(result):
        console.print("Nothing could be read, so nothing can be said.")
        return
    else:
        console.print("Nothing looked wrong in what was seen. What was not seen is unknown, not clean.")
    if not result.indicators:
        console.print("[dim]Talk to known-bad addresses is unknown: no list was given (--pack FILE).[/dim]")
    _print_previews(console, result, every_flow=every_flow)
    if result.dropped:
        lost = ", ".join(f"{count} {kind}" for kind, count in sorted(result.dropped.items()))
        console.print(f"[yellow]Bounds were reached; dropped: {escape(lost)}.[/yellow]")
    console.print(f"[dim]Done in {words.duration_text(result.elapsed_s)}. Nothing was changed or refused.[/dim]")


def _table(title: str, columns: dict[str, str]) -> Table:
    """Make a table that stays readable at 80 columns: rows without rules, text folded, figures to the right."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False
    )
    for name, kind in columns.items():
        table.add_column(
            name, justify="right" if kind == "figure" else "left", overflow="fold", no_wrap=kind in ("figure", "fixed")
        )
    return table


def _captures(result: GuardResult) -> Table:
    table = _table(
        "Read", {"source": "", "packets": "figure", "bytes": "figure", "from, to (UTC)": "", "could not be read": ""}
    )
    for report in result.sources:
        data = report.data
        odd = [] if report.is_capture else ["nothing: no capture"]
        odd += [
            f"{count} x {reason}" for reason, count in sorted(data.malformed.items(), key=lambda pair: -pair[1])[:4]
        ]
        odd += [f"{count} x link type {link}" for link, count in sorted(data.unknown_links.items())[:4]]
        table.add_row(
            escape(report.source.rsplit("/", 1)[-1] or report.source),
            f"{data.packets:,}",
            words.bytes_text(data.bytes),
            f"{words.time_text(data.first)}\n{words.time_text(data.last)}",
            escape("\n".join(odd)) or "-",
        )
    return table


def _devices(views: Sequence[DeviceView]) -> Table:
    columns = {"device": "", "address": "fixed", "what it is": "", "needs": "figure", "profile": "", "findings": ""}
    table = _table("Devices", columns)
    for view in views[:MAX_DEVICES]:
        table.add_row(*_device_row(view))
    return table


def _device_row(view: DeviceView) -> tuple[str, ...]:
    device = view.device
    more = f" (+{len(device.macs) - 1})" if len(device.macs) > 1 else ""
    where = [f"{device.macs[0]}{more}"] if device.macs else []
    where = [*device.addresses[:1], *where]
    learnt = [acl for acl in view.profile.acls if acl.origin == "learnt"] if view.profile else []
    worst = max((finding.severity for finding in view.findings), default=0)
    finding = f"[{_COLOURS[worst]}]{len(view.findings)} {words.severity_text(worst)}[/]" if worst else "-"
    role = f" ({device.role})" if device.role else ""
    return (
        escape(device_name(device) + role),
        escape("\n".join(where)),
        escape(words.identity_text(device)),
        str(len(learnt)) if learnt else "-",
        words.settled_short(view.profile) if view.profile else "-",
        finding,
    )


def _findings(result: GuardResult) -> Table:
    table = _table("Findings", {"severity": "", "what": "", "device": "", "why": "", "times": "figure"})
    names: dict[str, str] = {view.device.uid: device_name(view.device) for view in result.views}
    for finding in result.findings[:MAX_FINDINGS]:
        colour = _COLOURS.get(finding.severity, "white")
        table.add_row(
            f"[{colour}]{words.severity_text(finding.severity)}[/]",
            escape(finding.title),
            escape(names.get(finding.device, finding.device or "-")),
            escape(finding.reason),
            str(finding.count),
        )
    return table


def _print_previews(console: Console, result: GuardResult, *, every_flow: bool) -> None:
    judged = [view for view in result.single_devices if view.preview and view.preview.flows_judged]
    if not judged:
        return
    columns = {
        "device": "",
        "learnt from": "figure",
        "judged": "figure",
        "refused": "figure",
        "at most (95 %)": "figure",
    }
    table = _table(
        "Preview: what the learnt profile would have refused later", {**columns, "reach": "", "not by name": "figure"}
    )
    for view in judged[:MAX_DEVICES]:
        preview = view.preview
        if preview is not None:
            table.add_row(escape(device_name(view.device)), *_preview_row(preview))
    console.print(table)
    _print_rest(console, len(judged), MAX_DEVICES, "previews")
    _print_refused(console, judged, every_flow=every_flow)


def _print_refused(console: Console, judged: list[DeviceView], *, every_flow: bool) -> None:
    """Print which flows would have been refused, those of most flows first."""
    columns = {"device": "", "refused": "", "why": "", "breaks": "", "flows": "figure", "last (UTC)": "fixed"}
    table = _table("Would have been refused", columns)
    hidden = 0
    for view in judged if every_flow else judged[:MAX_DEVICES]:
        refused = [row for row in view.preview.verdicts if not row.permitted] if view.preview else []
        refused.sort(key=lambda row: (-row.flows, row.peer))
        shown = refused if every_flow else refused[:MAX_REFUSED]
        hidden += len(refused) - len(shown)
        for index, row in enumerate(shown):
            table.add_row(escape(device_name(view.device)) if index == 0 else "", *_refused_row(row))
    if table.row_count:
        console.print(table)
    if hidden:
        console.print(f"[dim]... and {hidden} more; --all shows all.[/dim]")


def _refused_row(row: FlowVerdict) -> tuple[str, ...]:
    towards = "to" if row.direction == "out" else "from"
    told, _, more = row.reason.partition("; ")
    why = (more or "no entry allows it") if told.startswith("no entry allows") else row.reason
    return (
        escape(f"{words.protocol_text(row.proto, row.port)} {towards} {row.peer}"),
        escape(why),
        escape(row.breaks or "nothing known"),
        f"{row.flows}",
        words.time_text(row.last),
    )


def _preview_row(preview: Preview) -> tuple[str, ...]:
    return (
        f"{preview.flows_learnt}",
        f"{preview.flows_judged}",
        f"{preview.flows_refused}",
        f"{preview.refused_bound:.1%}",
        f"{preview.reach_before} to {preview.reach_after}",
        str(len(preview.not_by_name) or "-"),
    )


def _print_rest(console: Console, total: int, shown: int, what: str) -> None:
    if total > shown:
        console.print(f"[dim]... and {total - shown} more {what}; -o json or --html FILE shows all.[/dim]")
