"""`push`: hand lines of Zeek, Suricata or our own form to a platform, from files or a pipe, in pieces."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal, cast

import msgspec
from cyclopts import Parameter

from thingward.apps.cli.app import STDIN
from thingward.apps.cli.client import Client, DryRun, Output, Refused, connect
from thingward.model.errors import InvalidInput
from thingward.sensing.log_files import open_log, read_lines

PIECE_BYTES: Final = 4 << 20
PIECE_LINES: Final = 5000
_KIND: Final = re.compile(r"[a-z0-9_]{1,40}")


class Piece(msgspec.Struct, frozen=True):
    """Lines for one request; `first` is the number of the first of them in the file, `header` how many stand before."""

    body: bytes
    first: int
    header: int


def push(
    *files: Annotated[Path, Parameter(help="Files of lines, plain or gzip; - is standard input.")],
    name: Annotated[str, Parameter(help="Names the sender in records: push:NAME.")],
    form: Annotated[
        Literal["auto", "zeek", "eve", "observation"], Parameter(help="What the lines are; auto tells by the first.")
    ] = "auto",
    partial: Annotated[
        bool, Parameter(help="Take the lines that can be read; else a piece is refused as a whole.")
    ] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> int:
    """Push lines of logs or observations to the platform. The same lines sent again are taken once."""
    if not files:
        raise InvalidInput("there is nothing to push.", hint="Name files, or - for standard input.")
    client = connect()
    totals = {"lines": 0, "taken": 0, "rejected": 0}
    for path in files:
        params = {"name": name, "form": form, "kind": kind_of(path), "partial": "true" if partial else ""}
        try:
            with _open(path) as stream:
                for piece in pieces_of(read_lines(stream)):
                    _send(client, path, piece, params, totals, dry_run=dry_run)
        except (EOFError, zlib.error) as error:
            raise InvalidInput(f"{path} is cut off or damaged; what stands before that was sent.") from error
    if output == "table":
        verb = "would take" if dry_run else "took"
        sys.stdout.write(
            f"{verb} {totals['taken']} observations of {totals['lines']} lines; {totals['rejected']} rejected\n"
        )
    else:
        sys.stdout.buffer.write(msgspec.json.encode({"dry_run": dry_run, **totals}) + b"\n")
    return 1 if totals["rejected"] else 0


def kind_of(path: Path) -> str:
    """Give the kind of Zeek log that a file's name says (`conn.log`), empty if it says none."""
    found = _KIND.match(path.name)
    return found[0] if found and ".log" in path.name else ""


def pieces_of(lines: Iterator[bytes]) -> Iterator[Piece]:
    """Cut lines into pieces of bounded size; each after the first begins with the header of a Zeek table."""
    header: list[bytes] = []
    piece: list[bytes] = []
    size, first, copied = 0, 1, 0
    for number, line in enumerate(lines, 1):
        if len(piece) - copied >= PIECE_LINES or (piece and size + len(line) > PIECE_BYTES):
            yield Piece(b"\n".join(piece) + b"\n", first, copied)
            piece, size, first, copied = list(header), sum(map(len, header)), number, len(header)
        if line.startswith(b"#") and not line.startswith(b"#close"):
            header = [*header, line] if not line.startswith(b"#separator") else [line]
        piece.append(line)
        size += len(line) + 1
    if len(piece) > copied:
        yield Piece(b"\n".join(piece) + b"\n", first, copied)


def _open(path: Path) -> BinaryIO:
    """Open lines to read, unpacked if need be; a pipe is read once, so it is only peeked at."""
    if str(path) != STDIN:
        return open_log(path)
    stdin = io.BufferedReader(io.FileIO(sys.stdin.fileno(), "rb", closefd=False))
    packed = stdin.peek(2)[:2] == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(stdin, "rb")) if packed else stdin


def _send(
    client: Client, path: Path, piece: Piece, params: dict[str, Any], totals: dict[str, int], *, dry_run: bool
) -> None:
    """Send one piece, and say which of its lines were rejected, by their numbers in the file."""
    key = hashlib.sha256(msgspec.json.encode([params, dry_run]) + piece.body).hexdigest()
    try:
        answer = client.raw(
            "POST", "/observations", params=params, content=piece.body, dry_run=dry_run, key=f"cli-{key}"
        )
    except Refused as error:
        if error.code != "input.bad_lines":
            raise
        for line in error.errors:
            sys.stderr.write(f"thingward: {path}: {_renumbered(line, piece)}\n")
        raise
    result = msgspec.json.decode(answer)
    for line in result["errors"]:
        sys.stderr.write(f"thingward: {path}: {_renumbered(line, piece)}\n")
    totals["lines"] += result["lines"] - piece.header
    totals["taken"] += result["taken"]
    totals["rejected"] += result["rejected"]


def _renumbered(line: str, piece: Piece) -> str:
    head, _, rest = line.partition(": ")
    number = int(head.removeprefix("line "))
    return f"line {number - piece.header + piece.first - 1}: {rest}"
