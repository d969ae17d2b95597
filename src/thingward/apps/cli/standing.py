"""`status`, `settings`: how the platform is, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, connect, show, show_facts, show_one, show_result
from thingward.apps.cli.words import bytes_text, duration_text, time_text

settings = App(name="settings")


def status(*, output: Output = "table") -> None:
    """Show processes, sources with their blind time, and what is wrong now."""
    found = connect().call("GET", "/status")
    if output != "table":
        show_one(output, found)
        return
    enforcer = found.get("enforcer")
    show_facts(
        {
            "version": found["version"],
            "ready": "yes" if found["ready"] else "no",
            "running since (UTC)": time_text(found["started"]),
            "events kept": bytes_text(found["store_bytes"]),
            "enforcer": _enforcer_text(enforcer) if enforcer else "none on this machine",
        }
    )
    for line in found["problems"]:
        show_facts({"problem": line})
    columns = {"process": "name", "state": "state", "restarts": "restarts", "memory": "memory", "detail": "detail"}
    rows = [{**row, "memory": bytes_text(row["rss_bytes"]) if row["rss_bytes"] else "-"} for row in found["processes"]]
    show(output, rows, columns)
    columns = {"source": "name", "state": "state", "last seen (UTC)": "time:last_seen", "blind in 24 h": "blind"}
    rows = [{**row, "blind": duration_text(row["blind_s"]) if row["blind_s"] else "-"} for row in found["sources"]]
    show(output, rows, {**columns, "dropped": "dropped", "detail": "detail"})


def _enforcer_text(enforcer: Mapping[str, Any]) -> str:
    if not enforcer["available"]:
        return f"{enforcer['name']} cannot act: {enforcer['detail']}"
    return f"{enforcer['name']}, version {enforcer['version']} in force"


@settings.command(name="list")
def list_settings(*, output: Output = "table") -> None:
    """List settings: those of the file, and those that may change while the platform runs."""
    columns = {"name": "name", "value": "value", "may change": "may_change", "meaning": "description"}
    rows = list(connect().pages("/settings"))
    if output == "table":
        rows = [{**row, "may_change": "yes" if row["changeable"] else "at start"} for row in rows]
    show(output, rows, columns)


@settings.command(name="set")
def set_setting(
    name: Annotated[str, Parameter(help="As in `settings list`.")],
    value: str,
    *,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Change a setting that may change while the platform runs."""
    show_result(
        output, connect().call("PUT", f"/settings/{quote(name, safe='')}", body={"value": value}, dry_run=dry_run)
    )
