"""`pack`: lists of known-bad addresses, names and fingerprints that somebody else keeps."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from thingward.apps.cli.client import Client, DryRun, Output, connect, show, show_result
from thingward.model.errors import InvalidInput, Unavailable
from thingward.runtime.config import load_settings
from thingward.runtime.local_access import read_local_access
from thingward.runtime.pack_info import PackInfo

pack = App(name="pack")
#: Lines of one list that are shown with why they are no indicators.
SHOWN = 5
DataDir = Annotated[Path | None, Parameter(help="Folder for everything that is kept.")]


@pack.command(name="import")
def import_lists(
    *files: Annotated[Path, Parameter(help="Plain list, CSV, or STIX 2 bundle.")],
    name: Annotated[str, Parameter(help="Name in findings; default is the file's.")] = "",
    confidence: Annotated[float, Parameter(help="How far the list is trusted, 0 to 1.")] = 0.8,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
) -> None:
    """Import lists of indicators. A list of the same name is replaced; a platform that runs looks for them at once."""
    from thingward.runtime.packs import import_pack, read_pack

    if not files:
        raise InvalidInput("name at least one list.", hint="See thingward pack import --help.")
    if name and len(files) > 1:
        raise InvalidInput("--name goes with one list.")
    home, there = _home(data_dir), _elsewhere()
    verb = "would import" if dry_run else "imported"
    for file in files:
        found, digest = read_pack(file, name=name, confidence=confidence)
        if there is None:
            import_pack(home, found, digest, now=time.time(), dry_run=dry_run)
        else:
            params = {"name": found.name, "confidence": confidence}
            there.raw("POST", "/packs", params=params, content=file.read_bytes(), dry_run=dry_run)
        sys.stdout.write(
            f"{verb} {found.name}: {len(found.indicators)} indicators, {found.refused_count} lines left out.\n"
        )
        for line in found.refused[:SHOWN]:
            sys.stderr.write(f"  {file}, {line}\n")
        if found.refused_count > SHOWN:
            sys.stderr.write(f"  {file}: and {found.refused_count - SHOWN} more that are left out\n")
    if not dry_run and there is None:
        _tell_platform(data_dir)


@pack.command(name="list")
def list_lists(*, data_dir: DataDir = None, output: Output = "table") -> None:
    """List imported packs with their age and size."""
    from thingward.runtime.packs import list_packs, packs_text

    now, there = time.time(), _elsewhere()
    if there is not None:
        infos = [msgspec.convert({"digest": row["version"], **row}, PackInfo) for row in there.pages("/packs")]
    else:
        infos = list_packs(_home(data_dir))
    rows = [
        {**msgspec.to_builtins(info), "version": info.version, "age_days": round((now - info.imported) / 86400, 1)}
        for info in infos
    ]
    columns = {
        "name": "name",
        "version": "version",
        "indicators": "count",
        "not read": "refused",
        "confidence": "confidence",
        "imported (UTC)": "time:imported",
        "age in days": "age_days",
    }
    show(output, rows, columns)
    if output == "table":
        sys.stdout.write(packs_text(infos, now) + ".\n")


@pack.command(name="remove")
def remove_list(name: str, *, data_dir: DataDir = None, dry_run: DryRun = False) -> None:
    """Forget a pack; a platform that runs stops looking for it at once."""
    from thingward.runtime.packs import remove_pack

    if (there := _elsewhere()) is not None:
        show_result("table", there.call("DELETE", f"/packs/{name}", dry_run=dry_run))
        return
    info = remove_pack(_home(data_dir), name, dry_run=dry_run)
    sys.stdout.write(f"{'would remove' if dry_run else 'removed'} {info.name}, {info.count} indicators.\n")
    if not dry_run:
        _tell_platform(data_dir)


def _elsewhere() -> Client | None:
    """Give the platform that the environment names, None for the one of the data folder."""
    return connect() if os.environ.get("THINGWARD_URL") else None


def _tell_platform(data_dir: Path | None) -> None:
    """Let the platform of this data folder load its packs anew, if one runs."""
    settings = load_settings(overrides={"data_dir": str(data_dir) if data_dir else None})
    access = read_local_access(settings.run_dir)
    if access is None:
        sys.stdout.write("No platform runs here: the next one that starts goes by this.\n")
        return
    try:
        Client(access.url, access.token, access.ca_file).call("POST", "/packs/reload")
    except Unavailable:
        sys.stdout.write("The platform does not answer: it goes by this after its next start.\n")
        return
    sys.stdout.write("The platform that runs goes by this now.\n")


def _home(data_dir: Path | None) -> Path:
    return load_settings(overrides={"data_dir": str(data_dir) if data_dir else None}).home
