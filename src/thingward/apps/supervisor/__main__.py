"""`python -m thingward.apps.supervisor`: the whole platform in the foreground, as `make up` starts it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import thingward.runtime.lean  # noqa: F401 - first: it keeps rich out
from thingward.apps.supervisor.platform import Platform, only_one
from thingward.model.errors import ThingwardError
from thingward.runtime.config import load_settings
from thingward.runtime.data_folder import close_to_others
from thingward.runtime.logs import configure_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until interrupted; gives the exit code."""
    parser = argparse.ArgumentParser(prog="thingward up")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--interface", action="append")
    parser.add_argument("--listen-fd", type=int, help="an already bound socket for the console")
    given = parser.parse_args(arguments)
    overrides = {
        "data_dir": str(given.data_dir.absolute()) if given.data_dir else None,
        "server.host": given.host,
        "server.port": given.port,
        "sensor.interfaces": tuple(given.interface) if given.interface else None,
    }
    os.umask(0o077)
    try:
        settings = load_settings(given.config, overrides=overrides)
        configure_logging(settings.log_level)
        listener = socket.socket(fileno=given.listen_fd) if given.listen_fd is not None else None
        environment = _as_environment(overrides)
        close_to_others(settings.home, _say)
        with only_one(settings):
            platform = Platform(settings, say=_say, environment=environment, config=given.config, listener=listener)
            asyncio.run(_run(platform))
    except ThingwardError as error:
        sys.stderr.write(f"thingward: {error}\n")
        return 1
    return 0


async def _run(platform: Platform) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    await platform.run(stop)


def _as_environment(overrides: dict[str, object]) -> dict[str, str]:
    """Give flags in the form in which children read them."""
    found = {}
    for name, value in overrides.items():
        if value is not None:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            found[f"THINGWARD_{name.upper().replace('.', '__')}"] = text
    return found


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
