"""The days before: the same site's traffic as a capture, made in a moment, the same for the same seed.

It gives the demo a past from which profiles are settled, and is all there is where namespaces are forbidden.
"""

from __future__ import annotations

import ipaddress
import random
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from thingward.apps.simulator import messages
from thingward.apps.simulator.attack import FLOOD_BYTES, PAIRS
from thingward.apps.simulator.frames import (
    ACK,
    BROADCAST_MAC,
    SYN,
    End,
    arp,
    conversation,
    packet_at,
    tcp,
    udp,
)
from thingward.apps.simulator.site import BRIDGE_MAC, ROUTER, VICTIM, SampleSite, SimDevice, Talk
from thingward.wire.capture_write import CapturedPacket, pcap_header, pcap_record

DAY_S: Final = 86_400.0
THINNED: Final = 10.0
LEAST_PER_DAY: Final = 14
ROUTER_END: Final = End(BRIDGE_MAC, ROUTER)
BODY_MAX: Final = 4000
SCAN_S: Final = 0.025
FLOOD_S: Final = 1 / 1500


def write_recording(site: SampleSite, path: Path, *, until: float, days: float = 5.0) -> int:
    """Write the site's last days up to `until` (seconds since 1970); gives the number of packets."""
    packets = [packet for device in site.devices for packet in _past(site, device, until - days * DAY_S, until)]
    return _write(path, packets)


def write_attack(site: SampleSite, path: Path, *, at: float) -> int:
    """Write the attack of the site's rogue, as it looks when nobody stops it; gives the number of packets."""
    return _write(path, list(_attack(site, site.rogue, at)))


def _write(path: Path, packets: list[CapturedPacket]) -> int:
    packets.sort(key=lambda packet: packet.ts_ns)
    with path.open("wb") as stream:
        stream.write(pcap_header(nanoseconds=True))
        for packet in packets:
            stream.write(pcap_record(packet, nanoseconds=True))
    return len(packets)


def _past(site: SampleSite, device: SimDevice, since: float, until: float) -> Iterator[CapturedPacket]:
    draw = random.Random(f"{site.seed}/past/{device.key}")  # noqa: S311 - a simulation must repeat itself
    day = since + draw.uniform(0, 600)
    while day < until:
        yield from _join(device, day, draw)
        day += DAY_S / 2
    for talk in device.talks:
        period_s = min(max(talk.every_s * THINNED, talk.every_s), DAY_S / LEAST_PER_DAY)
        now = since + draw.uniform(60, 60 + period_s)
        while now < until - 10:
            yield from _talk(site, device, talk, now, draw)
            now += period_s * draw.uniform(0.8, 1.2)


def _end(device: SimDevice, port: int = 0) -> End:
    return End(device.mac, device.address, port)


def _port(draw: random.Random) -> int:
    return draw.randrange(32768, 60999)


def _join(device: SimDevice, at: float, draw: random.Random) -> Iterator[CapturedPacket]:
    number = draw.getrandbits(32)
    nobody, all_hosts = End(device.mac, "0.0.0.0", 68), End(BROADCAST_MAC, "255.255.255.255", 67)
    back = End(BROADCAST_MAC, "255.255.255.255", 68)
    server = End(BRIDGE_MAC, ROUTER, 67)
    steps = (
        (messages.DHCP_DISCOVER, True), (messages.DHCP_OFFER, False),
        (messages.DHCP_REQUEST, True), (messages.DHCP_ACK, False),
    )  # fmt: skip
    for kind, asks in steps:
        at += draw.uniform(0.002, 0.05)
        if asks:
            data = udp(nobody, all_hosts, messages.dhcp_request(device, kind, number, ROUTER))
        else:
            data = udp(server, back, messages.dhcp_reply(device, kind, number, ROUTER))
        yield packet_at(at, data)
    yield packet_at(at + 0.2, arp(_end(device), ROUTER))
    yield packet_at(at + 0.201, arp(_end(device), ROUTER, answer=ROUTER_END))
    if device.mdns:
        group = End("01:00:5e:00:00:fb", "224.0.0.251", 5353)
        yield packet_at(at + 1.1, udp(_end(device, 5353), group, messages.mdns_announcement(device)))
    if device.ssdp[0]:
        group = End("01:00:5e:7f:ff:fa", "239.255.255.250", 1900)
        yield packet_at(at + 1.5, udp(_end(device, 1900), group, messages.ssdp_notify(device)))


def _talk(site: SampleSite, device: SimDevice, talk: Talk, at: float, draw: random.Random) -> Iterator[CapturedPacket]:
    near = site.device(talk.peer.removeprefix("device:")) if talk.peer.startswith("device:") else None
    if near is not None:
        peer = _end(near, talk.port)
    else:
        addresses = site.names[talk.peer]
        given = draw.sample(addresses, len(addresses))
        yield from _look_up(device, talk.peer, given, at, draw)
        peer, at = End(BRIDGE_MAC, given[0], talk.port), at + 0.03
    ends = (_end(device, _port(draw)), peer)
    if talk.way in ("ntp", "udp"):
        yield from _datagrams(ends, talk, at, draw)
    else:
        yield from conversation(ends, _turns(device, talk), at, draw)


def _look_up(
    device: SimDevice, name: str, addresses: list[str], at: float, draw: random.Random
) -> Iterator[CapturedPacket]:
    ends = _end(device, _port(draw)), End(BRIDGE_MAC, ROUTER, 53)
    number = draw.getrandbits(16)
    yield packet_at(at, udp(*ends, messages.dns_query(number, name)))
    answer = messages.dns_answer(number, name, messages.A, addresses, known=True)
    yield packet_at(at + draw.uniform(0.001, 0.02), udp(ends[1], ends[0], answer))


def _datagrams(ends: tuple[End, End], talk: Talk, at: float, draw: random.Random) -> Iterator[CapturedPacket]:
    back_at = at + draw.uniform(0.004, 0.04)
    if talk.way == "ntp":
        asked = messages.ntp_packet(at)
        answer = messages.ntp_packet(back_at, answer=True, origin=asked[40:48])
    else:
        asked = answer = b"simulated".ljust(talk.up, b"\0")
    yield packet_at(at, udp(*ends, asked))
    yield packet_at(back_at, udp(ends[1], ends[0], answer))


def _turns(device: SimDevice, talk: Talk) -> list[tuple[int, bytes]]:
    host = talk.peer.removeprefix("device:")
    if talk.way in ("tls", "mqtts"):
        return [*_handshake(host), (0, _sealed(min(talk.up, BODY_MAX))), (1, _sealed(min(talk.down, BODY_MAX)))]
    if talk.way == "http":
        return [(0, messages.http_request(device, host, talk.path)), (1, messages.http_answer(bytes(400), "simulated"))]
    if talk.way == "mqtt":
        topic = f"site/{device.key}/state"
        publish = messages.mqtt_publish(topic, b"simulated".ljust(talk.up, b"."))
        return [(0, messages.mqtt_connect(device.hostname, device.key)), (1, b"\x20\x02\0\0"), (0, publish)]
    if talk.port == 554:
        asked = b"OPTIONS rtsp://camera/live RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: dvr\r\n\r\n"
        return [(0, asked), (1, b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE\r\n\r\n")]
    return [(0, b'{"system":{"get_sysinfo":null}}\n'), (1, b'{"system":{"relay_state":1}}\n')]


@cache
def _handshake(name: str) -> tuple[tuple[int, bytes], ...]:
    """Let a TLS client really say hello to this name; what the server says is opaque anyway."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\x13\x01\x00"
    return (0, outgoing.read()), (1, b"\x16\x03\x03" + len(hello).to_bytes(2, "big") + hello + _sealed(900))


def _sealed(size: int) -> bytes:
    return b"".join(
        b"\x17\x03\x03" + min(16384, size - start).to_bytes(2, "big") + bytes(min(16384, size - start))
        for start in range(0, size, 16384)
    )


def _attack(site: SampleSite, rogue: SimDevice, at: float) -> Iterator[CapturedPacket]:
    draw = random.Random(f"{site.seed}/attack")  # noqa: S311
    hosts = [str(host) for host in ipaddress.ip_network("203.0.113.0/24").hosts()]
    for target in draw.sample(hosts, 200):
        ends = _end(rogue, _port(draw)), End(BRIDGE_MAC, target, 23)
        number = draw.getrandbits(32)
        yield packet_at(at, tcp(*ends, SYN, number, 0))
        yield packet_at(at + 0.004, tcp(ends[1], ends[0], 4 | ACK, 0, number + 1))
        at += SCAN_S
    victim = site.device("recorder")
    if victim is not None:
        for start in range(0, len(PAIRS), 3):
            turns = [(1, b"dvr login: ")]
            for user, password in PAIRS[start : start + 3]:
                turns += [(0, user.encode() + b"\r\n"), (1, b"Password: "), (0, password.encode() + b"\r\n")]
                turns.append((1, b"\r\nLogin incorrect\r\ndvr login: "))
            yield from conversation((_end(rogue, _port(draw)), _end(victim, 23)), turns, at, draw)
            at += 1.0
    ends = _end(rogue, _port(draw)), End(BRIDGE_MAC, VICTIM, 80)
    payload = draw.randbytes(FLOOD_BYTES)
    for _ in range(9000):
        yield packet_at(at, udp(*ends, payload))
        at += FLOOD_S
