"""`up`, `demo`, `warm`: start the platform's own processes; apps never import one another, they are executed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def up(
    *,
    config: Annotated[Path | None, Parameter(help="TOML file with settings.")] = None,
    data_dir: Annotated[Path | None, Parameter(help="Folder for everything that is kept.")] = None,
    interface: Annotated[list[str] | None, Parameter(help="Interface to watch; may be given again.")] = None,
    host: Annotated[str | None, Parameter(help="Address of console and API; anything but loopback uses TLS.")] = None,
    port: Annotated[int | None, Parameter(help="Port of console and API.")] = None,
) -> None:
    """Run the whole platform in the foreground; the first address printed is the console's."""
    arguments: list[str] = []
    for flag, value in (("--config", config), ("--data-dir", data_dir), ("--host", host), ("--port", port)):
        if value is not None:
            arguments += [flag, str(value)]
    for name in interface or []:
        arguments += ["--interface", name]
    execute("thingward.apps.supervisor", arguments)


def demo(
    *,
    attack: Annotated[
        bool, Parameter(help="Let one simulated device turn Mirai-like after the site has settled.")
    ] = False,
    seed: Annotated[int, Parameter(help="Seed of the simulated site.")] = 1,
    port: Annotated[int | None, Parameter(help="Port of the console.")] = None,
) -> None:
    """Show the main job on a simulated site: real sockets in network namespaces, plainly labelled as simulated."""
    arguments = [
        "--seed",
        str(seed),
        *(["--attack"] if attack else []),
        *(["--port", str(port)] if port is not None else []),
    ]
    execute("thingward.apps.demo", arguments)


def warm() -> None:
    """Compile the packet kernels once, so that nobody waits for a compiler later; part of set-up."""
    execute("thingward.apps.sensor", ["--warm"])


def execute(module: str, arguments: list[str]) -> None:
    """Become another process of the platform; does not return."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - our own interpreter, no shell
