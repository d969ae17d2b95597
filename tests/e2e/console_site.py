"""The console on the sample site, for development: `python -m tests.e2e.console_site [--empty] [--port 8090]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from pathlib import Path

import uvicorn

from tests.unit.apps.server.sample import NOW, ROWS, attack, empty_site, link_secret, sample_site, uid_endpoint
from tests.unit.apps.server.site import options_for
from tests.unit.apps.server.tiny_core import TinyCore
from thingward.apps.server.app import create_app
from thingward.model.observation import Endpoint


async def chatter(core: TinyCore) -> None:
    """Let events pass, so that the live page lives."""
    from tests.unit.apps.server.sample import _flow

    rng = random.Random(1)
    while True:
        await asyncio.sleep(rng.expovariate(1.5))
        row = ROWS[rng.randrange(1, 21)]
        cloud = row[8][0] if row[8] else "time.example"
        there = Endpoint(ip="203.0.113.9", port=443, names=(cloud,))
        core.take([_flow(uid_endpoint(row[0]), there, core.time, 6, 443, rng.randrange(9000), 9000, "tls", cloud)])


async def serve(port: int, empty: bool, demo: bool) -> None:
    """Serve until interrupted."""
    core = empty_site() if empty else sample_site()
    started = time.time()
    core.now = lambda: NOW + time.time() - started  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        options = options_for(Path(folder), demo=demo)
        server = uvicorn.Server(uvicorn.Config(create_app(core, options), port=port, log_level="warning"))
        print(f"http://127.0.0.1:{port}/login/{link_secret(core)}", flush=True)
        task = asyncio.create_task(tick(core))
        talk = asyncio.create_task(chatter(core))
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve()
        task.cancel()
        talk.cancel()


async def tick(core: TinyCore) -> None:
    """Move the core's clock."""
    while True:
        core.time = core.now()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--empty", action="store_true")
    parser.add_argument("--demo", action="store_true")
    given = parser.parse_args()
    assert attack
    asyncio.run(serve(given.port, given.empty, given.demo))
