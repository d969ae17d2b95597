"""`python -m thingward.apps.simulator`: run the sample site in this network namespace until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from thingward.adapters.link.unix import UnixLinkServer
from thingward.apps.simulator.live import LiveSite
from thingward.apps.simulator.site import sample_site
from thingward.model.errors import InvalidInput, ThingwardError
from thingward.ports.link import Frame, Handler
from thingward.runtime.simulated import CHANNEL, SimulatorRequest


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="thingward-simulator")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=12.0, help="how much faster than the real site")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen for commands")
    parser.add_argument("--snippet", type=Path, required=True, help="the file that the warden writes for dnsmasq")
    parser.add_argument("--background", type=float, default=0.0, help="packets per second of extra traffic")
    parser.add_argument("--stand-in", action="store_true", help="do without dnsmasq")
    parser.add_argument("--parent-fd", type=int, default=-1, help="end when this pipe closes")
    return parser.parse_args(arguments)


async def _serve(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if given.parent_fd >= 0:
        loop.add_reader(given.parent_fd, stop.set)
    with tempfile.TemporaryDirectory(prefix="thingward-site-") as folder:
        site = LiveSite(
            sample_site(given.seed), Path(folder), given.snippet, speed=given.speed, stand_in=given.stand_in
        )
        link = UnixLinkServer(given.socket, name="simulator")
        link.serve(CHANNEL, _handler(site))
        try:
            await site.start()
            if given.background:
                site.background(given.background)
            await link.start()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await stop.wait()
        finally:
            await link.close()
            await site.close()


def _handler(site: LiveSite) -> Handler:
    async def handle(peer: str, frame: Frame) -> Frame:
        try:
            request = msgspec.msgpack.decode(frame.body, type=SimulatorRequest)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"not a request to the simulator: {error}") from error
        if request.step == "attack":
            site.attack(request.device)
        elif request.step == "beat":
            site.beat(request.device)
        elif request.step == "calm":
            site.calm()
        body = msgspec.msgpack.encode(site.report())
        return Frame(kind="answer", sequence=frame.sequence, channel=CHANNEL, body=body)

    return handle


def main(arguments: list[str] | None = None) -> int:
    """Run the sample site; gives the exit code."""
    try:
        asyncio.run(_serve(_parse(arguments)))
    except ThingwardError as error:
        sys.stderr.write(f"thingward-simulator: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
