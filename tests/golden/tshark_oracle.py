"""What tshark sees in a capture, frame by frame: the payload bytes, and the values that its dissectors show.

The payloads come from tshark too, so a comparison judges the decoders alone, not our packet parser.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

AGGREGATOR = "\x1f"
BASE = (
    "frame.number",
    "udp.srcport",
    "udp.dstport",
    "udp.payload",
    "tcp.stream",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.flags",
    "tcp.payload",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
)


@dataclass(slots=True)
class Frame:
    """One frame: ports and payload of its only UDP or TCP header, and the oracle's values by field name."""

    number: int
    proto: int
    sport: int
    dport: int
    payload: bytes
    stream: int = -1
    sequence: int = 0
    flags: int = 0
    protocols: str = ""
    source: str = ""
    values: dict[str, list[str]] = field(default_factory=dict)


def read_frames(tshark: str, capture: Path, fields: tuple[str, ...], limit_frames: int = 0) -> Iterator[Frame]:
    """Run tshark over one capture; frames without a plain UDP or TCP payload are left out."""
    command = [tshark, "-n", "-r", str(capture), "-T", "fields", "-E", f"aggregator={AGGREGATOR}", "-E", "occurrence=a"]
    command += ["-o", "tcp.check_checksum:FALSE", "-o", "http.decompress_body:FALSE"]
    if limit_frames:
        command += ["-c", str(limit_frames)]
    for name in (*BASE, *fields):
        command += ["-e", name]
    run = subprocess.run(command, capture_output=True, timeout=300, check=False)
    for line in run.stdout.decode("utf-8", "replace").split("\n"):
        cells = line.split("\t")
        if len(cells) != len(BASE) + len(fields):
            continue
        frame = _frame(cells)
        if frame is not None:
            for name, cell in zip(fields, cells[len(BASE) :], strict=True):
                if cell:
                    frame.values[name] = cell.split(AGGREGATOR)
            yield frame


def _frame(cells: list[str]) -> Frame | None:
    number, usport, udport, udata, stream, tsport, tdport, sequence, flags, tdata, protocols = cells[:11]
    source = cells[11] or cells[13]
    if AGGREGATOR in usport + tsport or AGGREGATOR in source or "icmp" in protocols:
        return None
    if usport and udata and AGGREGATOR not in udata:
        return Frame(
            int(number), 17, int(usport), int(udport), bytes.fromhex(udata), protocols=protocols, source=source
        )
    if tsport and stream and flags and sequence and AGGREGATOR not in stream + flags + sequence + tdata:
        return Frame(
            int(number),
            6,
            int(tsport),
            int(tdport),
            bytes.fromhex(tdata),
            int(stream),
            int(sequence),
            int(flags, 16),
            protocols,
            source,
        )
    return None
