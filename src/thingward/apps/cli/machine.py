"""`doctor` and `upgrade`: about this machine and this version."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from thingward.runtime.config import load_settings

_MARKS = {"ok": "[green]ok[/green]  ", "warn": "[yellow]less[/yellow]", "fail": "[red]no[/red]  "}


def doctor(
    *,
    config: Annotated[Path | None, Parameter(help="TOML file with settings.")] = None,
    data_dir: Annotated[Path | None, Parameter(help="Folder for everything that is kept.")] = None,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"], help="How to print.")] = "table",
) -> int:
    """Tell what works on this machine, what does not, why, and how to mend it. Exit code 1 if something must be mended."""
    from thingward.runtime.doctor import examine

    settings = load_settings(config, overrides={"data_dir": str(data_dir) if data_dir else None})
    checks = list(examine(settings))
    if output == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(checks), indent=1).decode() + "\n")
    else:
        console = Console(soft_wrap=True)
        for check in checks:
            console.print(f"{_MARKS[check.verdict]}  {escape(check.name)}: {escape(check.found)}")
            if check.means:
                console.print(f"        means: {escape(check.means)}")
            if check.mend:
                console.print(f"        mend:  {escape(check.mend)}")
    return 1 if any(check.verdict == "fail" for check in checks) else 0


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")] = "bash") -> None:
    """Print the shell's completion script: `thingward completion bash > ~/.local/share/bash-completion/completions/thingward`."""
    from thingward.apps.cli.app import app

    sys.stdout.write(app.generate_completion(shell=shell))
