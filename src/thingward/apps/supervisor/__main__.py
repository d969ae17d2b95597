"""`python -m thingward.apps.supervisor`: run the platform in the foreground."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from thingward.apps.supervisor.process import run_platform
from thingward.model.errors import ThingwardError
from thingward.runtime.config import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Read the flags and run until told to stop; gives the exit code."""
    parser = argparse.ArgumentParser(prog="thingward up")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--interface", action="append")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--listen-fd", type=int, default=-1, help="a socket that listens already")
    parser.add_argument("--extra", default="", help="further children as JSON, for the demo")
    given = parser.parse_args(arguments)
    overrides = {
        "data_dir": given.data_dir,
        "sensor.interfaces": tuple(given.interface) if given.interface else None,
        "server.host": given.host,
        "server.port": given.port,
    }
    try:
        settings = load_settings(given.config, overrides=overrides)
        return run_platform(settings, config=given.config, listen_fd=given.listen_fd, extra=given.extra)
    except ThingwardError as error:
        sys.stderr.write(f"thingward: {error}\n")
        return 2 if error.status == 422 else 1


if __name__ == "__main__":
    sys.exit(main())
