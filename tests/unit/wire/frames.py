"""Frames for tests, written by hand."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from thingward.model.columns import PacketBatch

A = bytes.fromhex("020000000001")
B = bytes.fromhex("020000000002")
C = bytes.fromhex("0200000000cc")
D = bytes.fromhex("0200000000dd")


def ether(payload: bytes, kind: int = 0x0800, src: bytes = A, dst: bytes = B) -> bytes:
    return dst + src + struct.pack(">H", kind) + payload


def ip4(
    payload: bytes, proto: int = 17, src: str = "10.0.0.1", dst: str = "10.0.0.2", *, fragment: int = 0, total: int = -1
) -> bytes:
    size = 20 + len(payload) if total < 0 else total
    head = struct.pack(">BBHHHBBH", 0x45, 0, size, 7, fragment, 64, proto, 0)
    return head + IPv4Address(src).packed + IPv4Address(dst).packed + payload


def ip6(payload: bytes, proto: int = 17, src: str = "fe80::1", dst: str = "fe80::2") -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(payload), proto, 255)
    return head + IPv6Address(src).packed + IPv6Address(dst).packed + payload


def udp(payload: bytes = b"", sport: int = 1000, dport: int = 2000) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def tcp(payload: bytes = b"", sport: int = 1000, dport: int = 80, *, seq: int = 1, flags: int = 0x18) -> bytes:
    return struct.pack(">HHIIBBHHH", sport, dport, seq, 0, 0x50, flags, 1024, 0, 0) + payload


def arp(mac: bytes = A, ip: str = "10.0.0.1", target: str = "10.0.0.2", operation: int = 1) -> bytes:
    head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    return head + mac + IPv4Address(ip).packed + bytes(6) + IPv4Address(target).packed


def batch(
    frames: list[bytes], *, link: int = 1, ts_ns: list[int] | None = None, wirelen: list[int] | None = None
) -> PacketBatch:
    """Put frames into a batch, one a second if no times are given."""
    sizes = np.array([len(frame) for frame in frames], np.int32)
    offset = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64) if frames else np.zeros(0, np.int64)
    times = ts_ns if ts_ns is not None else [1_700_000_000_000_000_000 + i * 1_000_000_000 for i in range(len(frames))]
    return PacketBatch(
        data=np.frombuffer(b"".join(frames), np.uint8),
        offset=offset,
        caplen=sizes,
        wirelen=np.array(wirelen, np.int32) if wirelen is not None else sizes.copy(),
        ts_ns=np.array(times, np.int64),
        link=np.full(len(frames), link, np.int32),
        uid="t",
    )
