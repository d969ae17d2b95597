"""From numbers to records: endpoints as text, flow reports and neighbour announcements as observations."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Any

import numpy as np

from thingward.model.columns import FLOW_STATES, TUNNELS, Rows, mac_text
from thingward.model.flow_reports import FlowReports
from thingward.model.ids import Tenant, Uid
from thingward.model.observation import Data, Endpoint, Observation
from thingward.wire.address import ipv6_text

_MAPPED = 0xFFFF
_ICMP = (1, 58)
_CACHED = 65536
_AHEAD = 512
_BROADCAST = 0xFFFFFFFFFFFF
EndKey = tuple[int, int, int, int, int]

_COUNTS = (
    "ethertype", "packets_out", "bytes_out", "packets_in", "bytes_in", "flags_out", "flags_in", "vlan",
)  # fmt: skip


class _MacTexts(dict[int, str]):
    """Text of hardware addresses, made when first asked for."""

    def __missing__(self, number: int) -> str:
        text = self[number] = mac_text(number)
        return text


class _IpTexts(dict[tuple[int, int], str]):
    """Text of IP addresses by their two halves, made when first asked for."""

    def __missing__(self, halves: tuple[int, int]) -> str:
        text = self[halves] = ip_text(*halves)
        return text


class Addresses:
    """Endpoints by their numbers; what was made is kept within a bound, then forgotten and made again."""

    def __init__(self) -> None:
        self._ips = _IpTexts()
        self._macs = _MacTexts()
        self._endpoints: dict[EndKey, Endpoint] = {}

    def mac(self, number: int) -> str:
        """Give a hardware address as text, empty for none."""
        if len(self._macs) >= _CACHED:
            self._macs.clear()
        return self._macs[number]

    def mac_column(self, numbers: Rows) -> list[str]:
        """Give a column of hardware addresses as text."""
        texts = self._macs
        if len(texts) >= _CACHED:
            texts.clear()
        return [texts[number] for number in numbers.tolist()]

    def ip_column(self, highs: Rows, lows: Rows, has_ip: Rows) -> list[str]:
        """Give two columns of halves of addresses as text, empty where there is none."""
        texts = self._ips
        if len(texts) >= _CACHED:
            texts.clear()
        texts[0, 0] = ""
        halves = zip((highs * has_ip).tolist(), (lows * has_ip).tolist(), strict=True)
        return [texts[pair] for pair in halves]

    def endpoint(self, key: EndKey) -> Endpoint:
        """Give an endpoint by hardware address, IP address in two halves, port, and IP version (0: no address)."""
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            if len(self._endpoints) >= _CACHED:
                self._endpoints.clear()
            endpoint = self._endpoints[key] = self.new_endpoint(*key)
        return endpoint

    def new_endpoint(self, mac: int, high: int, low: int, port: int, version: int) -> Endpoint:
        """Make an endpoint that is not likely to come again; as `endpoint`."""
        ip = self._ip(high, low) if version and (high or low) else ""
        return Endpoint(mac=self.mac(mac), ip=ip, port=port)

    def _ip(self, high: int, low: int) -> str:
        if len(self._ips) >= _CACHED:
            self._ips.clear()
        return self._ips[high, low]


def ip_text(high: int, low: int) -> str:
    """Give the address of two column values: IPv4 where it is mapped."""
    if high == 0 and low >> 32 == _MAPPED:
        return f"{low >> 24 & 255}.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
    return ipv6_text(((high << 64) | low).to_bytes(16, "big"))


class Names:
    """Uids of one producer: a prefix of it and a number, so that the same input gives the same records."""

    def __init__(self, producer: str) -> None:
        self._record = hashlib.blake2b(f"record {producer}".encode(), digest_size=8).hexdigest()
        self._flow = hashlib.blake2b(f"flow {producer}".encode(), digest_size=8).hexdigest()
        self._next = 0
        self._ready: list[Uid] = []

    def record(self) -> Uid:
        """Give the next record's uid."""
        if not self._ready:
            numbers = np.arange(self._next + _AHEAD, self._next, -1)
            self._next += _AHEAD
            self._ready = _numbered(self._record, numbers)
        return self._ready.pop()

    def records(self, count: int) -> list[Uid]:
        """Give the next records' uids."""
        self._ready, self._next = [], self._next + count
        return _numbered(self._record, np.arange(self._next - count + 1, self._next + 1))

    def flows(self, numbers: Rows) -> list[Uid]:
        """Give the uids of flows by their numbers."""
        return _numbered(self._flow, numbers)


def _numbered(prefix: str, numbers: Rows) -> list[Uid]:
    """Append 16 hex digits of each number; all digits are made at once, which is what makes it cheap."""
    digits = numbers.astype(">u8").tobytes().hex()
    return [Uid(prefix + digits[at : at + 16]) for at in range(0, len(digits), 16)]


class RecordMaker:
    """Puts bodies into envelopes for one source."""

    def __init__(self, *, tenant: Tenant, site: str, source: str, producer: str) -> None:
        self.tenant = tenant
        self.site = site
        self.source = source
        self.names = Names(producer)
        self.addresses = Addresses()

    def flows(self, reports: Rows, batch_uid: str, names: Sequence[tuple[str, str]]) -> FlowReports:
        """Give flow reports as columns, in order of time.

        Args:
            reports: dtype FLOW, not empty.
            batch_uid: names the stream of bytes in which the flows' first packets lie.
            names: application and server name of each flow, empty where not known.
        """
        order = np.argsort(reports["last_ns"], kind="stable")
        reports = reports[order]
        described = [names[index] for index in order.tolist()]
        has_ip = reports["ip_version"] > 0
        is_icmp = has_ip & np.isin(reports["proto"], _ICMP)
        count = len(reports)
        last = (reports["last_ns"] / 1e9).tolist()
        return FlowReports(
            uid=self.names.record(),
            tenant=self.tenant,
            time=last[-1],
            source=self.source,
            site=self.site,
            last=last,
            first=(reports["first_ns"] / 1e9).tolist(),
            uids=self.names.records(count),
            packets=[f"{batch_uid}#{packet}" for packet in reports["packet"].tolist()],
            src_mac=self.addresses.mac_column(reports["src_mac"]),
            src_ip=self.addresses.ip_column(reports["src_hi"], reports["src_lo"], has_ip),
            src_port=np.where(is_icmp, 0, reports["sport"]).tolist(),
            dst_mac=self.addresses.mac_column(reports["dst_mac"]),
            dst_ip=self.addresses.ip_column(reports["dst_hi"], reports["dst_lo"], has_ip),
            dst_port=np.where(is_icmp, 0, reports["dport"]).tolist(),
            flows=self.names.flows(reports["flow"]),
            states=[FLOW_STATES[state] for state in reports["state"].tolist()],
            proto=np.where(has_ip, reports["proto"].astype(np.int64), -1).tolist(),
            icmp_type=np.where(is_icmp, reports["icmp_type"].astype(np.int64), -1).tolist(),
            app=[app for app, _ in described],
            name=[name for _, name in described],
            mid_stream=(reports["mid_stream"] > 0).tolist(),
            tunnel=[TUNNELS[tunnel] for tunnel in reports["tunnel"].tolist()],
            **{name: reports[name].tolist() for name in _COUNTS},
        )

    def envelope(self, time: float, parent: str, src: Endpoint | None, dst: Endpoint | None, data: Data) -> Observation:
        """Put a body into its envelope; `parent` names the packet behind it, empty for none."""
        return Observation(
            uid=self.names.record(),
            tenant=self.tenant,
            time=time,
            source=self.source,
            parents=(parent,) if parent else (),
            site=self.site,
            src=src,
            dst=dst,
            data=data,
        )

    def reported_ends(self, report: Any) -> tuple[Endpoint, Endpoint]:
        """Give initiator and responder of a flow report."""
        version = int(report["ip_version"])
        src = (int(report["src_mac"]), int(report["src_hi"]), int(report["src_lo"]), int(report["sport"]), version)
        dst = (int(report["dst_mac"]), int(report["dst_hi"]), int(report["dst_lo"]), int(report["dport"]), version)
        return self.addresses.endpoint(src), self.addresses.endpoint(dst)


def read_arp(payload: bytes) -> tuple[int, str] | None:
    """Give the sender of an ARP packet for IPv4: hardware address and IP; None if it announces nothing."""
    if len(payload) < 28:
        return None
    mac = int.from_bytes(payload[8:14], "big")
    if mac == 0 or mac == _BROADCAST or payload[14:18] == b"\0\0\0\0":
        return None
    return mac, str(ipaddress.IPv4Address(payload[14:18]))


def read_ndp(payload: bytes, sender: str) -> tuple[int, str] | None:
    """Give who a neighbour discovery message announces: hardware address and IP; None if nobody.

    Args:
        payload: the whole ICMPv6 message.
        sender: source address of the packet.
    Source: RFC 4861, clause 4.
    """
    fixed = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}.get(payload[0] if payload else 0)
    if fixed is None or len(payload) < fixed:
        return None
    wanted = 2 if payload[0] in (136, 137) else 1
    address = ipv6_text(payload[8:24]) if payload[0] == 136 else sender
    at = fixed
    while len(payload) - at >= 8 and payload[at + 1]:
        if payload[at] == wanted and payload[at + 1] == 1 and address not in ("", "::"):
            return int.from_bytes(payload[at + 2 : at + 8], "big"), address
        at += payload[at + 1] * 8
    return None
