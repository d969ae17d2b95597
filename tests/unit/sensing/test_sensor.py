"""The sensor: packets in, observations out."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.unit.wire.frames import A, B, C, arp, batch, ether, ip4, ip6, tcp, udp
from thingward.model.observation import (
    CaptureData,
    DnsData,
    FlowData,
    HttpData,
    IdentityData,
    Observation,
    TlsData,
)
from thingward.model.record import Malformed
from thingward.sensing.flows import FlowLimits
from thingward.sensing.sensor import Sensor, SensorLimits
from thingward.sensing.sensor_payloads import PayloadLimits
from thingward.sensing.sensor_records import read_arp, read_ndp

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
GET = b"GET /status HTTP/1.1\r\nHost: cam.example\r\nUser-Agent: cam/1.0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 0\r\n\r\n"


def sensor(**limits: Any) -> Sensor:
    return Sensor(source="guard:test", producer="test", limits=SensorLimits(**limits))


def feed(one: Sensor, *frames: tuple[float, bytes], link: int = 1, **more: Any) -> list[Observation]:
    times = [START + int(at * SECOND) for at, _ in frames]
    found = one.feed(batch([frame for _, frame in frames], link=link, ts_ns=times, **more), 0.0).records
    assert all(isinstance(record, Observation) for record in found)
    return found  # type: ignore[return-value]


def finish(one: Sensor, **more: Any) -> list[Observation]:
    return one.finish(0.0, **more).records  # type: ignore[return-value]


def of(records: list[Observation], kind: type, protocol: str = "") -> list[Observation]:
    return [
        record
        for record in records
        if isinstance(record.data, kind) and (not protocol or getattr(record.data, "protocol", "") == protocol)
    ]


def query(number: int, name: bytes = b"cam") -> bytes:
    return struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + bytes([len(name)]) + name + b"\0\0\x01\0\x01"


def out(data: bytes, seq: int, flags: int = 0x18, port: int = 40000, mac: bytes = A) -> bytes:
    return ether(ip4(tcp(data, port, 80, seq=seq, flags=flags), 6), src=mac)


def back(data: bytes, seq: int, flags: int = 0x18, port: int = 40000, mac: bytes = A) -> bytes:
    return ether(ip4(tcp(data, 80, port, seq=seq, flags=flags), 6, "10.0.0.2", "10.0.0.1"), src=B, dst=mac)


def connection(*segments: bytes, port: int = 40000, mac: bytes = A) -> list[tuple[float, bytes]]:
    frames = [out(b"", 99, 2, port, mac), back(b"", 499, 18, port, mac), *segments]
    return [(i / 10, frame) for i, frame in enumerate(frames)]


def test_an_http_exchange() -> None:
    one = sensor()
    found = feed(one, *connection(out(GET[:20], 100), out(GET[20:], 120), back(OK, 500)))
    (request,) = of(found, HttpData)
    assert request.data == HttpData(method="GET", host="cam.example", path="/status", user_agent="cam/1.0", status=200)
    assert request.src is not None and request.dst is not None
    assert (request.src.mac, request.src.ip, request.src.port) == ("02:00:00:00:00:01", "10.0.0.1", 40000)
    assert (request.dst.mac, request.dst.ip, request.dst.port) == ("02:00:00:00:00:02", "10.0.0.2", 80)
    assert request.time == START / 1e9 + 0.4
    assert request.source == "guard:test"
    assert request.parents == (
        f"t#{sum(len(frame) for _, frame in connection(out(GET[:20], 100), out(GET[20:], 120)))}",
    )
    (flow,) = of(finish(one), FlowData)
    assert (flow.data.app, flow.data.name, flow.data.state) == ("http", "cam.example", "whole")
    assert (flow.data.packets_out, flow.data.packets_in, flow.data.proto) == (3, 2, 6)
    assert flow.parents == ("t#0",)


def test_a_request_without_answer_is_said_when_the_flow_ends() -> None:
    one = sensor()
    assert of(feed(one, *connection(out(GET, 100))), HttpData) == []
    found = finish(one)
    (request,) = of(found, HttpData)
    assert request.data.status == 0 and request.data.host == "cam.example"
    (flow,) = of(found, FlowData)
    assert flow.data.app == "http"


def test_the_same_input_gives_the_same_records() -> None:
    runs = []
    for _ in range(2):
        one = sensor()
        runs.append(feed(one, *connection(out(GET, 100), back(OK, 500))) + finish(one))
    assert runs[0] == runs[1]
    uids = [record.uid for record in runs[0]]
    assert len(set(uids)) == len(uids) and all(len(uid) == 32 for uid in uids)
    other = Sensor(source="guard:test", producer="other")
    assert {record.uid for record in feed(other, *connection(out(GET, 100)))}.isdisjoint(uids)


def test_dns_is_decoded_each_time_its_content_is_new() -> None:
    one = sensor(payloads=PayloadLimits(repeat_s=100))
    frames = [
        (0, ether(ip4(udp(query(1), 40001, 53)))),
        (1, ether(ip4(udp(query(2), 40002, 53)))),
        (2, ether(ip4(udp(query(3, b"door"), 40003, 53)))),
        (3, ether(ip4(udp(query(1), 40001, 53), src="10.0.0.3"), src=C)),
        (101, ether(ip4(udp(query(4), 40004, 53)))),
    ]
    found = of(feed(one, *frames), DnsData)
    assert [(record.time - START / 1e9, record.data.qname) for record in found] == [
        (0, "cam"),
        (2, "door"),
        (3, "cam"),
        (101, "cam"),
    ]


def test_every_sender_is_named_once() -> None:
    one = sensor()
    frames = [(i, ether(ip4(udp(b"x", 5, 6)), src=mac)) for i, mac in enumerate((A, C, A, B, C))]
    frames.append((9, ether(ip4(udp(b"\x08\0\0\0\0\0\x01\0" + ether(b"", 0x88B5, bytes(5) + b"\x09"), 50000, 4789)))))
    found = of(feed(one, *frames), IdentityData, "frame")
    assert [record.src.mac[-2:] for record in found if record.src] == ["01", "cc", "02", "09"]
    assert all(record.src.ip == "" for record in found if record.src)


def test_arp_and_neighbour_discovery() -> None:
    one = sensor()
    advertisement = b"\x88\0\0\0\x60\0\0\0" + ip6(b"")[8:24] + b"\x02\x01" + C
    frames = [
        (0, ether(arp(), 0x0806)),
        (1, ether(arp(), 0x0806)),
        (2, ether(arp(ip="0.0.0.0"), 0x0806)),
        (3, ether(ip6(advertisement, 58, "fe80::9"), 0x86DD, src=C)),
    ]
    found = feed(one, *frames)
    (announced,) = of(found, IdentityData, "arp")
    assert announced.src is not None and (announced.src.mac, announced.src.ip) == ("02:00:00:00:00:01", "10.0.0.1")
    assert announced.data.attributes == (("arp.ip", "10.0.0.1"),)
    (neighbour,) = of(found, IdentityData, "ndp")
    assert neighbour.src is not None and (neighbour.src.mac, neighbour.src.ip) == ("02:00:00:00:00:cc", "fe80::1")


def test_unknown_links_and_damage_are_counted_and_sampled() -> None:
    one = sensor()
    feed(one, (0, b"abc"), (1, b"def"), link=147)
    found = feed(one, (2, ether(b"\x65" + bytes(30))), (3, ether(b"\x65" + bytes(30))))
    (sample,) = of(found, Malformed)
    assert sample.data.reason == "ip: bad version"
    assert sample.src is not None and sample.src.mac == "02:00:00:00:00:01"
    data = one.capture_data(file="x.pcap", format="pcap")
    assert data.unknown_links == {"147": 2}
    assert data.malformed == {"ip: bad version": 2}
    assert (data.packets, data.first, data.last) == (4, START / 1e9, START / 1e9 + 3)


def test_the_end_sums_up() -> None:
    one = sensor()
    feed(one, (0, ether(ip4(udp(b"x")))), wirelen=[1000])
    one.count_dropped("kernel", 5)
    one.count_dropped("kernel", 0)
    problem = Malformed(reason="pcap: cut short in the middle of a packet", offset=7)
    found = finish(one, file="x.pcap", format="pcap", problem=problem)
    assert [type(record.data) for record in found] == [FlowData, Malformed, CaptureData]
    data = found[-1].data
    assert isinstance(data, CaptureData)
    assert (data.file, data.format, data.packets, data.bytes) == ("x.pcap", "pcap", 1, 1000)
    assert (data.complete, data.error, data.dropped) == (False, problem.reason, {"kernel": 5})
    (data,) = [record.data for record in finish(sensor())]
    assert isinstance(data, CaptureData) and data.complete and data.packets == 0


def test_a_live_sensor_says_each_flow_at_once() -> None:
    one = Sensor(source="sensor:eth0", producer="x", limits=SensorLimits.live())
    (flow,) = of(feed(one, (0, out(b"", 99, 2))), FlowData)
    assert (flow.data.state, flow.data.packets_out) == ("new", 1)
    feed(one, (0.5, back(b"", 499, 18)), (0.6, out(b"", 100, 16)))
    (update,) = of(one.tick(START / 1e9 + 1).records, FlowData)  # type: ignore[arg-type]
    assert (update.data.state, update.data.packets_out, update.data.packets_in) == ("update", 1, 1)
    (end,) = of(one.tick(START / 1e9 + 400).records, FlowData)  # type: ignore[arg-type]
    assert end.data.state == "end" and end.data.flow == flow.data.flow


def test_records_of_a_batch_are_in_order_of_time() -> None:
    one = sensor(flows=FlowLimits(idle_other_s=10))
    frames = [(i * 3, ether(ip4(udp(query(i, b"n%d" % i), 40000 + i, 53)))) for i in range(20)]
    times = [record.time for record in feed(one, *frames)]
    assert times == sorted(times) and len(times) > 30


def test_a_flood_of_payloads_is_decoded_at_a_bounded_rate() -> None:
    one = sensor(payloads=PayloadLimits(per_second=10))
    frames = [(0.001 * i, ether(ip4(udp(query(i, b"n%d" % i), 40000, 53)))) for i in range(100)]
    found = feed(one, *frames, (1.5, ether(ip4(udp(query(7, b"later"), 40000, 53)))))
    assert len(of(found, DnsData)) == 11
    assert one.capture_data().dropped == {"payloads_rate": 90}


def test_a_flood_of_senders_is_bounded_and_the_rest_come_later() -> None:
    one = sensor(payloads=PayloadLimits(senders_per_second=10))
    frames = [(0.001 * i, ether(ip4(udp(b"x", 1000 + i)), src=struct.pack(">HI", 0x0200, i + 10))) for i in range(50)]
    assert len(of(feed(one, *frames), IdentityData, "frame")) == 10
    assert one.capture_data().dropped == {"senders_rate": 40}
    assert len(of(feed(one, (2, frames[-1][1])), IdentityData, "frame")) == 1


def test_cut_datagrams_are_not_decoded_but_counted() -> None:
    one = sensor()
    frame = ether(ip4(udp(query(1), 40001, 53)))
    assert of(feed(one, (0, frame[:-4]), wirelen=[len(frame)]), DnsData) == []
    assert one.capture_data().dropped == {"payloads_cut": 1}


def test_a_hello_gives_the_flow_its_name() -> None:
    name = b"cloud.example"
    extension = struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    body = (
        b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack(">H", len(extension)) + extension
    )
    hello = b"\x16\x03\x01" + struct.pack(">H", len(body) + 4) + b"\x01" + struct.pack(">I", len(body))[1:] + body
    one = sensor()
    found = feed(one, *connection(out(hello, 100)))
    assert [record.data.sni for record in of(found, TlsData)] == ["cloud.example"]
    (flow,) = of(finish(one), FlowData)
    assert (flow.data.app, flow.data.name) == ("tls", "cloud.example")


@pytest.mark.parametrize(
    "payload", [b"", bytes(10), arp()[:27], arp(mac=bytes(6)), arp(mac=b"\xff" * 6), arp(ip="0.0.0.0")]
)
def test_arp_that_announces_nobody(payload: bytes) -> None:
    assert read_arp(payload) is None


@pytest.mark.parametrize(
    ("payload", "sender", "found"),
    [
        (b"\x85" + bytes(7) + b"\x01\x01" + A, "fe80::1", (int.from_bytes(A, "big"), "fe80::1")),
        (
            b"\x87" + bytes(23) + b"\x0e\x01" + bytes(6) + b"\x01\x01" + A,
            "fe80::1",
            (int.from_bytes(A, "big"), "fe80::1"),
        ),
        (b"\x87" + bytes(23) + b"\x01\x01" + A, "::", None),
        (b"\x88" + bytes(23) + b"\x01\x01" + A, "fe80::1", None),
        (b"\x87" + bytes(23) + b"\x05\0" + bytes(60), "fe80::1", None),
        (b"\x87" + bytes(10), "fe80::1", None),
        (b"\x80" + bytes(40), "fe80::1", None),
        (b"", "fe80::1", None),
    ],
)
def test_neighbour_discovery_options(payload: bytes, sender: str, found: tuple[int, str] | None) -> None:
    assert read_ndp(payload, sender) == found
