"""Packets of conversations that never took place: Ethernet, ARP, IPv4, UDP, TCP, with right lengths and checksums."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from thingward.wire.capture_write import CapturedPacket

BROADCAST_MAC: Final = "ff:ff:ff:ff:ff:ff"
MSS: Final = 1448
FIN, SYN, PSH, ACK = 1, 2, 8, 16


class End(msgspec.Struct, frozen=True):
    """One end: hardware address of the next hop on the site's wire, IP address, port."""

    mac: str
    ip: str
    port: int = 0


def frame(source: str, target: str, kind: int, body: bytes) -> bytes:
    """Put a body into an Ethernet frame."""
    return _mac(target) + _mac(source) + kind.to_bytes(2, "big") + body


def arp(asker: End, wanted: str, *, answer: End | None = None) -> bytes:
    """Ask who has an address, or tell it."""
    if answer is None:
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + _mac(asker.mac) + _ip(asker.ip) + bytes(6) + _ip(wanted)
        return frame(asker.mac, BROADCAST_MAC, 0x0806, body)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + _mac(answer.mac) + _ip(wanted) + _mac(asker.mac) + _ip(asker.ip)
    return frame(answer.mac, asker.mac, 0x0806, body)


def udp(source: End, target: End, data: bytes) -> bytes:
    """Make a datagram."""
    head = struct.pack("!4H", source.port, target.port, 8 + len(data), 0)
    total = _checksum(_pseudo(source, target, 17, len(head) + len(data)) + head + data) or 0xFFFF
    return _ipv4(source, target, 17, head[:6] + total.to_bytes(2, "big") + data)


def tcp(source: End, target: End, flags: int, sequence: int, acknowledged: int, data: bytes = b"") -> bytes:
    """Make a segment."""
    options = b"\x02\x04\x05\xb4\x01\x03\x03\x07" if flags & SYN else b""
    words = (5 + len(options) // 4) << 12 | flags
    fields = (source.port, target.port, sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF, words, 29200)
    head = struct.pack("!HHIIHHHH", *fields, 0, 0) + options
    total = _checksum(_pseudo(source, target, 6, len(head) + len(data)) + head + data)
    return _ipv4(source, target, 6, head[:16] + total.to_bytes(2, "big") + head[18:] + data)


def conversation(
    ends: tuple[End, End], turns: Iterable[tuple[int, bytes]], at_s: float, draw: random.Random
) -> Iterator[CapturedPacket]:
    """Give a whole TCP connection: handshake, turns of (who speaks: 0 or 1, what), and a tidy end."""
    numbers = [draw.getrandbits(32), draw.getrandbits(32)]
    now = at_s

    def say(who: int, flags: int, data: bytes = b"") -> CapturedPacket:
        nonlocal now
        now += draw.uniform(0.0004, 0.012)
        acknowledged = numbers[1 - who] if flags & ACK else 0
        packet = tcp(ends[who], ends[1 - who], flags, numbers[who], acknowledged, data)
        numbers[who] += len(data) + (1 if flags & (SYN | FIN) else 0)
        return packet_at(now, packet)

    yield say(0, SYN)
    yield say(1, SYN | ACK)
    yield say(0, ACK)
    for who, data in turns:
        for start in range(0, len(data), MSS):
            yield say(who, PSH | ACK, data[start : start + MSS])
        yield say(1 - who, ACK)
    yield say(0, FIN | ACK)
    yield say(1, FIN | ACK)
    yield say(0, ACK)


def packet_at(at_s: float, data: bytes) -> CapturedPacket:
    """Give a packet its time."""
    return CapturedPacket(int(at_s * 1e9), data)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ip(text: str) -> bytes:
    return socket.inet_aton(text)


def _pseudo(source: End, target: End, proto: int, size: int) -> bytes:
    return _ip(source.ip) + _ip(target.ip) + struct.pack("!BBH", 0, proto, size)


def _ipv4(source: End, target: End, proto: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, proto, 0) + _ip(source.ip) + _ip(target.ip)
    total = _checksum(head)
    return frame(source.mac, target.mac, 0x0800, head[:10] + total.to_bytes(2, "big") + head[12:] + body)


def _checksum(data: bytes) -> int:
    # The ones' complement sum of 16-bit words is the number itself modulo 65535.
    number = int.from_bytes(data + b"\0" if len(data) % 2 else data, "big")
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))
