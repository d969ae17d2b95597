"""`site`: sites and their figures, approval and export of a whole site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, connect, show, show_one, show_result

site = App(name="site")

Name = Annotated[str, Parameter(help="Name of the site.")]


@site.command(name="list")
def list_sites(*, output: Output = "table") -> None:
    """List sites with their figures; unknown devices are counted apart."""
    columns = {
        "site": "name",
        "devices": "devices",
        "unknown": "unknown",
        "observed": "observed",
        "enforced": "enforced",
        "quarantined": "quarantined",
        "open cases": "open_cases",
        "last seen (UTC)": "time:last_seen",
    }
    show(output, list(connect().pages("/sites")), columns)


@site.command(name="show")
def show_site(name: Name, *, output: Output = "json") -> None:
    """Show one site with its figures."""
    show_one(output, connect().call("GET", f"/sites/{quote(name, safe='')}"))


@site.command(name="approve")
def approve_site(
    name: Name,
    *,
    comment: str = "",
    include_unsettled: Annotated[bool, Parameter(help="Also profiles that have not settled.")] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Put the learnt profiles of all devices of a site in force: what no entry allows is refused from then on."""
    body = {"scope": "site", "target": name, "comment": comment, "include_unsettled": include_unsettled}
    show_result(output, connect().call("POST", "/approvals", body=body, dry_run=dry_run))


@site.command(name="export")
def export_site(
    name: Name,
    *,
    form: Annotated[
        Literal["nftables", "openwrt", "dnsmasq"], Parameter(name=["--format", "-f"], help="Which form.")
    ] = "nftables",
    device: Annotated[
        list[str] | None, Parameter(help="Uid of a device: only this one; may be given again. Default: all.")
    ] = None,
    to: Annotated[Path | None, Parameter(help="File to write; standard output if not given.")] = None,
) -> None:
    """Export the approved profiles of a site's devices in one file for another router."""
    params = {"form": form, "device": device or ()}
    write_export(connect().raw("GET", f"/sites/{quote(name, safe='')}/export", params=params), to)


def write_export(content: bytes, to: Path | None) -> None:
    """Write a file that was asked for, to standard output if no name was given."""
    if to is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        to.write_bytes(content)
