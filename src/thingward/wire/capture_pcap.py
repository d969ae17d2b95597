"""Classic pcap: the standard form, nanoseconds, either byte order, and the variants of the 1990s."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec
import numpy as np

from thingward.model.columns import I32, PacketBatch
from thingward.model.record import Malformed
from thingward.wire.packets import scan

_SAMPLE_BYTES = 32
_TRIES = 3
_GUESS_BYTES = _TRIES * (scan.MAX_PACKET + 32)
_LARGEST_WIRE = 128 << 20


class PcapForm(msgspec.Struct, frozen=True):
    """How one pcap file is written.

    Attributes:
        name: for people.
        header: bytes of a record header.
        fraction_ns: nanoseconds per unit of the time's fraction.
        extra: bytes after the file header (Ixia).
    """

    name: str
    header: int = 16
    fraction_ns: int = 1000
    extra: int = 0


STANDARD = PcapForm("pcap")
PATCHED_APRIL = PcapForm("pcap (modified 1999-04)", header=24)
PATCHED_OCTOBER = PcapForm("pcap (modified 1999-10)", header=24)
PATCHED_SEPTEMBER = PcapForm("pcap (modified 1999-09)", header=28)
NOKIA = PcapForm("pcap (Nokia)", header=20)
_FORMS = {
    0xA1B2C3D4: (STANDARD, PATCHED_APRIL, NOKIA),
    0xA1B2CD34: (PATCHED_OCTOBER, PATCHED_SEPTEMBER),
    0xA1B23C4D: (PcapForm("pcap nanosecond", fraction_ns=1),),
    0x1C0001AC: (PcapForm("pcap (Ixia hardware)", fraction_ns=1, extra=4),),
    0x1C0001AB: (PcapForm("pcap (Ixia software)", extra=4),),
}


class PcapMachine:
    """Reads the records of one pcap file."""

    def __init__(self, *, uid: str = "", rows: int = 65536, guess_variant: bool = True) -> None:
        self.format = "pcap"
        self.problem: Malformed | None = None
        self._uid = uid
        self._rows = rows
        self._guess = guess_variant
        self._rest = b""
        self._base = 0
        self._form: PcapForm | None = None
        self._big = False
        self._link = 0
        self._swapped = 0

    def feed(self, data: bytes, *, final: bool) -> Iterator[PacketBatch]:
        """Take the next bytes; `final` says that none follow."""
        if self.problem is not None:
            return
        data = self._rest + data if self._rest else data
        start = 0
        if self._form is None:
            start = self._read_header(data, final)
            if self._form is None:
                self._rest = data
                return
        yield from self._records(data, start, final)

    def _records(self, data: bytes, at: int, final: bool) -> Iterator[PacketBatch]:
        form = self._form or STANDARD
        array = np.frombuffer(data, np.uint8)
        status = scan.FULL
        while status == scan.FULL:
            room = min(self._rows, (len(data) - at) // form.header + 1)
            offset, caplen, wirelen, ts_ns = outputs(room)
            count, at, status = scan.scan_pcap(
                array, at, len(data), int(self._big), form.header, form.fraction_ns, self._swapped,
                offset, caplen, wirelen, ts_ns,
            )  # fmt: skip
            if count:
                yield PacketBatch(
                    data=array,
                    offset=offset[:count],
                    caplen=caplen[:count],
                    wirelen=wirelen[:count],
                    ts_ns=ts_ns[:count],
                    link=np.full(count, self._link, np.int32),
                    uid=self._uid,
                    base=self._base,
                )
        self._rest = data[at:]
        self._base += at
        if status == scan.BAD_LENGTH:
            self._fail("packet larger than 262144 bytes")
        elif final and self._rest:
            self._fail("cut short in the middle of a packet")

    def _read_header(self, data: bytes, final: bool) -> int:
        """Read the file header; gives where the records begin. The form stays None until enough is there."""
        if len(data) < 24:
            if final:
                self._rest = data
                self._fail("cut short in the file header")
            return 0
        sign = "<" if int.from_bytes(data[:4], "little") in _FORMS else ">"
        magic, major, minor, _, _, snaplen, network = struct.unpack(sign + "IHHiIII", data[:24])
        forms = _FORMS[magic]
        self._big = sign == ">"
        if major < 2 or network & 0x03FF0000:
            self._fail("unknown version" if major < 2 else "unknown link type field")
            return 0
        self._link = network & 0xFFFF
        self._swapped = 1 if (major == 2 and minor < 3) or major == 543 else 2 if (major, minor) == (2, 3) else 0
        start = 24 + forms[0].extra
        if len(forms) > 1 and self._guess and not self._swapped:
            if len(data) < start + _GUESS_BYTES and not final and not self._is_clear(data, start, snaplen, forms[0]):
                return 0
            forms = (min(forms, key=lambda form: self._oddities(data[start:], form, snaplen)[0]),)
        self._form = forms[0]
        self.format = forms[0].name
        return start

    def _is_clear(self, data: bytes, start: int, snaplen: int, form: PcapForm) -> bool:
        odd, records = self._oddities(data[start:], form, snaplen)
        return odd == 0 and records == _TRIES

    def _oddities(self, data: bytes, form: PcapForm, snaplen: int) -> tuple[int, int]:
        """Count what would be strange in the first records if they had this form; and the records seen whole."""
        sign = ">" if self._big else "<"
        odd = at = records = 0
        for _ in range(_TRIES):
            if at == len(data):
                break
            if len(data) - at < form.header:
                return odd + 1, records
            _, fraction, size, wire = struct.unpack_from(sign + "IIII", data, at)
            odd += (fraction >= 1_000_000) + (size > scan.MAX_PACKET) + (size > snaplen)
            odd += (wire > _LARGEST_WIRE) + (size > wire) + self._odd_extras(data, at + 16, form)
            if size > scan.MAX_PACKET:
                break
            at += form.header + size
            if at > len(data):
                return odd + 1, records
            records += 1
        return odd, records

    def _odd_extras(self, data: bytes, at: int, form: PcapForm) -> int:
        sign = ">" if self._big else "<"
        if form.header >= 24:
            interface, protocol, kind = struct.unpack_from(sign + "IHB", data, at)
            fits = protocol >= 0x600 or protocol in (0x60, 0x200, 0x400) or protocol <= 0x17
            return int(interface > 10000) + int(not fits) + int(kind > 4)
        if form is NOKIA:
            (stuff,) = struct.unpack_from(sign + "I", data, at)
            fits = (
                stuff & 0x0FFF00F0 == 0x0FBF0000
                and stuff >> 28 in (9, 11)
                and (stuff >> 12) & 15 in (11, 13)
                and (stuff >> 8) & 15 in (6, 9)
                and stuff & 15 in (1, 2)
            )
            return int(not fits)
        return 0

    def _fail(self, reason: str) -> None:
        sample = self._rest[:_SAMPLE_BYTES]
        self.problem = Malformed(reason=f"pcap: {reason}", offset=self._base, sample=sample, protocol="pcap")
        self._rest = b""


def outputs(room: int) -> tuple[np.ndarray, I32, I32, np.ndarray]:
    """Make the four arrays that a scan fills: offset, captured length, wire length, time."""
    return np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int64)
