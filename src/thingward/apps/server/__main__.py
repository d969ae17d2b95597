"""`python -m thingward.apps.server --listen-fd N`: run the server, as the supervisor's child."""

from __future__ import annotations

import asyncio
import socket
import sys

import thingward.runtime.lean  # noqa: F401 - first: it keeps rich out
from thingward.apps.server.process import serve
from thingward.runtime.child import run_child
from thingward.runtime.config import Settings


def main(arguments: list[str] | None = None) -> int:
    """Take the listener from the arguments, then run as any child does."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    listener = socket.socket(fileno=_take_number(given, "--listen-fd"))

    async def run(settings: Settings, stop: asyncio.Event) -> None:
        await serve(settings, listener, stop)

    return run_child("server", run, given)


def _take_number(arguments: list[str], flag: str) -> int:
    place = arguments.index(flag)
    number = int(arguments[place + 1])
    del arguments[place : place + 2]
    return number


if __name__ == "__main__":
    sys.exit(main())
