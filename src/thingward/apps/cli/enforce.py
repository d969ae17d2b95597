"""`enforce`: what is in force on this host, put a state in force, remove everything. Works without the platform."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from thingward.apps.cli.client import DryRun, Output, show_facts, show_one
from thingward.model.action import Outcome
from thingward.runtime.config import Settings, load_settings
from thingward.runtime.enforcement import (
    apply_state,
    enforcement_status,
    plan_state,
    read_state,
    remove_everything,
    resume_enforcement,
)

enforce = App(name="enforce")

DataDir = Annotated[Path | None, Parameter(help="Folder for everything that is kept.")]


@enforce.command(name="status")
def show_status(*, data_dir: DataDir = None, output: Output = "table") -> None:
    """Tell what is in force on this host; without a running platform the kernel is asked directly."""
    found = enforcement_status(_settings(data_dir))
    if output != "table":
        show_one(output, msgspec.to_builtins(found))
        return
    show_facts(
        {
            "enforcer": found.name,
            "can act": "yes" if found.available else f"no: {found.detail}",
            "version in force": str(found.version),
            "shut out": ", ".join(map(str, found.quarantined)) or "nobody",
            "state": found.digest or "-",
        }
    )


@enforce.command(name="remove-all")
def remove_all(*, data_dir: DataDir = None, dry_run: DryRun = False, output: Output = "table") -> int:
    """Remove every rule that thingward ever set, and stay off until `enforce resume`."""
    if dry_run:
        sys.stdout.write("would delete the tables inet thingward and bridge thingward, and stay off until resume\n")
        return 0
    return _told(remove_everything(_settings(data_dir)), output)


@enforce.command(name="resume")
def resume(*, data_dir: DataDir = None, dry_run: DryRun = False, output: Output = "table") -> int:
    """Take up enforcement again after `remove-all`."""
    if dry_run:
        sys.stdout.write("would put the approved state in force again\n")
        return 0
    return _told(resume_enforcement(_settings(data_dir)), output)


@enforce.command(name="apply")
def apply(
    file: Annotated[Path, Parameter(help="Enforcement state as JSON.")],
    *,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
    output: Output = "table",
) -> int:
    """Put a state in force; on dry run show the rules and what the kernel says to them."""
    settings, state = _settings(data_dir), read_state(file)
    if not dry_run:
        return _told(apply_state(settings, state), output)
    plan = plan_state(settings, state)
    sys.stdout.write(plan.text)
    for line in plan.skipped:
        sys.stderr.write(f"left out: {line}\n")
    if plan.trouble:
        sys.stderr.write(f"would fail: {plan.trouble}\n")
    return 1 if plan.trouble else 0


def _settings(data_dir: Path | None) -> Settings:
    return load_settings(overrides={"data_dir": str(data_dir) if data_dir else None})


def _told(outcome: Outcome, output: Output) -> int:
    if output == "table":
        sys.stdout.write(f"{outcome.status}{': ' + outcome.detail if outcome.detail else ''}\n")
    else:
        show_one(output, msgspec.to_builtins(outcome))
    return 0 if outcome.status in ("applied", "undone") else 1
