"""The shell of one process of the platform: settings, signals, and an end when the supervisor is gone."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from thingward.model.errors import InvalidInput, ThingwardError
from thingward.runtime.config import Settings, load_settings
from thingward.runtime.logs import configure_logging

Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]


def run_child(name: str, serve: Serve, arguments: Sequence[str] | None = None) -> int:
    """Run one process until it is told to stop; gives its exit code.

    `--parent-fd` is the reading end of a pipe that the supervisor holds open: when it closes, this process ends.
    """
    parser = argparse.ArgumentParser(prog=f"thingward-{name}")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--parent-fd", type=int, default=-1)
    given = parser.parse_args(arguments)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data_dir = str(given.data_dir) if given.data_dir else None
    try:
        settings = load_settings(given.config, overrides={"data_dir": data_dir})
        configure_logging(settings.log_level)
        _make_home(settings.home)
        asyncio.run(_serve(serve, settings, given.parent_fd))
    except ThingwardError as error:
        sys.stderr.write(f"thingward-{name}: {error}\n")
        return 1
    return 0


def _make_home(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = "Choose another one with --data-dir or THINGWARD_DATA_DIR."
        raise InvalidInput(f"the data folder {home} cannot be made: {error.strerror}.", hint=hint) from error


async def _serve(serve: Serve, settings: Settings, parent_fd: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent_fd >= 0:
        os.set_blocking(parent_fd, False)
        loop.add_reader(parent_fd, _watch, parent_fd, stop)
    await serve(settings, stop)


def _watch(parent_fd: int, stop: asyncio.Event) -> None:
    try:
        if os.read(parent_fd, 64):
            return
    except BlockingIOError:
        return
    except OSError:
        pass
    asyncio.get_running_loop().remove_reader(parent_fd)
    stop.set()
