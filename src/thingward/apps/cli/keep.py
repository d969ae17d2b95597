"""`backup`, `restore`, `upgrade`: keeping what the platform knows."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, show_one
from thingward.apps.cli.words import bytes_text, time_text
from thingward.runtime.config import Settings, load_settings

Config = Annotated[Path | None, Parameter(help="TOML file with settings.")]
DataDir = Annotated[Path | None, Parameter(help="Folder for everything that is kept.")]
Plain = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"], help="How to print.")]

upgrade = App(name="upgrade")


def backup(
    file: Annotated[Path, Parameter(help="File to write, for example thingward.tar.gz; it is made owner-only.")],
    *,
    config: Config = None,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
    output: Plain = "table",
) -> int:
    """Write everything that the platform keeps into one file; it may run meanwhile.

    The file holds keys and who talks to whom: keep it as safe as the machine. Exit code 1 if something had to be left out.
    """
    from thingward.runtime.backup import make_backup, plan_backup

    settings = _settings(config, data_dir)
    target = file.absolute()
    if dry_run:
        for name in plan_backup(settings.home, target):
            sys.stdout.write(f"would copy {name}\n")
        return 0
    named = config or (Path(os.environ["THINGWARD_CONFIG"]) if os.environ.get("THINGWARD_CONFIG") else None)
    manifest = make_backup(
        settings.home,
        target,
        now=time.time(),
        settings_file=named,
        elsewhere=_elsewhere(settings),
        say=_say,
    )
    if output == "json":
        show_one("json", msgspec.to_builtins(manifest))
    else:
        size = sum(member.size for member in manifest.members)
        sys.stdout.write(f"{file}: {len(manifest.members)} files, {bytes_text(size)} before packing.\n")
    for line in manifest.left_out:
        sys.stderr.write(f"thingward: left out: {line}\n")
    return 1 if manifest.left_out else 0


def restore(
    file: Annotated[Path, Parameter(help="A file that thingward backup wrote.")],
    *,
    config: Config = None,
    data_dir: DataDir = None,
    force: Annotated[
        bool, Parameter(name="--force", help="Also where data is; it is kept in a folder beside.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Put a backup in the place of the data folder; the platform must not run. All of it, or nothing."""
    from thingward.runtime.restore import restore_backup

    settings = _settings(config, data_dir)
    manifest, kept = restore_backup(file, settings.home.absolute(), now=time.time(), force=force, dry_run=dry_run)
    verb = "would restore" if dry_run else "restored"
    made = f"made {time_text(manifest.time)} UTC by thingward {manifest.version}"
    sys.stdout.write(f"{verb} {len(manifest.members)} files into {settings.home}, {made}.\n")
    if kept is not None:
        sys.stdout.write(f"what was there before is in {kept}; delete it when you do not need it.\n")
    for line in manifest.left_out:
        sys.stderr.write(f"thingward: not in the backup: {line}\n")


@upgrade.default
def check_upgrade(
    *,
    check: Annotated[bool, Parameter(name="--check", help="Only tell; there is nothing else that this command does.")],
    config: Config = None,
    data_dir: DataDir = None,
    output: Plain = "table",
) -> int:
    """Tell what a start of this version would change about your data. Exit code 1 if it would refuse to start."""
    from thingward.runtime.channels import socket_of
    from thingward.runtime.upgrade import check_upgrade

    settings = _settings(config, data_dir)
    report = check_upgrade(settings.home, socket_of(settings, "store"))
    if output == "json":
        show_one("json", msgspec.to_builtins(report))
        return 1 if report.problems else 0
    lines = [f"thingward {report.version}"]
    lines.append(f"tables: data {report.data_schema or 'none'}, this version {report.code_schema}")
    lines += [f"a start would migrate: {step}" for step in report.migrations] or ["a start would migrate nothing"]
    lines += [f"problem: {line}" for line in report.problems]
    lines += report.notes
    if report.changes:
        lines += ["changes in this checkout since its last release:", *(f"  {line}" for line in report.changes)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.problems else 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _settings(config: Path | None, data_dir: Path | None) -> Settings:
    return load_settings(config, overrides={"data_dir": str(data_dir) if data_dir else None})


def _elsewhere(settings: Settings) -> list[str]:
    outside = (("store.control_url", settings.store.control_url), ("store.events_url", settings.store.events_url))
    return [
        f"{name}: it is kept by an engine of its own; back that up with its own tools" for name, url in outside if url
    ]
