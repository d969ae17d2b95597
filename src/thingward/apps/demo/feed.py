"""`python -m thingward.apps.demo.feed`: read a capture as a sensor would and send what was seen to core."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from thingward.adapters.link.unix import UnixLinkClient
from thingward.model.codec import encode_batch
from thingward.model.errors import ThingwardError
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.observation import Observation
from thingward.model.record import Record
from thingward.runtime.channels import OBSERVATIONS
from thingward.sensing.sensor import Sensor
from thingward.wire.capture_read import CaptureReader

BATCH: Final = 2000
POLL_S: Final = 0.02
SOURCE: Final = "recording (simulated)"


def observations(path: Path, site: str) -> Iterator[list[Observation]]:
    """Read a capture into batches of observations, in the order of time."""
    producer = f"recording:{path.stem}"
    sensor = Sensor(source=SOURCE, producer=producer, tenant=DEFAULT_TENANT, site=site)
    waiting: list[Observation] = []
    with path.open("rb") as stream:
        reader = CaptureReader(stream, uid=producer)
        for batch in reader:
            waiting += _only(sensor.feed(batch, 0.0).records)
            while len(waiting) >= BATCH:
                yield waiting[:BATCH]
                del waiting[:BATCH]
        waiting += _only(sensor.finish(0.0, file=SOURCE, format=reader.format, problem=reader.problem).records)
    yield waiting


def _only(records: Sequence[Record]) -> list[Observation]:
    return [record for record in records if isinstance(record, Observation)]


async def send(path: Path, core: Path, site: str, *, pace: bool) -> int:
    """Send all of it and wait until core holds it; with `pace` nothing is sent before its time has come."""
    link = UnixLinkClient(core, name="recording")
    await link.start()
    sent = 0
    try:
        if pace:
            sent = await _send_paced(link, path, site)
        else:
            for batch in observations(path, site):
                sent += len(batch)
                await _send(link, batch)
    finally:
        await link.close()
    return sent


async def _send(link: UnixLinkClient, batch: Sequence[Observation]) -> None:
    if not batch:
        return
    number = await link.send(OBSERVATIONS, encode_batch(batch))
    while await link.acknowledged() < number:  # noqa: ASYNC110 - the port tells the number, and no event
        await asyncio.sleep(POLL_S)


async def _send_paced(link: UnixLinkClient, path: Path, site: str) -> int:
    known = sorted((item for batch in observations(path, site) for item in batch), key=lambda item: item.time)
    at = 0
    while at < len(known):
        now, end = time.time(), at
        while end < len(known) and end - at < BATCH and known[end].time <= now:
            end += 1
        await _send(link, known[at:end])
        at = end
        await asyncio.sleep(10 * POLL_S)
    return at


def main(arguments: list[str] | None = None) -> int:
    """Send one capture; gives the exit code."""
    parser = argparse.ArgumentParser(prog="thingward-demo-feed")
    parser.add_argument("file", type=Path)
    parser.add_argument("--core", type=Path, required=True)
    parser.add_argument("--site", required=True)
    parser.add_argument("--pace", action="store_true")
    given = parser.parse_args(arguments)
    try:
        sent = asyncio.run(send(given.file, given.core, given.site, pace=given.pace))
    except ThingwardError as error:
        sys.stderr.write(f"thingward-demo-feed: {error}\n")
        return 1
    sys.stdout.write(f"{sent}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
