"""`python -m thingward.apps.sensor`: watch an interface, replay a capture, or compile the packet kernels."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import thingward.runtime.lean  # noqa: F401 - first: it keeps rich out
from thingward.runtime.child import run_child
from thingward.runtime.config import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; gives the exit code."""
    parser = argparse.ArgumentParser(prog="thingward-sensor", add_help=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--interface", help="watch this interface")
    what.add_argument("--replay", type=Path, help="send what this capture holds, as if it happened now")
    what.add_argument("--warm", action="store_true", help="compile the packet kernels and end")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="replay this much faster; 0: at once, with its own times"
    )
    given, rest = parser.parse_known_args(arguments)
    if given.warm:
        return warm()

    async def serve(settings: Settings, stop: asyncio.Event) -> None:
        from thingward.apps.sensor import process  # imports the packet kernels

        if given.interface:
            await process.watch(settings, given.interface, stop)
        else:
            await process.replay(settings, given.replay, given.speed, stop)

    return run_child("sensor", serve, rest)


def warm() -> int:
    """Compile all packet kernels into the cache."""
    import thingward.sensing.sensor  # noqa: F401 - brings the kernels that only it imports
    from thingward.wire.packets.warm import warm as warm_kernels

    warm_kernels()
    return 0


if __name__ == "__main__":
    sys.exit(main())
