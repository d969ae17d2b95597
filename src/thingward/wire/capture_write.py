"""Write captures: classic pcap and pcapng, either byte order, for simulators, evidence and tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Literal

import msgspec

ByteOrder = Literal["little", "big"]

_PAD = b"\0\0\0"


class CapturedPacket(msgspec.Struct, frozen=True):
    """One packet to write.

    Attributes:
        ts_ns: nanoseconds since 1970.
        data: captured bytes.
        wirelen: bytes on the wire, 0 for the captured length.
        interface: pcapng only, index of its interface within the section.
    """

    ts_ns: int
    data: bytes
    wirelen: int = 0
    interface: int = 0


class CapturedInterface(msgspec.Struct, frozen=True):
    """One pcapng interface: LINKTYPE number, resolution as written in if_tsresol, offset in seconds."""

    link: int = 1
    snaplen: int = 0
    resolution: int = 9
    shift_s: int = 0

    @property
    def units_per_second(self) -> int:
        """Ticks per second."""
        exponent = self.resolution & 0x7F
        return int(2**exponent) if self.resolution & 0x80 else int(10**exponent)


def pcap_header(
    *, link: int = 1, nanoseconds: bool = False, order: ByteOrder = "little", snaplen: int = 262144
) -> bytes:
    """Give the 24 bytes at the start of a pcap file."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    return struct.pack(_sign(order) + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link)


def pcap_record(packet: CapturedPacket, *, nanoseconds: bool = False, order: ByteOrder = "little") -> bytes:
    """Give one record: header and bytes."""
    seconds, rest = divmod(packet.ts_ns, 1_000_000_000)
    fraction = rest if nanoseconds else rest // 1000
    size = len(packet.data)
    head = struct.pack(_sign(order) + "IIII", seconds & 0xFFFFFFFF, fraction, size, packet.wirelen or size)
    return head + packet.data


def write_pcap(
    packets: Iterable[CapturedPacket], *, link: int = 1, nanoseconds: bool = True, order: ByteOrder = "little"
) -> bytes:
    """Give a whole pcap file in memory."""
    parts = [pcap_header(link=link, nanoseconds=nanoseconds, order=order)]
    parts += [pcap_record(packet, nanoseconds=nanoseconds, order=order) for packet in packets]
    return b"".join(parts)


def pcapng_block(kind: int, body: bytes, *, order: ByteOrder = "little") -> bytes:
    """Frame a block's body, padded to four bytes."""
    body += _PAD[: -len(body) % 4]
    size = struct.pack(_sign(order) + "I", len(body) + 12)
    return struct.pack(_sign(order) + "I", kind) + size + body + size


def pcapng_section(*, order: ByteOrder = "little") -> bytes:
    """Give a section header block of unknown length."""
    return pcapng_block(0x0A0D0D0A, struct.pack(_sign(order) + "IHHq", 0x1A2B3C4D, 1, 0, -1), order=order)


def pcapng_interface(interface: CapturedInterface, *, order: ByteOrder = "little") -> bytes:
    """Give an interface description block."""
    sign = _sign(order)
    body = struct.pack(sign + "HHI", interface.link, 0, interface.snaplen)
    body += struct.pack(sign + "HHB3x", 9, 1, interface.resolution)
    if interface.shift_s:
        body += struct.pack(sign + "HHq", 14, 8, interface.shift_s)
    return pcapng_block(1, body + struct.pack(sign + "HH", 0, 0), order=order)


def pcapng_packet(packet: CapturedPacket, interface: CapturedInterface, *, order: ByteOrder = "little") -> bytes:
    """Give an enhanced packet block."""
    ticks = (packet.ts_ns - interface.shift_s * 1_000_000_000) * interface.units_per_second // 1_000_000_000
    size = len(packet.data)
    head = struct.pack(
        _sign(order) + "IIIII",
        packet.interface,
        (ticks >> 32) & 0xFFFFFFFF,
        ticks & 0xFFFFFFFF,
        size,
        packet.wirelen or size,
    )
    return pcapng_block(6, head + packet.data, order=order)


def write_pcapng(
    packets: Iterable[CapturedPacket],
    *,
    interfaces: tuple[CapturedInterface, ...] = (CapturedInterface(),),
    order: ByteOrder = "little",
) -> bytes:
    """Give a whole pcapng file of one section in memory."""
    parts = [pcapng_section(order=order)]
    parts += [pcapng_interface(interface, order=order) for interface in interfaces]
    parts += [pcapng_packet(packet, interfaces[packet.interface], order=order) for packet in packets]
    return b"".join(parts)


def _sign(order: ByteOrder) -> str:
    return "<" if order == "little" else ">"
