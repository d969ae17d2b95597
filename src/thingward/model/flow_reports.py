"""Many flow reports as columns of plain values: what a step of a sensor says, before each becomes a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from thingward.model.ids import DEFAULT_SITE, Uid
from thingward.model.observation import Endpoint, FlowData, Observation
from thingward.model.record import Record

Row = tuple[float, Uid, str, int, str, str, int, str, str, int, FlowData, Any]
"""One report: last, uid, packet, activity, source's MAC, IP and port, destination's, body, the FlowReports."""


class FlowReports(Record, frozen=True, kw_only=True, tag="flow_reports"):
    """Flow reports in order of `last`; all columns have one entry per report, named as in FlowData.

    It saves half of the objects that a flow would become on its way: the inventory makes the events, with devices,
    straight from the columns.

    Attributes:
        uids: of the observation that each report would be.
        packets: `<batch uid>#<offset>` of each flow's first packet.
        activities: OCSF activity, filled in by normalise; empty before.
        states: as `FlowData.state`.
    """

    site: str = DEFAULT_SITE
    last: list[float]
    first: list[float]
    uids: list[Uid]
    packets: list[str]
    activities: list[int] = []
    src_mac: list[str]
    src_ip: list[str]
    src_port: list[int]
    dst_mac: list[str]
    dst_ip: list[str]
    dst_port: list[int]
    flows: list[Uid]
    states: list[str]
    proto: list[int]
    ethertype: list[int]
    packets_out: list[int]
    bytes_out: list[int]
    packets_in: list[int]
    bytes_in: list[int]
    flags_out: list[int]
    flags_in: list[int]
    icmp_type: list[int]
    app: list[str]
    name: list[str]
    mid_stream: list[bool]
    tunnel: list[str]
    vlan: list[int]

    def __len__(self) -> int:
        return len(self.uids)

    def rows(self) -> Iterator[Row]:
        """Give the reports one by one."""
        activities = self.activities or [0] * len(self)
        for (
            last, first, uid, packet, activity, src_mac, src_ip, src_port, dst_mac, dst_ip, dst_port, flow, state, proto,
            ethertype, packets_out, bytes_out, packets_in, bytes_in, flags_out, flags_in, icmp_type, app, name,
            mid_stream, tunnel, vlan,
        ) in zip(
            self.last, self.first, self.uids, self.packets, activities, self.src_mac, self.src_ip, self.src_port,
            self.dst_mac, self.dst_ip, self.dst_port, self.flows, self.states, self.proto, self.ethertype,
            self.packets_out, self.bytes_out, self.packets_in, self.bytes_in, self.flags_out, self.flags_in,
            self.icmp_type, self.app, self.name, self.mid_stream, self.tunnel, self.vlan, strict=True,
        ):  # fmt: skip
            data = FlowData(
                flow=flow,
                state=state,
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
                tunnel=tunnel,
                vlan=vlan,
            )
            yield last, uid, packet, activity, src_mac, src_ip, src_port, dst_mac, dst_ip, dst_port, data, self

    def observations(self) -> Iterator[Observation]:
        """Say each report as the observation that it is."""
        for last, uid, packet, _, src_mac, src_ip, src_port, dst_mac, dst_ip, dst_port, data, _ in self.rows():
            yield Observation(
                uid=uid,
                tenant=self.tenant,
                time=last,
                source=self.source,
                parents=(packet,),
                site=self.site,
                src=Endpoint(mac=src_mac, ip=src_ip, port=src_port),
                dst=Endpoint(mac=dst_mac, ip=dst_ip, port=dst_port),
                data=data,
            )
