"""From numbers to records: endpoints as text, flow reports and neighbour announcements as observations."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from thingward.model.columns import FLOW_STATES, TUNNELS, Rows, mac_text
from thingward.model.ids import Tenant, Uid
from thingward.model.observation import Data, Endpoint, FlowData, Observation
from thingward.wire.address import ipv6_text

_MAPPED = 0xFFFF
_ICMP = (1, 58)
_CACHED = 65536
_AHEAD = 512
_NOT_DESCRIBED = ("", "")
_BROADCAST = 0xFFFFFFFFFFFF
EndKey = tuple[int, int, int, int, int]

_ENDS = ("src_mac", "src_hi", "src_lo", "sport", "dst_mac", "dst_hi", "dst_lo", "dport", "ip_version")
_COUNTS = (
    "flow", "packet", "state", "ethertype", "packets_out", "bytes_out", "packets_in", "bytes_in", "flags_out",
    "flags_in", "tunnel", "vlan",
)  # fmt: skip


class Addresses:
    """Endpoints by their numbers; what was made is kept within a bound, then forgotten and made again."""

    def __init__(self) -> None:
        self._ips: dict[tuple[int, int], str] = {}
        self._macs: dict[int, str] = {}
        self._endpoints: dict[EndKey, Endpoint] = {}

    def ip(self, high: int, low: int) -> str:
        """Give an address as text."""
        text = self._ips.get((high, low))
        if text is None:
            if len(self._ips) >= _CACHED:
                self._ips.clear()
            text = self._ips[high, low] = ip_text(high, low)
        return text

    def mac(self, number: int) -> str:
        """Give a hardware address as text, empty for none."""
        text = self._macs.get(number)
        if text is None:
            if len(self._macs) >= _CACHED:
                self._macs.clear()
            text = self._macs[number] = mac_text(number)
        return text

    def endpoint(self, key: EndKey) -> Endpoint:
        """Give an endpoint by hardware address, IP address in two halves, port, and IP version (0: no address)."""
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            if len(self._endpoints) >= _CACHED:
                self._endpoints.clear()
            mac, high, low, port, version = key
            ip = self.ip(high, low) if version and (high or low) else ""
            endpoint = self._endpoints[key] = Endpoint(mac=self.mac(mac), ip=ip, port=port)
        return endpoint


def ip_text(high: int, low: int) -> str:
    """Give the address of two column values: IPv4 where it is mapped."""
    if high == 0 and low >> 32 == _MAPPED:
        return str(ipaddress.IPv4Address(low & 0xFFFFFFFF))
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

    def flows(self, reports: Rows, batch_uid: str, described: Mapping[int, tuple[str, str]]) -> Iterator[Observation]:
        """Give one observation per flow report.

        Args:
            reports: dtype FLOW.
            batch_uid: names the stream of bytes in which the flows' first packets lie.
            described: application and server name of flows by their number, where known.
        """
        names, tenant, source, site = self.names, self.tenant, self.source, self.site
        flows = names.flows(reports["flow"])
        for flow_uid, ends, counts, kind in zip(
            flows, self._ends(reports), _lists(reports, _COUNTS), _kinds(reports), strict=True
        ):
            (
                flow, packet, state, ethertype, packets_out, bytes_out, packets_in, bytes_in, flags_out,
                flags_in, tunnel, vlan,
            ) = counts  # fmt: skip
            first, last, proto, icmp_type, mid_stream = kind
            app, name = described.get(flow, _NOT_DESCRIBED)
            yield Observation(
                uid=names.record(),
                tenant=tenant,
                time=last,
                source=source,
                parents=(f"{batch_uid}#{packet}",),
                site=site,
                src=ends[0],
                dst=ends[1],
                data=FlowData(
                    flow=flow_uid,
                    state=FLOW_STATES[state],  # type: ignore[arg-type]
                    first=first,
                    last=last,
                    proto=proto,
                    ethertype=ethertype,
                    packets_out=packets_out,
                    bytes_out=bytes_out,
                    packets_in=packets_in,
                    bytes_in=bytes_in,
                    flags_out=flags_out,
                    flags_in=flags_in,
                    icmp_type=icmp_type,
                    app=app,
                    name=name,
                    mid_stream=mid_stream,
                    tunnel=TUNNELS[tunnel],
                    vlan=vlan,
                ),
            )

    def _ends(self, reports: Rows) -> Iterator[tuple[Endpoint, Endpoint]]:
        """Give initiator and responder of each report; only the responder's endpoint is likely to come again."""
        endpoint, ip, mac = self.addresses.endpoint, self.addresses.ip, self.addresses.mac
        is_icmp = (reports["ip_version"] > 0) & np.isin(reports["proto"], _ICMP)
        for ends, without_ports in zip(_lists(reports, _ENDS), is_icmp.tolist(), strict=True):
            src_mac, src_hi, src_lo, sport, dst_mac, dst_hi, dst_lo, dport, version = ends
            if without_ports:
                sport = dport = 0
            text = ip(src_hi, src_lo) if version and (src_hi or src_lo) else ""
            src = Endpoint(mac=mac(src_mac), ip=text, port=sport)
            yield src, endpoint((dst_mac, dst_hi, dst_lo, dport, version))

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


def _lists(reports: Rows, names: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    return zip(*(reports[name].tolist() for name in names), strict=True)


def _kinds(reports: Rows) -> Iterator[tuple[float, float, int, int, bool]]:
    """Give first and last time in seconds, protocol (-1 without IP), ICMP type (-1 for none), mid_stream."""
    has_ip = reports["ip_version"] > 0
    is_icmp = has_ip & np.isin(reports["proto"], _ICMP)
    return zip(
        (reports["first_ns"] / 1e9).tolist(),
        (reports["last_ns"] / 1e9).tolist(),
        np.where(has_ip, reports["proto"].astype(np.int64), -1).tolist(),
        np.where(is_icmp, reports["icmp_type"].astype(np.int64), -1).tolist(),
        (reports["mid_stream"] > 0).tolist(),
        strict=True,
    )


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
