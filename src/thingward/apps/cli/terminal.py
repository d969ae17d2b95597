"""The terminal report of `guard`: what was read, which devices, what looks wrong, what a profile would refuse."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thingward.apps.cli import words
from thingward.model.profile import Preview
from thingward.runtime.guard_result import DeviceView, GuardResult

_COLOURS = {1: "dim", 2: "cyan", 3: "yellow", 4: "red", 5: "bold red", 6: "bold red"}
MAX_FINDINGS = 40
MAX_DEVICES = 60


def print_result(console: Console, result: GuardResult) -> None:
    """Print the whole report."""
    console.print(_captures(result))
    for report in result.sources:
        if report.data.error:
            console.print(f"[red]{escape(report.source)}: {escape(report.data.error)}[/red]")
    if result.views:
        console.print(_devices(result))
        _print_rest(console, len(result.views), MAX_DEVICES, "devices")
    if result.findings:
        console.print(_findings(result))
        _print_rest(console, len(result.findings), MAX_FINDINGS, "findings")
    else:
        console.print("Nothing looked wrong in what was seen. What was not seen is unknown, not clean.")
    _print_previews(console, result)
    if result.dropped:
        lost = ", ".join(f"{count} {kind}" for kind, count in sorted(result.dropped.items()))
        console.print(f"[yellow]Bounds were reached; dropped: {escape(lost)}.[/yellow]")
    console.print(f"[dim]Done in {words.duration_text(result.elapsed_s)}. Nothing was changed or refused.[/dim]")


def _captures(result: GuardResult) -> Table:
    table = Table(title="Read", title_justify="left", expand=False)
    for name, justify in (("source", "left"), ("packets", "right"), ("bytes", "right"), ("from", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    table.add_column("to")
    table.add_column("could not be read", overflow="fold")
    for report in result.sources:
        data = report.data
        odd = [f"{count} x {reason}" for reason, count in sorted(data.malformed.items(), key=lambda pair: -pair[1])[:4]]
        odd += [f"{count} x link type {link}" for link, count in sorted(data.unknown_links.items())[:4]]
        table.add_row(
            escape(report.source),
            f"{data.packets:,}",
            words.bytes_text(data.bytes),
            words.time_text(data.first),
            words.time_text(data.last),
            escape("; ".join(odd)) or "-",
        )
    return table


def _devices(result: GuardResult) -> Table:
    table = Table(title="Devices", title_justify="left")
    for name in ("device", "address", "what it is", "needs", "profile", "findings"):
        table.add_column(name, overflow="fold")
    for view in result.views[:MAX_DEVICES]:
        table.add_row(*_device_row(view))
    return table


def _device_row(view: DeviceView) -> tuple[str, ...]:
    device = view.device
    macs = device.macs[0] if device.macs else "no hardware address"
    more = f" (+{len(device.macs) - 1} more)" if len(device.macs) > 1 else ""
    address = ", ".join((*device.addresses[:2], macs + more))
    learnt = [acl for acl in view.profile.acls if acl.origin == "learnt"] if view.profile else []
    worst = max((finding.severity for finding in view.findings), default=0)
    finding = f"[{_COLOURS[worst]}]{len(view.findings)} {words.severity_text(worst)}[/]" if worst else "-"
    role = f" ({device.role})" if device.role else ""
    return (
        escape(words.device_name(device)) + role,
        escape(address),
        escape(words.identity_text(device)),
        f"{len(learnt)} entries" if learnt else "-",
        escape(words.settled_text(view.profile)) if view.profile else "-",
        finding,
    )


def _findings(result: GuardResult) -> Table:
    table = Table(title="Findings", title_justify="left")
    for name in ("severity", "what", "device", "why", "times"):
        table.add_column(name, overflow="fold")
    names: dict[str, str] = {view.device.uid: words.device_name(view.device) for view in result.views}
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


def _print_previews(console: Console, result: GuardResult) -> None:
    judged = [view for view in result.views if view.preview and view.preview.flows_judged]
    if not judged:
        return
    table = Table(title="Preview: what the learnt profile would have refused", title_justify="left")
    for name in ("device", "learnt from", "judged", "refused", "bound (95 %)", "reach", "notes"):
        table.add_column(name, overflow="fold")
    for view in judged[:MAX_DEVICES]:
        preview = view.preview
        if preview is not None:
            table.add_row(escape(words.device_name(view.device)), *_preview_row(preview))
    console.print(table)
    _print_rest(console, len(judged), MAX_DEVICES, "previews")


def _preview_row(preview: Preview) -> tuple[str, ...]:
    notes = [*preview.warnings[:2], *(f"not by name: {line}" for line in preview.not_by_name[:2])]
    return (
        f"{preview.flows_learnt} flows",
        f"{preview.flows_judged} flows",
        f"{preview.flows_refused}",
        f"{preview.refused_bound:.1%}",
        f"{preview.reach_before} to {preview.reach_after}",
        escape("; ".join(notes)) or "-",
    )


def _print_rest(console: Console, total: int, shown: int, what: str) -> None:
    if total > shown:
        console.print(f"[dim]... and {total - shown} more {what}; -o json or --html FILE shows all.[/dim]")
