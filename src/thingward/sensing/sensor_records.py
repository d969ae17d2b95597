"""From numbers to records: endpoints as text, flow reports and neighbour announcements as observations."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from thingward.model.columns import FLOW_STATES, TUNNELS, Rows, mac_text
from thingward.model.ids import Tenant, Uid
from thingward.model.observation import Data, Endpoint, FlowData, Observation
from thingward.wire.address import ipv6_text

_MAPPED = 0xFFFF
_ICMP = (1, 58)
_CACHED = 65536
_NOT_DESCRIBED = ("", "")
_BROADCAST = 0xFFFFFFFFFFFF
EndKey = tuple[int, int, int, int, int]

_FIELDS = (
    "src_mac", "dst_mac", "src_hi", "src_lo", "dst_hi", "dst_lo", "sport", "dport", "ip_version",
    "flow", "packet", "state", "first_ns", "last_ns", "proto", "ethertype", "packets_out", "bytes_out", "packets_in",
    "bytes_in", "flags_out", "flags_in", "icmp_type", "mid_stream", "tunnel", "vlan",
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

    def record(self) -> Uid:
        """Give the next record's uid."""
        self._next += 1
        return Uid(f"{self._record}{self._next:016x}")

    def flow(self, number: int) -> Uid:
        """Give the uid of the n-th flow."""
        return Uid(f"{self._flow}{number:016x}")


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
        endpoint = self.addresses.endpoint
        names, tenant, source, site = self.names, self.tenant, self.source, self.site
        for values in zip(*(reports[name].tolist() for name in _FIELDS), strict=True):
            (
                src_mac, dst_mac, src_hi, src_lo, dst_hi, dst_lo, sport, dport, version,
                flow, packet, state, first_ns, last_ns, proto, ethertype, packets_out, bytes_out, packets_in,
                bytes_in, flags_out, flags_in, icmp_type, mid_stream, tunnel, vlan,
            ) = values  # fmt: skip
            is_icmp = version and proto in _ICMP
            if is_icmp:
                sport = dport = 0
            app, name = described.get(flow, _NOT_DESCRIBED)
            yield Observation(
                uid=names.record(),
                tenant=tenant,
                time=last_ns / 1e9,
                source=source,
                parents=(f"{batch_uid}#{packet}",),
                site=site,
                src=endpoint((src_mac, src_hi, src_lo, sport, version)),
                dst=endpoint((dst_mac, dst_hi, dst_lo, dport, version)),
                data=FlowData(
                    flow=names.flow(flow),
                    state=FLOW_STATES[state],  # type: ignore[arg-type]
                    first=first_ns / 1e9,
                    last=last_ns / 1e9,
                    proto=proto if version else -1,
                    ethertype=ethertype,
                    packets_out=packets_out,
                    bytes_out=bytes_out,
                    packets_in=packets_in,
                    bytes_in=bytes_in,
                    flags_out=flags_out,
                    flags_in=flags_in,
                    icmp_type=icmp_type if is_icmp else -1,
                    app=app,
                    name=name,
                    mid_stream=bool(mid_stream),
                    tunnel=TUNNELS[tunnel],
                    vlan=vlan,
                ),
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
