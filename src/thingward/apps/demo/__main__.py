"""`python -m thingward.apps.demo`: run the demo in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
from pathlib import Path

from thingward.apps.demo.launch import (
    Demo,
    DemoPlan,
    bind_console,
    enter_site,
    remove_folder,
    stop_on_signals,
    what_forbids_it,
    write_settings,
)
from thingward.model.errors import ThingwardError
from thingward.runtime.config import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; gives the exit code."""
    parser = argparse.ArgumentParser(prog="thingward demo")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attack", action="store_true")
    parser.add_argument("--port", type=int, default=Settings().server.port)
    parser.add_argument("--replay", action="store_true", help="replay a recording even where live devices could be")
    parser.add_argument("--skip-past", action="store_true", help="begin without the recorded days")
    parser.add_argument("--data-dir", type=Path, help="keep the demo's data here; else it is removed at the end")
    parser.add_argument("--background", type=float, default=0.0, help="packets per second of extra traffic")
    given = parser.parse_args(arguments)
    try:
        console = bind_console("127.0.0.1", given.port)
        why = "it was asked for" if given.replay else what_forbids_it()
        plan = DemoPlan(
            seed=given.seed, attack=given.attack, replay=why, skip_past=given.skip_past, background=given.background
        )
        if not why:
            enter_site()
        folder = given.data_dir or Path(tempfile.mkdtemp(prefix="thingward-demo-"))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return asyncio.run(_run(plan, folder, console))
        finally:
            if given.data_dir is None:
                remove_folder(folder)
    except ThingwardError as error:
        sys.stderr.write(f"thingward demo: {error}\n")
        return 1


async def _run(plan: DemoPlan, folder: Path, console: socket.socket) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)
    settings = write_settings(folder, plan, port=console.getsockname()[1])
    return await Demo(plan, settings, console, _say).run(stop)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
