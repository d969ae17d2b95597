"""`capture`: captures that the platform judges in a bounded child process, as when dropped on the console."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from thingward.apps.cli.client import Client, DryRun, Output, connect, show, show_one, show_result
from thingward.apps.cli.naming import named
from thingward.apps.cli.words import bytes_text
from thingward.model.errors import InvalidInput

capture = App(name="capture")
POLL_S = 0.5

Uid = Annotated[str, Parameter(help="Uid of the capture.")]


@capture.command(name="list")
def list_captures(*, output: Output = "table") -> None:
    """List captures and what came of them, newest first."""
    client = connect()
    _show(client, output, list(client.pages("/captures")))


@capture.command(name="upload")
def upload(
    file: Annotated[Path, Parameter(help="Capture: pcap, pcapng, .gz.")],
    *,
    name: Annotated[str, Parameter(help="What to call it; default is the file's name.")] = "",
    wait: Annotated[bool, Parameter(help="Wait until it is judged.")] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Send a capture to the platform, which judges it as `guard` does; nothing is imported yet."""
    if not file.is_file():
        raise InvalidInput(f"{file} is no file.")
    if dry_run:
        plan = f"send {file} ({bytes_text(file.stat().st_size)}) to be judged"
        show_result(output, {"dry_run": True, "plan": [plan]})
        return
    client = connect()
    found = client.send_file("/captures", file, params={"name": name or file.name})
    while wait and found["state"] in ("waiting", "running"):
        time.sleep(POLL_S)
        found = client.call("GET", f"/captures/{found['uid']}")
    _show(client, output, [found])


@capture.command(name="show")
def show_capture(
    uid: Uid, *, result: Annotated[bool, Parameter(help="What it showed, in full.")] = False, output: Output = "json"
) -> None:
    """Show how far a capture is, or what it showed."""
    show_one(output, connect().call("GET", f"/captures/{uid}{'/result' if result else ''}"))


@capture.command(name="import")
def import_capture(uid: Uid, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Hand what a capture taught to the platform: devices, profiles, findings."""
    show_result(output, connect().call("POST", f"/captures/{uid}/import", dry_run=dry_run))


@capture.command(name="delete")
def delete_capture(uid: Uid, *, dry_run: DryRun = False, output: Output = "table") -> None:
    """Forget a capture and its result; what was imported stays."""
    client = connect()
    found = client.call("GET", f"/captures/{uid}")
    if not dry_run:
        client.call("DELETE", f"/captures/{uid}")
    show_result(output, {"dry_run": dry_run, "plan": [f"capture {found['name']} and its result forgotten"]})


def _show(client: Client, output: Output, rows: list[dict[str, Any]]) -> None:
    columns = {
        "uid": "uid",
        "name": "name",
        "state": "state",
        "imported": "imported",
        "size": "size_bytes",
        "by": "by",
        "what was wrong": "error",
    }
    show(output, named(client, output, rows, person="by"), columns)
