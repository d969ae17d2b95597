"""The sensor against nfstream: one merged capture of more than a million packets, one core, start-up left out.

The capture is made of all of iot-sentinel (232 set-ups of 24 kinds of devices), fit-iot-dataset (three smart homes
over days) and mqttset-reduced (benign and attacks), five times with other hardware and private addresses, each
capture moved to begin within the same day, all packets in order of time. Cooked captures get Ethernet headers,
because nfstream reads one link type per file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.harness import Bench, NotHere, Pair, benchmark, rate, seconds
from thingward.model.columns import NO_MAC
from thingward.wire.capture_read import CaptureReader
from thingward.wire.capture_write import CapturedPacket, pcap_header, pcap_record

SETS = ("iot-sentinel", "fit-iot-dataset", "mqttset-reduced")
COPIES = 5
START_NS = 1_700_000_000_000_000_000
DAY_NS = 86_400_000_000_000
HEADER = 16


class _Records:
    """All packets of the sets as pcap records in one buffer, with the places of what is re-addressed."""

    def __init__(self, data: Path) -> None:
        from thingward.wire.packets.parse import PacketParser

        self._parser = PacketParser()
        parts: list[bytes] = []
        times: list[Any] = []
        files = sorted(path for name in SETS for path in (data / name).rglob("*.pcap*"))
        if not files:
            raise NotHere("the shared captures")
        for index, path in enumerate(files):
            self._take(path, START_NS + DAY_NS * index // len(files), parts, times)
        self.buffer = np.frombuffer(b"".join(parts), np.uint8)
        self.sizes = np.array([len(part) for part in parts], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self.times = np.concatenate(times)
        self.rows = self._parse()

    def _take(self, path: Path, begin_ns: int, parts: list[bytes], times: list[Any]) -> None:
        first = None
        with path.open("rb") as stream:
            for batch in CaptureReader(stream):
                first = int(batch.ts_ns.min()) if first is None else first
                moved = batch.ts_ns - first + begin_ns
                times.append(moved)
                for at, size, wire, link, ts in zip(
                    batch.offset.tolist(), batch.caplen.tolist(), batch.wirelen.tolist(), batch.link.tolist(),
                    moved.tolist(), strict=True,
                ):  # fmt: skip
                    frame = batch.data[at : at + size].tobytes()
                    if link == 113:
                        frame, wire = bytes(6) + frame[6:12] + frame[14:], wire - 2
                    parts.append(pcap_record(CapturedPacket(ts, frame, wire)))

    def _parse(self) -> Any:
        """Find addresses by parsing the frames where they lie in the buffer."""
        from thingward.model.columns import PacketBatch

        count = len(self.starts)
        sizes = (self.sizes - HEADER).astype(np.int32)
        link = np.ones(count, np.int32)
        batch = PacketBatch(self.buffer, self.starts + HEADER, sizes, sizes, self.times, link)
        rows = np.concatenate([columns.rows for columns in self._parser.parse(batch)])
        return rows[rows["depth"] == 0]

    def copy(self, number: int) -> list[memoryview]:
        """Give all records with the addresses of the n-th copy; copy 0 is as it was."""
        buffer = self.buffer.copy()
        if number:
            frames = self.starts + HEADER
            for place, name in ((0, "dst_mac"), (6, "src_mac")):
                is_one = (self.rows[name] < NO_MAC) & (self.rows[name] >> np.uint64(40) & np.uint64(1) == 0)
                buffer[frames[is_one] + place + 3] ^= number
            self._move_addresses(buffer, number)
        view = memoryview(buffer)
        return [view[at : at + size] for at, size in zip(self.starts.tolist(), self.sizes.tolist(), strict=True)]

    def _move_addresses(self, buffer: Any, number: int) -> None:
        is_ip4 = (self.rows["ip_version"] == 4) & (self.rows["payload"] > 0)
        frames = self.starts + HEADER + np.where(self.rows["vlan"] > 0, 4, 0)
        for place, name in ((26, "src_lo"), (30, "dst_lo")):
            address = self.rows[name] & np.uint64(0xFFFFFFFF)
            private = (address >> np.uint64(24) == 10) | (address >> np.uint64(16) == 0xC0A8)
            at = frames[is_ip4 & private] + place
            buffer[at] = 10
            buffer[at + 1] = 100 + number


@cache
def merged_capture(data: Path, folder: Path) -> tuple[Path, int]:
    """Write the merged capture; gives its path and number of packets."""
    folder.mkdir(parents=True, exist_ok=True)
    records = _Records(data)
    pieces: list[memoryview] = []
    for number in range(COPIES):
        pieces += records.copy(number)
    order = np.argsort(np.tile(records.times, COPIES), kind="stable")
    path = folder / "merged.pcap"
    with path.open("wb") as out:
        out.write(pcap_header(nanoseconds=True))
        chosen = order.tolist()
        for start in range(0, len(chosen), 65536):
            out.write(b"".join(pieces[index] for index in chosen[start : start + 65536]))
    return path, len(pieces)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and its children on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def nfstream_flows(path: Path) -> int:
    """Let nfstream meter a capture in its fastest setting: one meter, no statistics, no dissection."""
    try:
        from nfstream import NFStreamer
    except ImportError as error:
        raise NotHere("nfstream") from error
    streamer = NFStreamer(
        source=str(path), n_meters=1, statistical_analysis=False, n_dissections=0, splt_analysis=0, accounting_mode=0
    )
    return sum(1 for _ in streamer)


def nfstream_rate(path: Path, packets: int, tiny: Path) -> float:
    """Packets per second of nfstream, with the time that it needs for a capture of one packet taken off."""
    start_up = seconds(lambda: nfstream_flows(tiny))
    return packets / max(seconds(lambda: nfstream_flows(path)) - start_up, 1e-9)


def tiny_capture(folder: Path) -> Path:
    """Write a capture of one packet."""
    path = folder / "tiny.pcap"
    path.write_bytes(pcap_header(nanoseconds=True) + pcap_record(CapturedPacket(START_NS, bytes(60))))
    return path


def parse_and_flows(path: Path) -> int:
    """Read, parse and follow flows; flow reports come out as columns."""
    from thingward.sensing.flows import FlowTable
    from thingward.wire.packets.parse import PacketParser

    parser, table, flows, last_ns = PacketParser(rows=16384), FlowTable(), 0, 0
    with path.open("rb") as stream:
        for batch in CaptureReader(stream):
            for columns in parser.parse(batch):
                flows += len(table.update(columns).reports)
            last_ns = int(batch.ts_ns[-1])
            flows += len(table.sweep(last_ns))
    return flows + len(table.sweep(last_ns, finish=True))


def observations(path: Path) -> Iterator[Any]:
    """Everything up to the observations: flows as records, payloads decoded, identities; a list per batch."""
    from thingward.sensing.sensor import Sensor

    sensor = Sensor(source="bench", producer="bench", by_column=True)
    with path.open("rb") as stream:
        reader = CaptureReader(stream, uid="bench")
        for batch in reader:
            yield sensor.feed(batch, 0.0).records
        yield sensor.finish(0.0, format=reader.format, problem=reader.problem).records


def device_records(path: Path) -> int:
    """Everything up to the device records: observations, events, inventory."""
    from thingward.inventory.stage import InventoryStage
    from thingward.sensing.normalise import NormaliseStage

    normalise, inventory, count = NormaliseStage(), InventoryStage(), 0
    for records in observations(path):
        count += len(inventory.feed(normalise.feed(records, 0.0).records, 0.0).records)
    return count + len(inventory.finish(0.0).records)


def _pair(bench: Bench, ours: Any, note: str) -> Iterator[Pair]:
    from thingward.wire.packets.warm import warm

    path, packets = merged_capture(bench.data, bench.scratch)
    warm()
    tiny = tiny_capture(bench.scratch)
    ours(tiny)
    with one_core():
        yield Pair(
            ours=lambda: rate(packets, lambda: ours(path)),
            peer=lambda: nfstream_rate(path, packets, tiny),
            peer_name="nfstream",
            note=f"{packets:,} packets; {note}",
        )


@benchmark("sensor.flows", unit="packets/s", limit=20)
def flows(bench: Bench) -> Iterator[Pair]:
    """Parsing and flows."""
    yield from _pair(bench, parse_and_flows, "flows as columns")


@benchmark("sensor.devices", unit="packets/s", limit=3)
def devices(bench: Bench) -> Iterator[Pair]:
    """Everything up to the device records."""
    yield from _pair(bench, device_records, "up to device records")
