"""pcapng: sections in either byte order, interfaces with their clocks, three kinds of packet blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec
import numpy as np

from thingward.model.columns import PacketBatch
from thingward.model.record import Malformed
from thingward.wire.capture_pcap import outputs
from thingward.wire.packets import scan

_SAMPLE_BYTES = 32
_MAX_INTERFACES = 65536
_OPTION_RESOLUTION = 9
_OPTION_SHIFT = 14
_MOST_UNITS = 10**19
_REASONS = {
    scan.BAD_LENGTH: "block or packet larger than allowed",
    scan.BAD_BLOCK: "block too short for what it holds",
    scan.BAD_TRAILER: "a block's two lengths differ",
    scan.BAD_INTERFACE: "packet of an interface that was not described",
}


class Interface(msgspec.Struct, frozen=True):
    """One interface of a section: LINKTYPE, snapshot length, ticks per second, offset in seconds."""

    link: int
    snaplen: int
    units: int = 1_000_000
    shift_s: int = 0


class PcapngMachine:
    """Reads the blocks of one pcapng file."""

    def __init__(self, *, uid: str = "", rows: int = 65536) -> None:
        self.format = "pcapng"
        self.problem: Malformed | None = None
        self._uid = uid
        self._rows = rows
        self._rest = b""
        self._base = 0
        self._skip = 0
        self._trailer = 0
        self._big = False
        self._interfaces: list[Interface] = []
        self._columns = _as_columns([])

    def feed(self, data: bytes, *, final: bool) -> Iterator[PacketBatch]:
        """Take the next bytes; `final` says that none follow."""
        if self.problem is not None:
            return
        data = self._rest + data if self._rest else data
        self._rest = b""
        at = self._skipped(data)
        if self._has_failed():
            return
        if self._skip or self._trailer:
            self._pause(data, at, final)
            return
        array = np.frombuffer(data, np.uint8)
        status = scan.FULL
        while status in (scan.FULL, scan.BLOCK):
            if status == scan.BLOCK:
                at, status = self._block(data, at)
                if status != scan.FULL:
                    break
            count, at, status, batch = self._scan(array, at)
            if count:
                yield batch
        if status == scan.SKIP:
            size = (self._number(data, at + 4) + 3) & ~3
            self._trailer = size
            self._skip = size - 4
            at += self._skipped(data[at:])
        self._pause(data, at, final, _REASONS.get(status, ""))

    def _pause(self, data: bytes, at: int, final: bool, reason: str = "") -> None:
        """Keep what was not used for the next call; with a reason there is none."""
        self._rest = data[at:]
        self._base += at
        if reason:
            self._fail(reason)
        elif final and (self._rest or self._skip or self._trailer):
            self._fail("cut short in the middle of a block")

    def _scan(self, array: np.ndarray, at: int) -> tuple[int, int, int, PacketBatch]:
        room = min(self._rows, (len(array) - at) // 16 + 1)
        offset, caplen, wirelen, ts_ns = outputs(room)
        link = np.empty(room, np.int32)
        count, at, status = scan.scan_pcapng(
            array, at, len(array), int(self._big), *self._columns, len(self._interfaces),
            offset, caplen, wirelen, ts_ns, link,
        )  # fmt: skip
        batch = PacketBatch(
            data=array,
            offset=offset[:count],
            caplen=caplen[:count],
            wirelen=wirelen[:count],
            ts_ns=ts_ns[:count],
            link=link[:count],
            uid=self._uid,
            base=self._base,
        )
        return count, at, status, batch

    def _skipped(self, data: bytes) -> int:
        """Pass over the rest of a long block that nobody needs; gives how many bytes of `data` are used up."""
        used = min(self._skip, len(data))
        self._skip -= used
        if self._skip or not self._trailer or len(data) - used < 4:
            return used
        if (self._number(data, used) + 3) & ~3 != self._trailer:
            self._base += used
            self._fail(_REASONS[scan.BAD_TRAILER])
        self._trailer = 0
        return used + 4

    def _block(self, data: bytes, at: int) -> tuple[int, int]:
        """Read a section header or an interface description; gives the position after it and FULL, or why not."""
        if data[at : at + 4] == b"\n\r\r\n":
            return self._section(data, at)
        size = (self._number(data, at + 4) + 3) & ~3
        if size < 20:
            return at, scan.BAD_BLOCK
        if len(self._interfaces) >= _MAX_INTERFACES:
            return at, scan.BAD_LENGTH
        self._interfaces.append(self._interface(data[at + 8 : at + size - 4]))
        self._columns = _as_columns(self._interfaces)
        return at + size, scan.FULL

    def _section(self, data: bytes, at: int) -> tuple[int, int]:
        if len(data) - at < 16:
            return at, scan.MORE
        magic = data[at + 8 : at + 12]
        if magic not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
            return at, scan.BAD_BLOCK
        big = magic[0] == 0x1A
        major, minor = struct.unpack_from(">HH" if big else "<HH", data, at + 12)
        size = (int.from_bytes(data[at + 4 : at + 8], "big" if big else "little") + 3) & ~3
        if size < 28 or (major, minor) not in ((1, 0), (1, 2)):
            return at, scan.BAD_BLOCK
        if size > scan.MAX_BLOCK:
            return at, scan.BAD_LENGTH
        if len(data) - at < size:
            return at, scan.MORE
        self._big = big
        if (self._number(data, at + size - 4) + 3) & ~3 != size:
            return at, scan.BAD_TRAILER
        self._interfaces = []
        self._columns = _as_columns([])
        return at + size, scan.FULL

    def _interface(self, body: bytes) -> Interface:
        sign = ">" if self._big else "<"
        link, _, snaplen = struct.unpack_from(sign + "HHI", body)
        units, shift_s, at = 1_000_000, 0, 8
        while len(body) - at >= 4:
            code, size = struct.unpack_from(sign + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == 0 or len(value) < size:
                break
            if code == _OPTION_RESOLUTION and size == 1:
                exponent = value[0] & 0x7F
                units = 2**exponent if value[0] & 0x80 else 10**exponent
            elif code == _OPTION_SHIFT and size == 8:
                (shift_s,) = struct.unpack(sign + "q", value)
            at += 4 + ((size + 3) & ~3)
        return Interface(link, snaplen, min(units, _MOST_UNITS), max(-scan.MAX_SECONDS, min(shift_s, scan.MAX_SECONDS)))

    def _number(self, data: bytes, at: int) -> int:
        return int.from_bytes(data[at : at + 4], "big" if self._big else "little")

    def _has_failed(self) -> bool:
        return self.problem is not None

    def _fail(self, reason: str) -> None:
        sample = self._rest[:_SAMPLE_BYTES]
        self.problem = Malformed(reason=f"pcapng: {reason}", offset=self._base, sample=sample, protocol="pcapng")
        self._rest = b""


def _as_columns(interfaces: list[Interface]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([interface.link for interface in interfaces], np.int32),
        np.array([interface.units for interface in interfaces], np.uint64),
        np.array([interface.shift_s for interface in interfaces], np.int64),
        np.array([interface.snaplen for interface in interfaces], np.int64),
    )
