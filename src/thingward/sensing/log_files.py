"""Log lines as records: the bounds, counters and envelope that Zeek, EVE and syslog sources share."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from thingward.model.ids import DEFAULT_SITE, DEFAULT_TENANT, Tenant, hashed_uid
from thingward.model.observation import CaptureData, Data, Endpoint, Observation
from thingward.model.record import Malformed

MAX_LINE_BYTES = 262144
MAX_REASONS = 64

Body = tuple[float, Endpoint | None, Endpoint | None, Data]


class LogContext(msgspec.Struct, frozen=True, kw_only=True):
    """Whose logs these are; `source` names the producer in every record, for example `zeek:/var/log/zeek`."""

    source: str
    tenant: Tenant = DEFAULT_TENANT
    site: str = DEFAULT_SITE


class LogTally:
    """What was read of one log so far, and its last word as a `CaptureData` observation."""

    def __init__(self, context: LogContext, name: str) -> None:
        self.context = context
        self.name = name
        self.format = ""
        self.lines = 0
        self.records = 0
        self.bytes = 0
        self.first = 0.0
        self.last = 0.0
        self.malformed: dict[str, int] = {}
        self.ignored: dict[str, int] = {}
        self.error = ""
        self.has_macs = False

    def observation(
        self, time: float, src: Endpoint | None, dst: Endpoint | None, data: Data, index: int, line: bytes
    ) -> Observation:
        """Put what a line says into its envelope; parents name file and line, the uid does not change on re-reading."""
        context = self.context
        parent = f"{self.name}#{self.lines}"
        uid = hashed_uid("log", context.tenant, context.source, parent, str(index), line[:4096].decode("latin-1"))
        if isinstance(data, Malformed):
            count(self.malformed, data.reason)
        elif time:
            self.first = min(self.first or time, time)
            self.last = max(self.last, time)
        if src is not None and src.mac:
            self.has_macs = True
        return Observation(
            uid=uid,
            tenant=context.tenant,
            time=time,
            source=context.source,
            parents=(parent,),
            site=context.site,
            src=src,
            dst=dst,
            data=data,
        )

    def observations(self, bodies: Iterable[Body], line: bytes) -> list[Observation]:
        """Put all bodies of one line into envelopes."""
        self.records += 1
        return [
            self.observation(time, src, dst, data, index, line) for index, (time, src, dst, data) in enumerate(bodies)
        ]

    def bad_line(self, protocol: str, reason: str, line: bytes) -> list[Observation]:
        """Report a line that could not be read; its time is that of the lines before it."""
        problem = Malformed(reason=f"{protocol}: {reason}", sample=line[:32], protocol=protocol)
        return [self.observation(self.last, None, None, problem, 0, line)]

    def summary(self, complete: bool = True) -> Observation:
        """Say what was read; `packets` counts lines here. A log without MACs says so: devices are then addresses."""
        note = "" if self.has_macs or not self.records else ", addresses only"
        data = CaptureData(
            file=self.name,
            format=self.format + note,
            packets=self.lines,
            bytes=self.bytes,
            first=self.first,
            last=self.last,
            malformed=self.malformed,
            dropped=self.ignored,
            complete=complete,
            error=self.error,
        )
        return self.observation(self.last, None, None, data, 0, b"summary")


def count(table: dict[str, int], key: str) -> None:
    """Add one to a counter; keys over the bound count as `other`."""
    if key not in table and len(table) >= MAX_REASONS:
        key = "other"
    table[key] = table.get(key, 0) + 1


def endpoint(ip: object, port: object = 0, mac: object = "") -> Endpoint:
    """Build an endpoint of a log's values; what is no port counts as 0."""
    number = as_int(port)
    return Endpoint(
        mac=mac.lower() if isinstance(mac, str) else "",
        ip=ip if isinstance(ip, str) else "",
        port=number if 0 <= number <= 65535 else 0,
    )


def as_int(value: object) -> int:
    """Read a whole number from JSON or text; 0 for anything else."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and len(value) < 20 and value.isdigit():
        return int(value)
    return int(as_float(value))


def as_float(value: object) -> float:
    """Read a number from JSON or text; 0.0 for anything else, not-a-number and infinities included."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return number if -1e15 < number < 1e15 else 0.0


def as_text(value: object, limit: int = 256) -> str:
    """Give text without unprintable characters, cut; empty for anything else than text and numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    text = value[:limit]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def open_log(path: Path) -> BinaryIO:
    """Open a log, unpacking gzip by its content; the caller closes it."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Give lines without their ends; of longer ones only the first MAX_LINE_BYTES bytes, so memory stays bounded."""
    while line := stream.readline(MAX_LINE_BYTES):
        if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
        yield line.rstrip(b"\r\n")
