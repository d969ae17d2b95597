"""Flow reports as columns: the same devices and events as from observations one by one."""

from __future__ import annotations

from thingward.inventory.stage import InventoryStage
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.flow_reports import FlowReports
from thingward.model.ids import DEFAULT_TENANT, Uid, hashed_uid
from thingward.model.observation import DnsAnswer, DnsData, Endpoint, Observation
from thingward.sensing.normalise import NormaliseStage

CAMERA, ROUTER = "b8:27:eb:00:00:01", "50:c7:bf:00:00:fe"
NOW = 1_700_000_000.0


def reports(*flows: tuple[float, str, int, str]) -> FlowReports:
    """One report per (last, state, destination port, destination), all of the camera's by way of the router."""
    count = len(flows)
    return FlowReports(
        uid=hashed_uid("reports"),
        tenant=DEFAULT_TENANT,
        time=flows[-1][0],
        source="guard:test",
        last=[last for last, *_ in flows],
        first=[last - 1.0 for last, *_ in flows],
        uids=[hashed_uid("flow", str(number)) for number in range(count)],
        packets=[f"b#{number}" for number in range(count)],
        src_mac=[CAMERA] * count,
        src_ip=["192.168.1.5"] * count,
        src_port=[40000] * count,
        dst_mac=[ROUTER] * count,
        dst_ip=[ip for *_, ip in flows],
        dst_port=[port for _, _, port, _ in flows],
        flows=[Uid(f"f{number}") for number in range(count)],
        states=[state for _, state, *_ in flows],
        proto=[6] * count,
        ethertype=[0x800] * count,
        packets_out=[3] * count,
        bytes_out=[300] * count,
        packets_in=[2] * count,
        bytes_in=[200] * count,
        flags_out=[0x1B] * count,
        flags_in=[0x1B] * count,
        icmp_type=[-1] * count,
        app=["tls"] * count,
        name=[""] * count,
        mid_stream=[False] * count,
        tunnel=[""] * count,
        vlan=[0] * count,
    )


def answer(time: float, name: str, address: str) -> Observation:
    return Observation(
        uid=hashed_uid("dns", name),
        tenant=DEFAULT_TENANT,
        time=time,
        source="guard:test",
        src=Endpoint(mac=CAMERA, ip="192.168.1.5", port=5000),
        dst=Endpoint(mac=ROUTER, ip="192.168.1.1", port=53),
        data=DnsData(qname=name, rcode=0, answers=(DnsAnswer(name=name, rrtype="A", value=address, ttl_s=60),)),
    )


def run(batch: list[object]) -> tuple[list[Event], list[Device]]:
    stage = InventoryStage()
    records = stage.feed(NormaliseStage().feed(batch, NOW).records, NOW).records  # type: ignore[arg-type]
    records += stage.finish(NOW).records
    devices = [record for record in records if isinstance(record, Device)]
    return [record for record in records if isinstance(record, Event)], devices


FLOWS = reports((NOW, "whole", 443, "1.2.3.4"), (NOW + 5, "end", 443, "1.2.3.4"), (NOW + 9, "new", 80, "5.6.7.8"))
ANSWER = answer(NOW + 2, "cloud.example", "1.2.3.4")


def test_columns_and_observations_give_the_same_events_and_devices() -> None:
    by_one = sorted([*FLOWS.observations(), ANSWER], key=lambda record: record.time)
    assert run([ANSWER, FLOWS]) == run(list(by_one))


def test_rows_go_between_the_records_of_their_time() -> None:
    events, _ = run([ANSWER, FLOWS])
    assert [event.time - NOW for event in events] == [0.0, 2.0, 5.0, 9.0]
    assert events[0].dst is not None and events[0].dst.names == ()
    assert events[2].dst is not None and events[2].dst.names == ("cloud.example",)
    assert [event.activity_id for event in events if event.class_uid == 4001] == [6, 2, 1]
    assert events[0].src is not None and events[0].src.device


def test_several_records_of_reports_are_all_taken() -> None:
    events, devices = run([FLOWS, reports((NOW + 20, "whole", 443, "1.2.3.4"))])
    assert len(events) == 4 and devices
