"""`python -m thingward.apps.simulator`: run the sample site in this network namespace until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

import thingward.runtime.lean  # noqa: F401 - first: it keeps rich out
from thingward.adapters.link.unix import UnixLinkClient, UnixLinkServer
from thingward.apps.simulator.live import LiveSite
from thingward.apps.simulator.recording import write_attack, write_recording
from thingward.apps.simulator.site import sample_site
from thingward.model.errors import InvalidInput, NotFound, ThingwardError
from thingward.model.packed import unpack
from thingward.ports.link import Frame, Handler, Listener
from thingward.runtime.channels import DEMO
from thingward.runtime.simulated import CHANNEL, NEWS, SimulatorRequest

_requests = msgspec.msgpack.Decoder(SimulatorRequest)
_keys = msgspec.msgpack.Decoder(str)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="thingward-simulator")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=12.0, help="how much faster than the real site")
    parser.add_argument("--socket", type=Path, help="where to listen for commands")
    parser.add_argument("--snippet", type=Path, help="the file that the warden writes for dnsmasq")
    parser.add_argument("--core", type=Path, help="core's socket: the attack button of the console")
    parser.add_argument("--record", type=Path, help="write the days before into this capture, and end")
    parser.add_argument("--record-attack", type=Path, help="write the attack into this capture, and end")
    parser.add_argument("--until", type=float, default=0.0, help="end of the recording, seconds since 1970; now")
    parser.add_argument("--days", type=float, default=5.0, help="length of the recording")
    parser.add_argument("--hold", action="store_true", help="let the devices wait until they are told to begin")
    parser.add_argument("--background", type=float, default=0.0, help="packets per second of extra traffic")
    parser.add_argument("--stand-in", action="store_true", help="do without dnsmasq")
    parser.add_argument("--parent-fd", type=int, default=-1, help="end when this pipe closes")
    return parser.parse_args(arguments)


async def _serve(given: argparse.Namespace) -> None:
    if given.socket is None or given.snippet is None:
        raise InvalidInput("the simulator needs --socket and --snippet.")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if given.parent_fd >= 0:
        loop.add_reader(given.parent_fd, stop.set)
    with tempfile.TemporaryDirectory(prefix="thingward-site-") as folder:
        link = UnixLinkServer(given.socket, name="simulator")
        telling: set[asyncio.Task[int]] = set()

        def tell(at: float, text: str) -> None:
            task = asyncio.create_task(link.push(NEWS, msgspec.msgpack.encode((at, text))))
            telling.add(task)
            task.add_done_callback(telling.discard)

        site = LiveSite(
            sample_site(given.seed), Path(folder), given.snippet, tell, speed=given.speed, stand_in=given.stand_in
        )
        link.serve(CHANNEL, _handler(site))
        core = UnixLinkClient(given.core, name="simulator") if given.core else None
        try:
            await site.build()
            if core is not None:
                core.subscribe(DEMO, _attacker(site))
                await core.start()
            if given.background:
                site.background(given.background)
            await link.start()
            if not given.hold:
                await site.begin()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await stop.wait()
        finally:
            if core is not None:
                await core.close()
            await link.close()
            await site.close()


def _handler(site: LiveSite) -> Handler:
    async def handle(peer: str, frame: Frame) -> Frame:
        request = unpack(_requests, frame.body, "a request to the simulator")
        if request.step == "begin":
            await site.begin()
        elif request.step == "attack":
            site.attack(request.device)
        elif request.step == "beat":
            site.beat(request.device)
        elif request.step == "calm":
            site.calm()
        body = msgspec.msgpack.encode(site.report())
        return Frame(kind="answer", sequence=frame.sequence, channel=CHANNEL, body=body)

    return handle


def _attacker(site: LiveSite) -> Listener:
    async def start(body: bytes) -> None:
        with contextlib.suppress(NotFound, InvalidInput):
            site.attack(unpack(_keys, body, "a device's key"))

    return start


def _record(given: argparse.Namespace) -> None:
    site, until = sample_site(given.seed), given.until or time.time()
    if given.record:
        sys.stdout.write(f"{write_recording(site, given.record, until=until, days=given.days)} packets\n")
    if given.record_attack:
        sys.stdout.write(f"{write_attack(site, given.record_attack, at=until)} packets\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the sample site; gives the exit code."""
    given = _parse(arguments)
    try:
        if given.record or given.record_attack:
            _record(given)
        else:
            asyncio.run(_serve(given))
    except ThingwardError as error:
        sys.stderr.write(f"thingward-simulator: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
