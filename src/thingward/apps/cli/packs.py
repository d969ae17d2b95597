"""`pack`: lists of known-bad addresses, names and fingerprints that somebody else keeps."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, show
from thingward.model.errors import InvalidInput
from thingward.runtime.config import load_settings

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
    """Import lists of indicators. A list of the same name is replaced; core uses them from its next start."""
    from thingward.runtime.packs import import_pack, read_pack

    if not files:
        raise InvalidInput("name at least one list.", hint="See thingward pack import --help.")
    if name and len(files) > 1:
        raise InvalidInput("--name goes with one list.")
    home = _home(data_dir)
    verb = "would import" if dry_run else "imported"
    for file in files:
        found, digest = read_pack(file, name=name, confidence=confidence)
        info = import_pack(home, found, digest, now=time.time(), dry_run=dry_run)
        sys.stdout.write(f"{verb} {info.name}: {info.count} indicators, {info.refused} lines were none.\n")
        for line in found.refused[:SHOWN]:
            sys.stderr.write(f"  {file}, {line}\n")
        if found.refused_count > SHOWN:
            sys.stderr.write(f"  {file}: and {found.refused_count - SHOWN} more that are no indicators\n")
    if not dry_run:
        sys.stdout.write("A platform that runs uses them after its next start.\n")


@pack.command(name="list")
def list_lists(*, data_dir: DataDir = None, output: Output = "table") -> None:
    """List imported packs with their age and size."""
    from thingward.runtime.packs import list_packs, packs_text

    infos, now = list_packs(_home(data_dir)), time.time()
    rows = [{**msgspec.to_builtins(info), "age_days": round((now - info.imported) / 86400, 1)} for info in infos]
    columns = {
        "name": "name",
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
    """Forget a pack; core goes on with it until its next start."""
    from thingward.runtime.packs import remove_pack

    info = remove_pack(_home(data_dir), name, dry_run=dry_run)
    sys.stdout.write(f"{'would remove' if dry_run else 'removed'} {info.name}, {info.count} indicators.\n")


def _home(data_dir: Path | None) -> Path:
    return load_settings(overrides={"data_dir": str(data_dir) if data_dir else None}).home
