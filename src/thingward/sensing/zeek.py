"""Zeek logs (TSV with headers, JSON, the labelled IoT-23 form) to observations, one file or a folder of them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from thingward.model.observation import Observation
from thingward.sensing.log_files import LogContext, LogTally, as_float, count, open_log, read_lines
from thingward.sensing.zeek_bodies import ZEEK_BODIES, Row

MAX_FIELDS = 128
# Logs that say nothing of devices or attacks that conn.log and the others do not say; known, and passed over.
IGNORED = frozenset(
    [
        "analyzer", "broker", "capture_loss", "conn_long", "cluster", "config", "dpd", "files", "intel", "kerberos",
        "known_certs", "known_hosts", "known_services", "loaded_scripts", "ntlm", "ntp", "ocsp", "packet_filter",
        "pe", "prof", "quic", "radius", "rdp", "reporter", "rfb", "signatures", "sip", "smb_files",
        "smb_mapping", "socks", "stats", "stderr", "stdout", "telemetry", "traceroute", "tunnel", "websocket",
        "weird", "x509",
    ]
)  # fmt: skip
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_NAME = re.compile(r"[a-z0-9_]+")


class ZeekLog:
    """Reads one log line by line.

    Args:
        context: whose log it is.
        name: the file's name; its first part names the kind of log where the log itself does not.
    """

    def __init__(self, context: LogContext, name: str) -> None:
        self.tally = LogTally(context, name)
        self.kind = _kind_of_name(Path(name))
        self._separator = "\t"
        self._set_separator = ","
        self._unset = "-"
        self._empty = "(empty)"
        self._fields: list[str] = []
        self._sets: list[bool] = []
        self._tail: list[str] = []

    @property
    def is_known(self) -> bool:
        """Whether this kind of log is read, or knowingly passed over."""
        return self.kind in ZEEK_BODIES or self.kind in IGNORED

    def feed(self, line: bytes) -> list[Observation]:
        """Take the next line; gives what it says, or a Malformed observation."""
        tally = self.tally
        tally.lines += 1
        tally.bytes += len(line) + 1
        if not line.strip():
            return []
        if line.startswith(b"#"):
            return self._header(line)
        row = self._read_json(line) if line.startswith(b"{") else self._read_columns(line)
        if row is None:
            return tally.bad_line(
                "zeek", "line does not fit its header" if self._fields else "neither JSON nor TSV", line
            )
        kind = self._kind_of(row)
        bodies = ZEEK_BODIES.get(kind)
        if bodies is None:
            count(tally.ignored, f"{kind or 'unknown'} log")
            return []
        time = as_float(row.get("ts"))
        try:
            return tally.observations(bodies(time, row), line)
        except (KeyError, TypeError, ValueError, AttributeError):
            return tally.bad_line("zeek", f"bad value in {kind} log", line)

    def _header(self, line: bytes) -> list[Observation]:
        name, _, value = line.decode("utf-8", "replace").partition(
            " " if line.startswith(b"#separator") else self._separator
        )
        self.tally.format = "zeek tsv"
        if name == "#separator":
            self._separator = _unescape(value) or "\t"
        elif name == "#set_separator":
            self._set_separator = value or ","
        elif name == "#empty_field":
            self._empty = value
        elif name == "#unset_field":
            self._unset = value
        elif name == "#path":
            self.kind = value.strip()
        elif name == "#fields":
            self._set_fields(value.split(self._separator))
        elif name == "#types":
            self._sets = [kind.startswith(("set[", "vector[")) for kind in value.split(self._separator)]
        return []

    def _set_fields(self, names: list[str]) -> None:
        """Note the columns; IoT-23 appends its labels to the last one with blanks."""
        names = names[:MAX_FIELDS]
        last = names[-1].split() if names else []
        self._tail = last[1:]
        self._fields = [*names[:-1], *last[:1]]

    def _read_columns(self, line: bytes) -> Row | None:
        cells = line.decode("utf-8", "replace").split(self._separator)
        if not self._fields or len(cells) != len(self._fields):
            return None
        row: Row = {}
        if self._tail:
            parts = cells[-1].split(None, len(self._tail))
            cells[-1] = parts[0] if parts else self._unset
            row.update(zip(self._tail, parts[1:], strict=False))
        for index, (name, cell) in enumerate(zip(self._fields, cells, strict=True)):
            if cell == self._unset:
                continue
            if index < len(self._sets) and self._sets[index]:
                row[name] = [] if cell == self._empty else [_unescape(part) for part in cell.split(self._set_separator)]
            else:
                row[name] = "" if cell == self._empty else _unescape(cell)
        return row

    def _read_json(self, line: bytes) -> Row | None:
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(row, dict):
            return None
        self.tally.format = "zeek json"
        nested = row.get("id")
        if isinstance(nested, dict):
            row.update({f"id.{name}": value for name, value in nested.items()})
        return row

    def _kind_of(self, row: Row) -> str:
        """Name the kind of log: by its header, its `_path`, its file's name, or by what its fields are."""
        path = row.get("_path")
        if isinstance(path, str):
            return path
        if self.kind not in ZEEK_BODIES and self.kind not in IGNORED:
            self.kind = next((kind for kind, fields in _SIGNS.items() if fields <= row.keys()), self.kind)
        return self.kind


_SIGNS: dict[str, frozenset[str]] = {
    "conn": frozenset({"id.orig_h", "proto", "conn_state"}),
    "dns": frozenset({"id.orig_h", "query", "qtype_name"}),
    "http": frozenset({"id.orig_h", "method", "uri"}),
    "dhcp": frozenset({"mac", "msg_types"}),
    "notice": frozenset({"note", "msg"}),
}


def _unescape(value: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), value) if "\\x" in value else value


def read_zeek_file(path: Path, context: LogContext) -> Iterator[Observation]:
    """Read one log file, plain or gzip; the last observation says what was read."""
    log = ZeekLog(context, str(path))
    try:
        with open_log(path) as stream:
            for line in read_lines(stream):
                yield from log.feed(line)
    except (OSError, EOFError) as error:
        log.tally.error = f"{type(error).__name__}: {error}"[:200]
    log.tally.format = log.tally.format or f"unknown log {log.kind!r}"
    yield log.tally.summary(complete=not log.tally.error)


def zeek_files(folder: Path) -> list[Path]:
    """List the logs of a folder: `*.log`, `*.log.gz`, `*.log.labeled`, rotated ones too, in order of name."""
    return sorted(
        path for path in folder.rglob("*") if re.search(r"\.log(\.labeled|\.gz)*$", path.name) and path.is_file()
    )


def read_zeek_folder(folder: Path, context: LogContext) -> Iterator[Observation]:
    """Read all logs of a folder as one stream in order of time, names before the flows that use them.

    Rotated files of one kind follow each other by name, so at most one file per kind is open. Zeek writes conn.log
    when connections end, so its order is that of ends.
    """
    kinds: dict[str, list[Path]] = {}
    for path in zeek_files(folder):
        kinds.setdefault(_kind_of_name(path), []).append(path)
    streams = [_read_in_turn(paths, context) for paths in kinds.values()]
    return heapq.merge(*streams, key=_time)


def _read_in_turn(paths: list[Path], context: LogContext) -> Iterator[Observation]:
    for path in paths:
        yield from read_zeek_file(path, context)


def _kind_of_name(path: Path) -> str:
    match = _NAME.match(path.name)
    return match.group(0) if match else ""


def _time(observation: Observation) -> float:
    return observation.time


def looks_like_zeek(folder: Path) -> bool:
    """Tell whether a folder holds Zeek logs, by names alone."""
    return any(True for _ in zeek_files(folder))
