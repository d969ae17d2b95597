"""The recorded days are well-formed packets in order of time, the same for the same seed."""

import struct
from pathlib import Path

from thingward.apps.simulator.frames import ACK, SYN, End, tcp, udp
from thingward.apps.simulator.recording import write_attack, write_recording
from thingward.apps.simulator.site import sample_site

HERE = End("02:00:00:00:00:01", "192.168.77.5", 4000)
THERE = End("02:00:00:00:00:02", "203.0.113.9", 23)


def ones_complement(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data + b"" if len(data) % 2 == 0 else data + b"\0"))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_checksums_are_right() -> None:
    for packet, proto in ((udp(HERE, THERE, b"even"), 17), (tcp(HERE, THERE, SYN | ACK, 7, 9), 6)):
        assert ones_complement(packet[14:34]) == 0xFFFF
        body = packet[34:]
        pseudo = packet[26:34] + struct.pack("!BBH", 0, proto, len(body))
        assert ones_complement(pseudo + body) == 0xFFFF


def packets(path: Path) -> list[tuple[float, bytes]]:
    data, at, found = path.read_bytes(), 24, []
    while at < len(data):
        seconds, fraction, size, _ = struct.unpack_from("<4I", data, at)
        found.append((seconds + fraction / 1e9, data[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def test_the_past_ends_when_it_should_and_repeats_itself(tmp_path: Path) -> None:
    site, until = sample_site(5), 1_700_000_000.0
    count = write_recording(site, tmp_path / "a", until=until, days=0.2)
    found = packets(tmp_path / "a")
    assert len(found) == count > 500
    times = [at for at, _ in found]
    assert times == sorted(times)
    assert until - 0.2 * 86400 <= times[0]
    assert times[-1] <= until
    assert {packet[6:12].hex(":") for _, packet in found} >= {device.mac for device in site.devices}
    assert b"p2p.ipcam.example" in (tmp_path / "a").read_bytes()


def test_the_recorded_attack_scans_guesses_and_floods(tmp_path: Path) -> None:
    site = sample_site(1)
    write_attack(site, tmp_path / "a", at=1_700_000_000.0)
    found = [packet for _, packet in packets(tmp_path / "a") if packet[6:12].hex(":") == site.rogue.mac]
    telnet = [packet for packet in found if packet[23] == 6 and packet[36:38] == b"\0\x17"]
    assert len({packet[30:34] for packet in telnet}) > 100
    assert any(b"xc3511" in packet for packet in telnet)
    assert sum(packet[23] == 17 for packet in found) == 9000
