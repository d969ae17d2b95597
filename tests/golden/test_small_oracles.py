"""Protocols that few shared captures hold: LLDP from one, CoAP from messages of our own, both read by tshark too."""

import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from thingward.wire.coap import CoapMessage, decode_coap
from thingward.wire.dispatch import LLDP_ETHERTYPE, decode_frame
from thingward.wire.lldp import LldpMessage

RAW_IPV4 = 228


def frames(path: Path) -> Iterator[bytes]:
    """The frames of a little-endian pcap file."""
    data = path.read_bytes()
    offset = 24
    while offset + 16 <= len(data):
        (length,) = struct.unpack_from("<I", data, offset + 8)
        yield data[offset + 16 : offset + 16 + length]
        offset += 16 + length


def fields(tshark: str, path: Path, *names: str) -> list[list[str]]:
    """One row per frame of the named fields, several values joined by a bar."""
    wanted = [part for name in names for part in ("-e", name)]
    run = subprocess.run(
        [tshark, "-n", "-r", str(path), "-T", "fields", "-E", "aggregator=|", *wanted], capture_output=True, check=True
    )
    return [line.split("\t") for line in run.stdout.decode().splitlines()]


@pytest.mark.data
def test_lldp_like_tshark(data_dir, need_program):
    path = data_dir / "zeek-traces" / "Traces" / "lldp.pcap"
    rows = fields(
        need_program("tshark"), path, "lldp.tlv.system.name", "lldp.chassis.id.mac", "lldp.port.id", "lldp.time_to_live"
    )
    compared = 0
    for frame, row in zip(frames(path), rows, strict=True):
        (ethertype,) = struct.unpack_from("!H", frame, 12)
        if ethertype != LLDP_ETHERTYPE:
            continue
        (message,) = decode_frame(ethertype, frame[14:])
        assert isinstance(message, LldpMessage)
        assert message.system_name == row[0]
        assert message.chassis == row[1] or not row[1]
        assert message.port == row[2] or not row[2]
        assert str(message.ttl_s) == row[3]
        compared += 1
    assert compared >= 1


def coap_option(number: int, value: bytes) -> bytes:
    """An option with a delta and a length below 269."""
    assert len(value) < 269
    nibble, more = (len(value), b"") if len(value) < 13 else (13, bytes([len(value) - 13]))
    high, extra = (number, b"") if number < 13 else (13, bytes([number - 13]))
    return bytes([high << 4 | nibble]) + extra + more + value


def coap_requests(count: int) -> Iterator[bytes]:
    """Requests with paths and queries of all lengths."""
    chance = random.Random(7)
    for _ in range(count):
        token = chance.randbytes(chance.randrange(9))
        parts = ["".join(chance.choices("abcxyz-9", k=chance.randrange(1, 40))) for _ in range(chance.randrange(1, 5))]
        options = coap_option(11, parts[0].encode()) + b"".join(coap_option(0, part.encode()) for part in parts[1:])
        options += coap_option(4, b"u=1") if chance.random() < 0.5 else b""
        head = bytes([0x40 | chance.randrange(2) << 4 | len(token), chance.randrange(1, 5)]) + chance.randbytes(2)
        yield head + token + options


def write_capture(path: Path, payloads: list[bytes]) -> None:
    """A pcap of UDP datagrams to the CoAP port, without link layer."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, RAW_IPV4)
    for payload in payloads:
        udp = struct.pack("!HHHH", 40000, 5683, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
        out += struct.pack("<IIII", 1, 0, len(ip + udp), len(ip + udp)) + ip + udp
    path.write_bytes(out)


def test_coap_like_tshark(tmp_path, need_program):
    payloads = list(coap_requests(200))
    write_capture(tmp_path / "coap.pcap", payloads)
    rows = fields(need_program("tshark"), tmp_path / "coap.pcap", "coap.opt.uri_path", "coap.code", "coap.type")
    assert len(rows) == len(payloads)
    for payload, (path, code, kind) in zip(payloads, rows, strict=True):
        message = decode_coap(payload)
        assert isinstance(message, CoapMessage)
        assert message.path == "/" + path.replace("|", "/")
        assert ["", "GET", "POST", "PUT", "DELETE"][int(code)] == message.code
        assert ["confirmable", "non-confirmable"][int(kind)] == message.kind
