"""What one payload that was not seen before costs, from bytes to message and from message to observation."""

from __future__ import annotations

import functools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.harness import Bench, NotHere, Pair, benchmark, seconds
from tests.golden.agreement import captures
from tests.golden.streams import follow_streams
from tests.golden.tshark_oracle import Frame, read_frames
from thingward.model.observation import Endpoint
from thingward.model.record import Malformed
from thingward.sensing.observe import PacketContext, observe_message
from thingward.wire.dispatch import decode_datagram, stream_decoder
from thingward.wire.message import Message

EVERY = 8
Datagram = tuple[int, int, bytes]
Piece = tuple[bool, bytes]
DATAGRAM_PROTOCOLS = ("dns", "dhcp", "ssdp", "nbns", "ntp", "snmp")
STREAM_PROTOCOLS = ("tls", "http", "mqtt", "ssh")
CONTEXT = PacketContext(
    time=1.0,
    src=Endpoint(mac="02:00:00:00:00:01", ip="10.0.0.1", port=40000),
    dst=Endpoint(mac="02:00:00:00:00:02", ip="10.0.0.2", port=80),
    parents=("batch#0",),
    source="bench",
)


@functools.cache
def all_frames(data: Path) -> list[list[Frame]]:
    """Frames with payload of every n-th capture of the shared data."""
    tshark = shutil.which("tshark")
    if tshark is None or not data.is_dir():
        raise NotHere("needs tshark and the shared data")
    return [list(read_frames(tshark, path, ())) for path in captures(data, EVERY)]


@functools.cache
def datagrams(data: Path) -> dict[str, list[Datagram]]:
    """Distinct UDP payloads by the protocol that they decode to."""
    found: dict[str, dict[Datagram, None]] = defaultdict(dict)
    for frames in all_frames(data):
        for frame in frames:
            if frame.proto == 17:
                for message in decode_datagram(17, frame.sport, frame.dport, frame.payload)[:1]:
                    found[message.protocol][frame.sport, frame.dport, frame.payload] = None
    return {protocol: list(payloads) for protocol, payloads in found.items()}


@functools.cache
def streams(data: Path) -> dict[str, list[tuple[tuple[int, int], list[Piece]]]]:
    """Connections' bytes as they came, by the machine that reads them."""
    found: dict[str, list[tuple[tuple[int, int], list[Piece]]]] = defaultdict(list)
    for frames in all_frames(data):
        pieces: dict[int, list[Piece]] = defaultdict(list)
        watch = functools.partial(_keep, pieces)
        for number, stream in follow_streams(frames, watch).items():
            if stream.decoder is not None:
                found[stream.decoder.protocol].append((stream.ports, pieces[number]))
    return found


def _keep(pieces: dict[int, list[Piece]], number: int, from_initiator: bool, data: bytes) -> None:
    pieces[number].append((from_initiator, data))


def timed(count: int, work: Callable[[], object]) -> float:
    """Microseconds for each of `count` things."""
    return 1e6 * seconds(work) / count


def run_stream(ports: tuple[int, int], pieces: list[Piece]) -> list[Message | Malformed]:
    """Feed one connection as the sensor does."""
    decoder = stream_decoder(6, *ports, pieces[0][1], pieces[0][0])
    found: list[Message | Malformed] = []
    for from_initiator, data in pieces:
        if decoder is None or decoder.done:
            break
        found += decoder.feed(from_initiator, data)
    return found + (decoder.finish() if decoder is not None else [])


def _datagram_bench(protocol: str) -> None:
    @benchmark(f"decode.{protocol}", unit="us/payload", better="less")
    def decode(bench: Bench) -> Iterator[Pair]:
        """Distinct payloads of one protocol."""
        payloads = datagrams(bench.data).get(protocol, [])
        if not payloads:
            raise NotHere(f"no {protocol} in the sample")

        def work() -> None:
            for sport, dport, payload in payloads:
                decode_datagram(17, sport, dport, payload)

        yield Pair(ours=lambda: timed(len(payloads), work), note=f"{len(payloads)} distinct payloads")


def _stream_bench(protocol: str) -> None:
    @benchmark(f"decode.{protocol}", unit="us/connection", better="less")
    def decode(bench: Bench) -> Iterator[Pair]:
        """Whole connections of one protocol, until the machine is done."""
        connections = streams(bench.data).get(protocol, [])
        if not connections:
            raise NotHere(f"no {protocol} in the sample")

        def work() -> None:
            for ports, pieces in connections:
                run_stream(ports, pieces)

        yield Pair(ours=lambda: timed(len(connections), work), note=f"{len(connections)} connections")


@benchmark("decode.observe", unit="us/message", better="less")
def observe(bench: Bench) -> Iterator[Pair]:
    """From decoded messages to observations."""
    messages = [
        message
        for payloads in datagrams(bench.data).values()
        for sport, dport, payload in payloads
        for message in decode_datagram(17, sport, dport, payload)
    ]

    def work() -> None:
        for message in messages:
            observe_message(CONTEXT, message)

    yield Pair(ours=lambda: timed(len(messages), work), note=f"{len(messages)} messages of datagrams")


for _protocol in DATAGRAM_PROTOCOLS:
    _datagram_bench(_protocol)
for _protocol in STREAM_PROTOCOLS:
    _stream_bench(_protocol)
