from __future__ import annotations

import msgspec
import pytest

from tests.unit.inventory.builders import (
    BULB_IP,
    CAMERA,
    CAMERA_IP,
    CLOUD_IP,
    DAY,
    ROUTER,
    ROUTER_IP,
    START,
    answer,
    bulb,
    camera,
    cloud,
    end,
    flow,
    home,
    lease,
    router,
    says,
)
from thingward.inventory.members import Bounds
from thingward.inventory.stage import InventoryStage
from thingward.model.device import Correction, Device
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.ids import Tenant, Uid
from thingward.model.observation import StatusData


def fed(*events: Event, stage: InventoryStage | None = None) -> InventoryStage:
    stage = stage or InventoryStage()
    stage.feed(events, START)
    return stage


def by_mac(stage: InventoryStage, mac: str) -> Device:
    (found,) = [device for device in stage.devices() if mac in device.macs]
    return found


def events_of(stage: InventoryStage, *events: Event) -> list[Event]:
    return [record for record in stage.feed(events, START).records if isinstance(record, Event)]


def test_both_ends_of_a_flow_get_their_device() -> None:
    stage = fed(*home())
    (seen,) = events_of(stage, flow(camera(), bulb(80)))
    assert seen.src and seen.dst
    assert seen.src.device == by_mac(stage, CAMERA).uid
    assert seen.dst.device != seen.src.device != ""


def test_a_host_beyond_the_router_is_no_device_and_the_router_is_a_gateway() -> None:
    stage = fed(*home())
    (seen,) = events_of(stage, flow(camera(), cloud()))
    assert seen.dst and seen.dst.device == ""
    assert by_mac(stage, ROUTER).role == "gateway"
    assert by_mac(stage, ROUTER).addresses == (ROUTER_IP,)
    assert len(stage.devices()) == 3


def test_a_private_host_of_another_subnet_is_beyond_the_router() -> None:
    stage = fed(*home(), flow(camera(), cloud()))
    (seen,) = events_of(stage, flow(router(0, "192.168.2.50"), camera(0), proto=1, icmp_type=8))
    assert seen.src and seen.src.device == ""
    assert "192.168.2.50" not in by_mac(stage, ROUTER).addresses


def test_the_other_end_is_named_by_the_devices_own_dns_answers_only() -> None:
    stage = fed(*home(), answer(camera(), "cloud.example", CLOUD_IP))
    mine, other = events_of(stage, flow(camera(), cloud()), flow(bulb(), cloud()))
    assert mine.dst and mine.dst.names == ("cloud.example",)
    assert other.dst and other.dst.names == ()


def test_records_that_do_not_belong_to_the_question_name_nothing() -> None:
    forged = answer(camera(), "cloud.example", CLOUD_IP)
    data = forged.data
    other = msgspec.structs.replace(data, qname="other.example")  # type: ignore[type-var]
    stage = fed(*home(), msgspec.structs.replace(forged, data=other))
    (seen,) = events_of(stage, flow(camera(), cloud()))
    assert seen.dst and seen.dst.names == ()


def test_roles_come_from_the_lease() -> None:
    stage = fed(*home())
    (seen,) = events_of(stage, flow(camera(), router(53), proto=17))
    assert seen.dst and set(seen.dst.roles) == {"dhcp", "dns", "gateway"}


def test_a_second_dhcp_servers_word_is_not_taken() -> None:
    stage = fed(*home())
    rogue = lease("b0:00:00:00:00:33", "192.168.1.33")
    data = msgspec.structs.replace(rogue.data, resolvers=("192.168.1.66",), routers=("192.168.1.66",))  # type: ignore[type-var]
    fed(msgspec.structs.replace(rogue, data=data, dst=end("b0:00:00:00:00:66", "192.168.1.66", 67)), stage=stage)
    assert stage.roles()["dns"] == (ROUTER_IP,)
    assert stage.network.state.rivals == ["192.168.1.66"]


def test_without_a_lease_a_device_that_answers_dns_becomes_the_resolver() -> None:
    resolver = end("b0:00:00:00:00:53", "192.168.1.53", 53)
    events = [msgspec.structs.replace(answer(camera(), f"n{n}.example", CLOUD_IP), dst=resolver) for n in range(3)]
    assert fed(*events[:2]).roles()["dns"] == ()
    assert fed(*events).roles()["dns"] == ("192.168.1.53",)


def test_public_time_services_have_the_role_ntp_only_where_dns_named_them() -> None:
    stage = fed(*home(), answer(camera(), "2.pool.ntp.org", CLOUD_IP))
    named, bare, other = events_of(
        stage,
        flow(camera(), cloud(123), proto=17),
        flow(bulb(), cloud(123), proto=17),
        flow(camera(), cloud(443)),
    )
    assert [seen.dst.roles for seen in (named, bare, other) if seen.dst] == [("ntp",), (), ()]


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:11:22:33:44:55"])
def test_every_odd_source_address_is_in_one_record(mac: str) -> None:
    stage = fed(flow(end(mac, "192.168.1.9", 5), bulb(80)), flow(end(mac, "", 0), bulb(0), proto=-1, ethertype=0x88B5))
    device = by_mac(stage, mac)
    assert device.group == (mac != "02:11:22:33:44:55")


def test_broadcast_and_silent_receivers_make_no_device() -> None:
    stage = fed(
        flow(camera(68), end("ff:ff:ff:ff:ff:ff", "255.255.255.255", 67), proto=17, answered=False),
        flow(camera(), end("b0:00:00:00:00:77", "192.168.1.77", 80), answered=False),
    )
    assert [device.macs for device in stage.devices()] == [(CAMERA,)]


def test_without_hardware_addresses_local_senders_are_devices_and_scanned_addresses_are_not() -> None:
    stage = fed(
        flow(end(ip="192.168.1.5", port=4000), end(ip=CLOUD_IP, port=443)),
        flow(end(ip="192.168.1.5", port=4000), end(ip="192.168.1.200", port=23), answered=False),
        flow(end(ip="192.168.1.5", port=4000), end(ip="192.168.1.6", port=80)),
    )
    assert {device.addresses for device in stage.devices()} == {("192.168.1.5",), ("192.168.1.6",)}


def test_a_source_without_hardware_addresses_meets_the_device_that_holds_the_address() -> None:
    before = fed(flow(end(ip=CAMERA_IP, port=1), end(ip=CLOUD_IP, port=443)), *home())
    after = fed(*home(), flow(end(ip=CAMERA_IP, port=1), end(ip=CLOUD_IP, port=443)))
    for stage in (before, after):
        assert len([d for d in stage.devices() if CAMERA_IP in d.addresses]) == 1
        assert by_mac(stage, CAMERA).addresses == (CAMERA_IP,)


def test_an_address_moves_with_its_lease() -> None:
    stage = fed(*home(), lease("b0:00:00:00:00:09", CAMERA_IP, START + 10))
    (seen,) = events_of(stage, flow(end(ip=CAMERA_IP, port=5), end(ip=CLOUD_IP, port=443), time=START + 20))
    assert seen.src and seen.src.device == by_mac(stage, "b0:00:00:00:00:09").uid


def test_a_persons_correction_outranks_evidence_and_stays() -> None:
    stage = fed(*home(), says(camera(), ("mdns.category", "17"), protocol="mdns"))
    uid = by_mac(stage, CAMERA).uid
    correction = Correction(
        uid=Uid("c"), tenant=Tenant("default"), time=START, source="core", device=uid, label="Door", kind="doorbell"
    )
    stage.feed([correction], START)
    fed(says(camera(), ("mdns.category", "17"), protocol="mdns", time=START + 5), stage=stage)
    device = by_mac(stage, CAMERA)
    assert (device.label, device.kind, device.identified) == ("Door", "doorbell", True)


def test_a_person_can_merge_two_records_and_take_it_back() -> None:
    stage = fed(*home())
    first, second = by_mac(stage, CAMERA), next(d for d in stage.devices() if BULB_IP in d.addresses)

    def merge(into: str) -> list[Device]:
        note = Correction(
            uid=Uid("m"), tenant=Tenant("default"), time=START, source="core", device=second.uid, merge_into=into
        )
        return [record for record in stage.feed([note], START + DAY).records if isinstance(record, Device)]

    absorbed = [device for device in merge(first.uid) if device.merged_into]
    assert [(device.uid, device.merged_into, device.macs) for device in absorbed] == [(second.uid, first.uid, ())]
    assert len(by_mac(stage, CAMERA).macs) == 2
    merge("")
    assert by_mac(stage, CAMERA).macs == (CAMERA,)


def test_a_flood_of_forged_addresses_does_not_push_out_established_devices() -> None:
    stage = InventoryStage(bounds=Bounds(devices=50))
    fed(*home(), flow(camera(), cloud(), time=START, last=START + 700), *home(START + 900), stage=stage)
    flood = [flow(end(f"a0:00:00:00:{n >> 8:02x}:{n & 255:02x}", "10.0.0.1", 1), bulb(80)) for n in range(500)]
    for start in range(0, 500, 20):
        stage.feed(flood[start : start + 20], START + 1000)
    assert by_mac(stage, CAMERA).addresses == (CAMERA_IP,)
    assert len(stage.devices()) == 50
    assert stage.dropped["devices"] == 453
    drops = [r for r in stage.tick(START).records if isinstance(r, Event) and isinstance(r.data, StatusData)]
    assert drops and drops[0].data.counts["devices"] == 453  # type: ignore[union-attr]


def test_addresses_and_attributes_are_bounded_and_what_is_dropped_is_counted() -> None:
    stage = InventoryStage(bounds=Bounds(addresses=4, attributes=6))
    fed(*[flow(end(CAMERA, f"192.168.1.{n}", 1), bulb(80)) for n in range(10, 30)], stage=stage)
    fed(*[says(camera(), ("http.server", f"s{n}"), protocol="http") for n in range(20)], stage=stage)
    device = by_mac(stage, CAMERA)
    assert len(device.addresses) == 4 and len(device.evidence) == 6
    assert stage.dropped["addresses"] >= 16 and stage.dropped["attributes"] == 14


def test_records_are_emitted_at_a_bounded_rate() -> None:
    stage = InventoryStage()

    def emitted(now: float) -> int:
        batch = [says(camera(), ("http.user_agent", f"a{now}"), protocol="http")]
        return sum(isinstance(record, Device) for record in stage.feed(batch, now).records)

    assert [emitted(100.0), emitted(101.0), emitted(105.0), emitted(111.0)] == [1, 0, 0, 1]
    stage.feed([says(camera(), ("http.user_agent", "b"), protocol="http")], 112.0)
    assert [len(stage.finish(112.0).records), len(stage.finish(112.0).records)] == [1, 0]


def test_a_snapshot_gives_the_same_stage_again() -> None:
    one = fed(*home(), answer(camera(), "cloud.example", CLOUD_IP), flow(camera(), cloud()))
    two = InventoryStage()
    two.restore(one.snapshot())
    assert two.devices() == one.devices() and two.roles() == one.roles()
    later = flow(camera(), cloud(), time=START + 50)
    assert events_of(one, later) == events_of(two, later)
    with pytest.raises(InvalidInput):
        two.restore(b"\x01nonsense")


def test_records_of_another_run_are_taken_over() -> None:
    one = fed(*home(), says(camera(), ("dhcp.hostname", "porch-cam-7731")))
    two = InventoryStage(producer="other")
    two.feed(one.devices(), START)
    assert by_mac(two, CAMERA).names == ("porch-cam-7731",)
    assert by_mac(two, CAMERA).uid == by_mac(one, CAMERA).uid


def test_eui64_addresses_are_the_devices_own_and_make_their_prefix_local() -> None:
    own = "2001:db8:1:2:b200:ff:fe00:1"
    stage = fed(flow(end(CAMERA, own, 4000), end(ROUTER, "2001:db8:ffff::1", 443)))
    assert own in by_mac(stage, CAMERA).addresses
    (seen,) = events_of(stage, flow(end(BULB := "b0:00:00:00:00:02", "2001:db8:1:2::77", 5), camera(80)))
    assert seen.src and seen.src.device == by_mac(stage, BULB).uid


def test_a_hardware_address_with_many_public_addresses_is_a_router() -> None:
    events = [flow(end("b0:00:00:00:00:aa", "198.51.100.7", 9), end(ROUTER, f"203.0.113.{n}", 80)) for n in range(4)]
    stage = fed(*events)
    assert by_mac(stage, ROUTER).role == "gateway"
    assert by_mac(stage, "b0:00:00:00:00:aa").role == ""
    assert by_mac(stage, ROUTER).addresses == ()


def test_who_was_only_spoken_to_is_a_device_once_it_sends() -> None:
    stage = InventoryStage()
    outside = end("b0:00:00:00:00:31", CLOUD_IP, 443)
    stage.feed([flow(camera(), outside, answered=False), flow(outside, camera(), answered=False)], START)
    assert [device.macs for device in stage.devices()].count(("b0:00:00:00:00:31",)) == 1


def random_macs(count: int) -> list[str]:
    return [f"{2 + 4 * (n % 4):02x}:1b:2c:3d:4e:{n:02x}" for n in range(count)]


def probe(mac: str, time: float) -> list[Event]:
    """An ARP probe as the sensor tells of it: a frame, what it says of itself, and its flow."""
    said = says(end(mac, "0.0.0.0"), protocol="arp", time=time)
    return [
        said,
        flow(
            end(mac, "0.0.0.0"),
            end("ff:ff:ff:ff:ff:ff", ROUTER_IP),
            proto=-1,
            ethertype=0x0806,
            time=time,
            answered=False,
        ),
    ]


def test_random_addresses_that_only_probe_are_no_devices() -> None:
    probes = [event for n, mac in enumerate(random_macs(50)) for event in probe(mac, START + n)]
    stage = InventoryStage()
    out = stage.feed([*home(), *probes], START).records
    *devices, passers = stage.devices()
    assert len(devices) == 3 and not any(device.group for device in devices)
    assert passers.group and set(passers.macs) == set(random_macs(50)), "each sender is in some record"
    told = {uid for record in out if isinstance(record, Event) and record.src for uid in [record.src.device]}
    assert {record.uid for record in out if isinstance(record, Device)} == told - {""}
    assert not [r for r in stage.finish(START + 60).records if isinstance(r, Device) and not r.addresses]


@pytest.mark.parametrize("how", ["address", "name", "other", "lease"])
def test_a_candidate_becomes_a_device_once_it_has_an_address_or_says_something(how: str) -> None:
    (mac,) = random_macs(1)
    more = {
        "address": flow(end(mac, "192.168.1.77", 5000), bulb(80), time=START + 5),
        "name": says(end(mac, "0.0.0.0"), ("dhcp.hostname", "kims-phone-7731"), time=START + 5),
        "other": flow(end(mac), bulb(), proto=-1, ethertype=0x88B8, time=START + 5),
        "lease": lease(mac, "192.168.1.77", START + 5),
    }[how]
    stage = fed(*home(), *probe(mac, START + 1), more)
    uid = by_mac(stage, mac).uid
    again = events_of(stage, *probe(mac, START + 9))
    assert {event.src.device for event in again if event.src} == {uid}
    assert by_mac(stage, mac).first_seen == START + 1


def test_a_makers_own_address_that_only_probes_is_a_device() -> None:
    stage = fed(*home(), *probe("b0:00:00:00:00:44", START))
    assert by_mac(stage, "b0:00:00:00:00:44").addresses == ()


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.0.1.1", "::1", "224.0.0.251"])
def test_addresses_that_name_no_single_host_are_no_devices(ip: str) -> None:
    assert fed(flow(end(ip=ip, port=4000), end(ip=CAMERA_IP, port=514), answered=False)).devices() == ()
