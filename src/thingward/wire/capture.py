"""Captures as bytes to batches of packets, whatever the chunks: pcap in all its variants, pcapng, either in gzip."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from thingward.model.columns import PacketBatch
from thingward.model.errors import InvalidInput
from thingward.model.record import Malformed

SNIFF_BYTES = 8
_SAMPLE_BYTES = 32

_PCAP_MAGICS = frozenset(
    magic.to_bytes(4, order)
    for magic in (0xA1B2C3D4, 0xA1B2CD34, 0xA1B23C4D, 0x1C0001AC, 0x1C0001AB)
    for order in ("little", "big")
)
_PCAPNG_MAGIC = b"\n\r\r\n"
_GZIP_MAGIC = b"\x1f\x8b"

_FOREIGN = (
    (b"snoop\0\0\0", "Sun snoop"),
    (b"btsnoop\0", "Bluetooth HCI log (btsnoop)"),
    (b"\x28\xb5\x2f\xfd", "zstd compression"),
    (b"\x04\x22\x4d\x18", "LZ4 compression"),
    (b"BZh", "bzip2 compression"),
    (b"\xfd7zXZ\0", "xz compression"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"TRSNIFF", "NetXRay or Sniffer"),
    (b"XCP\0", "NetXRay or Sniffer"),
    (b"RTSS", "Microsoft Network Monitor 1"),
    (b"GMBU", "Microsoft Network Monitor 2"),
    (b"\x54\x52\x00\x64\x00", "HP-UX nettl"),
    (b"\x54\x52\x00\x00\x00", "HP-UX nettl"),
    (b"#separator", "Zeek log"),
)


class NotACapture(InvalidInput):
    """The bytes are no capture that can be read here; nothing was taken from them."""

    code = "capture.not_a_capture"


class CaptureMachine(Protocol):
    """One format's reader: bytes in, batches out."""

    format: str
    problem: Malformed | None

    def feed(self, data: bytes, *, final: bool) -> Iterator[PacketBatch]:
        """Take the next bytes; `final` says that none follow."""
        ...


def is_capture(head: bytes) -> bool:
    """Tell by at least SNIFF_BYTES first bytes whether this may be a capture that can be read here."""
    return head[:4] in _PCAP_MAGICS or head[:4] == _PCAPNG_MAGIC or head[:2] == _GZIP_MAGIC


def refuse(head: bytes) -> NotACapture:
    """Say what these first bytes are, if that is known."""
    if not head:
        return NotACapture("the file is empty.", hint="Give a pcap or pcapng capture.")
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return NotACapture(f"{name} cannot be read.", hint="Convert it to pcapng, or unpack it, first.")
    return NotACapture("not a capture: neither pcap nor pcapng.", hint="Give a pcap or pcapng file, or one in gzip.")


def _too_little(problem: Malformed) -> NotACapture:
    return NotACapture(f"{problem.reason} before its content began.", hint="Get the file again, whole.")


class CaptureDecoder:
    """Reads one capture from chunks of any size; holds at most a chunk and one unfinished record.

    Attributes:
        format: `pcap`, `pcapng` and so on, with ` gzip` behind it; empty until known.
        problem: why reading stopped before the end, None if it did not.
    """

    def __init__(self, *, uid: str = "", rows: int = 65536, guess_variant: bool = True) -> None:
        """Prepare.

        Args:
            uid: names the stream in batches.
            rows: most packets per batch.
            guess_variant: look at the first records for pcap variants without a magic number of their own;
                not for pipes, where that would delay the first packet.
        """
        self._uid = uid
        self._rows = rows
        self._guess = guess_variant
        self._head = b""
        self._inflater: Inflater | None = None
        self._machine: CaptureMachine | None = None
        self._stopped: Malformed | None = None
        self.format = ""

    @property
    def problem(self) -> Malformed | None:
        """Why reading stopped early."""
        if self._stopped is None and self._machine is not None:
            return self._machine.problem
        return self._stopped

    @property
    def done(self) -> bool:
        """Whether more bytes cannot give more packets."""
        return self.problem is not None

    def feed(self, data: bytes) -> Iterator[PacketBatch]:
        """Take the next bytes of the file; raises NotACapture as soon as that is clear."""
        yield from self._route(data, final=False)

    def finish(self) -> Iterator[PacketBatch]:
        """Say that the file ended; gives what was still waiting. Raises NotACapture if nothing told what it was."""
        yield from self._route(b"", final=True)

    def _route(self, data: bytes, *, final: bool) -> Iterator[PacketBatch]:
        if self.done:
            return
        if self._machine is None and self._inflater is None:
            data, self._head = self._head + data, b""
            if data[:2] == _GZIP_MAGIC:
                self._inflater = Inflater()
        if self._inflater is None:
            yield from self._read(data, final=final)
            return
        for part in self._inflater.feed(data, final=final):
            yield from self._read(part, final=False)
        problem = self._inflater.problem
        if problem is not None or final:
            try:
                yield from self._read(b"", final=True)
            except NotACapture as error:
                raise error if problem is None else _too_little(problem) from error
        self._stopped = problem

    def _read(self, data: bytes, *, final: bool) -> Iterator[PacketBatch]:
        if self._machine is None:
            data, self._head = self._head + data, b""
            if len(data) < SNIFF_BYTES and not final:
                self._head = data
                return
            self._machine = self._choose(data)
        yield from self._machine.feed(data, final=final)
        self.format = self._machine.format + (" gzip" if self._inflater is not None else "")

    def _choose(self, head: bytes) -> CaptureMachine:
        from thingward.wire.capture_pcap import PcapMachine
        from thingward.wire.capture_pcapng import PcapngMachine

        if head[:4] in _PCAP_MAGICS:
            return PcapMachine(uid=self._uid, rows=self._rows, guess_variant=self._guess)
        if head[:4] == _PCAPNG_MAGIC:
            return PcapngMachine(uid=self._uid, rows=self._rows)
        raise refuse(head)


class Inflater:
    """Unpacks gzip, member after member, in pieces of bounded size.

    Attributes:
        problem: why it stopped early, None if it did not.
    """

    PIECE_BYTES = 4 << 20

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)
        self._position = 0
        self._begun = False
        self._over = False
        self.problem: Malformed | None = None

    def feed(self, data: bytes, *, final: bool) -> Iterator[bytes]:
        """Take packed bytes; gives unpacked pieces of at most PIECE_BYTES. What follows the last member is ignored."""
        while data and not self._over and self.problem is None:
            before = len(data)
            self._begun = True
            saved = self._stream.copy()
            try:
                piece = self._stream.decompress(data, self.PIECE_BYTES)
            except zlib.error as error:
                yield from self._until_error(saved, data)
                self._fail(str(error).rsplit(": ", 1)[-1], data)
                return
            if piece:
                yield piece
            data = self._rest()
            self._position += before - len(data)
        if final and self._begun and self.problem is None:
            self._fail("cut short", b"")

    def _until_error(self, stream: zlib._Decompress, data: bytes) -> Iterator[bytes]:
        """Unpack again in ever smaller steps, so that everything before the damage is kept."""
        for step in (65536, 256, 1):
            while data:
                saved = stream.copy()
                try:
                    piece = stream.decompress(data[:step], self.PIECE_BYTES)
                except zlib.error:
                    stream = saved
                    break
                if piece:
                    yield piece
                data = stream.unconsumed_tail + data[step:]
                self._position += step

    def _rest(self) -> bytes:
        """Give the bytes that were not used yet; starts the next member where one ended."""
        if not self._stream.eof:
            return self._stream.unconsumed_tail
        data = self._stream.unused_data
        self._stream = zlib.decompressobj(wbits=31)
        self._begun = False
        self._over = bool(data) and data[0] != _GZIP_MAGIC[0]
        return data

    def _fail(self, reason: str, data: bytes) -> None:
        sample = data[:_SAMPLE_BYTES]
        self.problem = Malformed(reason=f"gzip: {reason}", offset=self._position, sample=sample, protocol="gzip")
