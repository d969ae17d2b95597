"""`enforce`: the rules on this host, through the warden while it runs, else directly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, show_one
from thingward.model.action import Outcome
from thingward.runtime.config import Settings, load_settings

Config = Annotated[Path | None, Parameter(help="TOML file with settings.")]
DataDir = Annotated[Path | None, Parameter(help="Folder for everything that is kept.")]
Plain = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"], help="How to print.")]

enforce = App(name="enforce")


@enforce.command(name="status")
def status(*, config: Config = None, data_dir: DataDir = None, output: Plain = "table") -> int:
    """Show what is in force on this host and for how long."""
    from thingward.runtime.enforcement import enforcement_status

    found = enforcement_status(_settings(config, data_dir))
    if output == "json":
        show_one("json", msgspec.to_builtins(found))
        return 0 if found.available else 1
    lines = [f"{found.name}: {'works' if found.available else 'does not work'}"]
    lines += [found.detail] if found.detail else []
    lines.append(f"approved profiles in force: {len(found.devices)}")
    lines += [f"  {uid}: {found.refused.get(uid, 0)} packets refused" for uid in found.devices]
    lines.append(f"shut out: {len(found.quarantined)}")
    lines += [f"  {target}: {left:.0f} s left" for target, left in sorted(found.quarantined.items())]
    lines += [f"not enforced: {line}" for line in found.skipped]
    _print(lines)
    return 0 if found.available else 1


@enforce.command(name="remove-all")
def remove_all(*, config: Config = None, data_dir: DataDir = None, dry_run: DryRun = False) -> int:
    """Remove every rule that thingward ever set, and stay off until `enforce resume`."""
    from thingward.runtime.enforcement import remove_everything
    from thingward.wire.nft import render_remove_all

    if dry_run:
        _print(["would run with nft:", *render_remove_all().splitlines()])
        return 0
    return _told(remove_everything(_settings(config, data_dir)), "everything is removed; `enforce resume` takes it up")


@enforce.command(name="resume")
def resume(*, config: Config = None, data_dir: DataDir = None) -> int:
    """Take up enforcement again after `enforce remove-all`."""
    from thingward.runtime.enforcement import resume_enforcement

    return _told(resume_enforcement(_settings(config, data_dir)), "enforcement is on again")


@enforce.command(name="apply")
def apply(
    file: Annotated[Path, Parameter(help="JSON file with an enforcement state.")],
    *,
    config: Config = None,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
) -> int:
    """Put an enforcement state in force; core replaces it when it next changes something."""
    from thingward.runtime.enforcement import apply_state, plan_state, read_state

    settings, state = _settings(config, data_dir), read_state(file)
    if not dry_run:
        return _told(apply_state(settings, state), "in force")
    plan = plan_state(settings, state)
    sys.stdout.write(plan.text)
    for line in (*(f"not enforced: {text}" for text in plan.skipped), *([plan.trouble] if plan.trouble else [])):
        sys.stderr.write(f"thingward: {line}\n")
    return 1 if plan.trouble else 0


def _told(outcome: Outcome, words: str) -> int:
    worked = outcome.status in ("applied", "undone")
    text = ": ".join(part for part in (words if worked else outcome.status, outcome.detail) if part)
    (sys.stdout if worked else sys.stderr).write(f"{text}\n")
    return 0 if worked else 1


def _print(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _settings(config: Path | None, data_dir: Path | None) -> Settings:
    return load_settings(config, overrides={"data_dir": str(data_dir) if data_dir else None})
