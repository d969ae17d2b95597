"""`python -m thingward.apps.server`: run the server alone, or as the supervisor's child."""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvloop

from thingward.apps.server.process import serving
from thingward.runtime.child import run_child

if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--listen-fd", type=int, default=-1, help="an already bound socket")
    given, rest = parser.parse_known_args()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    sys.exit(run_child("server", serving(given.listen_fd), rest))
