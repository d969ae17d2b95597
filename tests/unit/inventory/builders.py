"""Events as normalising gives them, for one small home."""

from __future__ import annotations

import itertools

from thingward.model.event import Event
from thingward.model.ids import Tenant, Uid
from thingward.model.observation import (
    Data,
    DnsAnswer,
    DnsData,
    Endpoint,
    FlowData,
    IdentityData,
    LeaseData,
)

DAY = 86_400.0
START = 1_700_000_000.0
CAMERA, BULB, ROUTER = "b0:00:00:00:00:01", "b0:00:00:00:00:02", "b0:00:00:00:00:fe"
CAMERA_IP, BULB_IP, ROUTER_IP = "192.168.1.10", "192.168.1.11", "192.168.1.1"
CLOUD_IP = "203.0.113.5"
_numbers = itertools.count()


def event(data: Data, src: Endpoint | None, dst: Endpoint | None = None, time: float = START) -> Event:
    return Event(
        uid=Uid(f"e{next(_numbers)}"),
        tenant=Tenant("default"),
        time=time,
        source="test",
        class_uid=4001,
        src=src,
        dst=dst,
        data=data,
    )


def end(mac: str = "", ip: str = "", port: int = 0) -> Endpoint:
    return Endpoint(mac=mac, ip=ip, port=port)


def flow(
    src: Endpoint,
    dst: Endpoint,
    *,
    proto: int = 6,
    time: float = START,
    last: float = 0.0,
    answered: bool = True,
    state: str = "whole",
    flow: str = "",
    mid_stream: bool = False,
    name: str = "",
    icmp_type: int = -1,
    ethertype: int = 0,
    flags: tuple[int, int] | None = None,
) -> Event:
    out, back = flags if flags is not None else ((0x1B, 0x1B if answered else 0) if proto == 6 else (0, 0))
    data = FlowData(
        flow=Uid(flow or f"f{next(_numbers)}"),
        state=state,  # type: ignore[arg-type]
        first=time,
        last=last or time,
        proto=proto,
        ethertype=ethertype,
        packets_out=5,
        bytes_out=500,
        packets_in=5 if answered else 0,
        bytes_in=500 if answered else 0,
        flags_out=out,
        flags_in=back,
        icmp_type=icmp_type,
        mid_stream=mid_stream,
        name=name,
    )
    return event(data, src, dst, last or time)


def camera(port: int = 40_000) -> Endpoint:
    return end(CAMERA, CAMERA_IP, port)


def bulb(port: int = 40_000) -> Endpoint:
    return end(BULB, BULB_IP, port)


def router(port: int = 0, ip: str = ROUTER_IP) -> Endpoint:
    return end(ROUTER, ip, port)


def cloud(port: int = 443, ip: str = CLOUD_IP) -> Endpoint:
    return end(ROUTER, ip, port)


def answer(who: Endpoint, name: str, *addresses: str, time: float = START) -> Event:
    answers = tuple(DnsAnswer(name=name, rrtype="AAAA" if ":" in ip else "A", value=ip) for ip in addresses)
    return event(DnsData(qname=name, rcode=0, answers=answers), who, router(53), time)


def lease(mac: str = CAMERA, ip: str = CAMERA_IP, time: float = START, message: str = "ack") -> Event:
    data = LeaseData(message=message, address=ip, routers=(ROUTER_IP,), resolvers=(ROUTER_IP,))
    return event(data, end(mac, ip, 68), router(67), time)


def says(who: Endpoint, *pairs: tuple[str, str], protocol: str = "dhcp", time: float = START) -> Event:
    return event(IdentityData(protocol=protocol, attributes=pairs), who, None, time)


def arp(mac: str, ip: str, time: float = START) -> Event:
    return says(end(mac, ip), ("arp.ip", ip), protocol="arp", time=time)


def home(time: float = START) -> list[Event]:
    """Two devices and their router, leased and announced."""
    return [
        lease(time=time),
        lease(BULB, BULB_IP, time),
        arp(ROUTER, ROUTER_IP, time),
        arp(CAMERA, CAMERA_IP, time),
        arp(BULB, BULB_IP, time),
    ]
