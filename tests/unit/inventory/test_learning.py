from __future__ import annotations

import msgspec
import pytest

from tests.unit.inventory.builders import (
    BULB,
    CAMERA,
    CLOUD_IP,
    DAY,
    START,
    answer,
    bulb,
    camera,
    cloud,
    end,
    flow,
    home,
    router,
)
from thingward.inventory.learner import LearnBounds
from thingward.inventory.learning import LearningStage
from thingward.inventory.stage import InventoryStage
from thingward.model.device import Device
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import Tenant, Uid
from thingward.model.profile import Acl, MudProfile
from thingward.model.terms import BROADCAST


class Home:
    """Inventory and learning together, as on the road."""

    def __init__(self, **bounds: float) -> None:
        self.inventory = InventoryStage()
        self.learning = LearningStage(bounds=LearnBounds(**bounds))  # type: ignore[arg-type]
        self.now = START
        self.feed(*home())

    def feed(self, *events: Event) -> list[MudProfile]:
        self.now += 1
        records = self.learning.feed(self.inventory.feed(events, self.now).records, self.now).records
        return [record for record in records if isinstance(record, MudProfile)]

    def uid(self, mac: str = CAMERA) -> str:
        return next(device.uid for device in self.inventory.devices() if mac in device.macs)

    def profile(self, mac: str = CAMERA, until: float | None = None) -> MudProfile:
        found = self.learning.profile(self.uid(mac), until=until)
        assert found is not None
        return found

    def entries(self, mac: str = CAMERA, until: float | None = None) -> list[tuple[str, str, str, int, int]]:
        return [
            (acl.direction, acl.peer.value, acl.value, acl.proto, acl.port)
            for acl in self.profile(mac, until).acls
            if acl.origin == "learnt"
        ]

    def entry(self, value: str) -> Acl:
        (found,) = [acl for acl in self.profile().acls if acl.value == value]
        return found


def test_a_named_peer_is_learnt_by_name_whatever_its_addresses() -> None:
    site = Home()
    site.feed(answer(camera(), "api.vendor.example", CLOUD_IP, "203.0.113.6"))
    site.feed(flow(camera(), cloud()), flow(camera(), cloud(ip="203.0.113.6")))
    assert site.entries() == [("out", "name", "api.vendor.example", 6, 443)]
    entry = site.entry("api.vendor.example")
    assert (entry.flows, entry.resolved, entry.addresses) == (2, True, (CLOUD_IP, "203.0.113.6"))


def test_a_name_that_dns_told_later_takes_the_place_of_the_address() -> None:
    site = Home()
    site.feed(flow(camera(), cloud(), mid_stream=True, flags=(0x18, 0x18)))
    assert site.entries() == [("out", "address", CLOUD_IP, 6, 443)]
    assert any("began before the watch" in line for line in site.profile().settled.missing)
    site.feed(answer(camera(), "api.vendor.example", CLOUD_IP))
    assert site.entries() == [("out", "name", "api.vendor.example", 6, 443)]


def test_a_name_that_the_device_only_claims_is_marked() -> None:
    site = Home()
    site.feed(flow(camera(), cloud(), name="api.vendor.example"))
    assert site.entry("api.vendor.example").resolved is False


@pytest.mark.parametrize(
    ("event", "entry"),
    [
        (flow(camera(), router(80)), ("out", "role", "gateway", 6, 80)),
        (flow(camera(), bulb(554)), ("out", "device", "BULB", 6, 554)),
        (flow(bulb(), camera(554)), ("in", "device", "BULB", 6, 554)),
        (flow(camera(5353), end("01:00:5e:00:00:fb", "224.0.0.251", 5353), proto=17, answered=False),
         ("out", "role", "mdns", 17, 5353)),
        (flow(camera(6667), end("ff:ff:ff:ff:ff:ff", "192.168.1.255", 6667), proto=17, answered=False),
         ("out", "group", BROADCAST, 17, 6667)),
        (flow(camera(0), cloud(0), proto=1, icmp_type=8), ("out", "address", CLOUD_IP, 1, 0)),
        (flow(cloud(443), camera(50_000), mid_stream=True, flags=(0x18, 0x10)), ("out", "address", CLOUD_IP, 6, 443)),
        (flow(cloud(33_333), camera(44_444), proto=17), ("out", "address", CLOUD_IP, 17, 33_333)),
    ],
)  # fmt: skip
def test_what_a_flow_becomes(event: Event, entry: tuple[str, str, str, int, int]) -> None:
    site = Home()
    site.feed(event)
    direction, peer, value, proto, port = entry
    assert site.entries() == [(direction, peer, site.uid(BULB) if value == "BULB" else value, proto, port)]


@pytest.mark.parametrize(
    "event",
    [
        flow(camera(68), end("ff:ff:ff:ff:ff:ff", BROADCAST, 67), proto=17, answered=False),
        flow(camera(), router(53), proto=17),
        flow(router(67), camera(68), proto=17),
        flow(camera(0), end("ff:ff:ff:ff:ff:ff"), proto=-1, ethertype=0x0806),
        flow(camera(0), end("32:23:03:11:75:2c"), proto=-1, ethertype=0x888E),
        flow(router(0, "192.168.2.50"), camera(0), proto=1, icmp_type=8),
        flow(cloud(0), camera(0), proto=1, icmp_type=3, answered=False),
    ],
)
def test_safe_defaults_need_no_learning(event: Event) -> None:
    site = Home()
    site.feed(event)
    assert site.entries() == []
    assert sum(acl.flows for acl in site.profile().acls) == 1


@pytest.mark.parametrize(
    "event",
    [
        flow(camera(), bulb(23), answered=False),
        flow(camera(), bulb(23), flags=(0x02, 0x14)),
        flow(camera(), cloud(23), answered=False, flags=(0x02, 0)),
        flow(camera(), cloud(0)),
        flow(camera(443), cloud(50_000), mid_stream=True, flags=(0x11, 0x11)),
        flow(cloud(443), camera(50_000), mid_stream=True, flags=(0x18, 0x14)),
    ],
)
def test_attempts_and_rests_of_old_connections_are_no_needs(event: Event) -> None:
    site = Home()
    site.feed(event)
    learnt = site.learning.profile(site.uid())
    assert learnt is None or not [acl for acl in learnt.acls if acl.origin == "learnt"]


def test_a_named_peer_is_a_need_even_when_it_is_down() -> None:
    site = Home()
    site.feed(answer(camera(), "api.vendor.example", CLOUD_IP), flow(camera(), cloud(), answered=False))
    assert site.entries() == [("out", "name", "api.vendor.example", 6, 443)]


def test_two_host_labels_of_one_owner_become_a_wildcard() -> None:
    site = Home()
    for number, name in enumerate(("api.vendor.example", "fw.vendor.example", "log.vendor.example")):
        ip = f"203.0.113.{number}"
        site.feed(answer(camera(), name, ip), flow(camera(), cloud(ip=ip)))
    assert site.entries() == [("out", "name", "*.vendor.example", 6, 443)]
    assert site.entry("*.vendor.example").flows == 3


def test_random_ports_of_one_peer_become_a_range_and_services_stay_apart() -> None:
    site = Home()
    site.feed(*[flow(camera(), cloud(port), proto=17) for port in (443, 8883, 40_001, 45_002, 52_003)])
    ranges = {(acl.port, acl.port_to) for acl in site.profile().acls if acl.origin == "learnt"}
    assert ranges == {(1024, 65535), (443, 0), (8883, 0)}


def test_a_port_of_its_own_that_comes_back_is_the_service() -> None:
    site = Home()
    for port in (41_000, 42_000):
        site.feed(flow(camera(10_077), bulb(port), mid_stream=True, flags=(0x18, 0x18)))
    assert site.entries() == [("in", "device", site.uid(BULB), 6, 10_077)]


def test_three_clients_of_a_service_open_it_to_the_site() -> None:
    site = Home()
    for number in range(3):
        site.feed(flow(end(f"b0:00:00:00:01:0{number}", f"192.168.1.5{number}", 9), camera(554)))
    assert site.entries() == [("in", "local", "", 6, 554)]


def test_a_list_of_bare_time_servers_becomes_any() -> None:
    site = Home()
    site.feed(*[flow(camera(), cloud(123, f"203.0.113.{n}"), proto=17) for n in range(3)])
    assert site.entries() == [("out", "address", "0.0.0.0/0", 17, 123)]


def test_a_flow_is_counted_once_whatever_number_of_reports_it_has() -> None:
    site = Home()
    site.feed(answer(camera(), "api.vendor.example", CLOUD_IP))
    for state in ("new", "update", "update", "end"):
        site.feed(flow(camera(), cloud(), state=state, flow="long"))
    assert site.entry("api.vendor.example").flows == 1


def test_a_flow_that_is_answered_later_is_learnt_then() -> None:
    site = Home()
    site.feed(flow(camera(), cloud(), state="new", flow="slow", answered=False, flags=(0x02, 0)))
    assert site.learning.profile(site.uid()) is None or site.entries() == []
    site.feed(flow(camera(), cloud(), state="update", flow="slow"))
    assert site.entries() == [("out", "address", CLOUD_IP, 6, 443)]


def test_a_name_that_shows_late_renames_the_entry() -> None:
    site = Home()
    site.feed(flow(camera(), cloud(), state="new", flow="x"))
    site.feed(flow(camera(), cloud(), state="end", flow="x", name="api.vendor.example"))
    assert site.entries() == [("out", "name", "api.vendor.example", 6, 443)]
    (group,) = site.learning.traffic(site.uid())
    assert (group.terms.claimed, group.flows) == ("api.vendor.example", 1)


def finding(rule: str, device: str, **more: object) -> Finding:
    return Finding(
        uid=Uid("f"), tenant=Tenant("default"), time=START + 10, source="detection", rule=rule, title="", device=device,
        first=START, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_what_detection_calls_hostile_is_forgotten_and_not_learnt_again() -> None:
    site = Home()
    site.feed(answer(camera(), "api.vendor.example", CLOUD_IP), flow(camera(), cloud()))
    site.feed(flow(camera(), bulb(23), time=START + 9))
    target = site.uid(BULB)
    site.learning.feed([finding("login.bruteforce", site.uid(), target=target)], START)
    assert site.entries() == [("out", "name", "api.vendor.example", 6, 443)]
    site.feed(flow(camera(), bulb(23), time=START + 20))
    assert ("out", "device", target, 6, 23) not in site.entries()


def test_a_scan_takes_back_everything_new_and_a_mere_weakness_nothing() -> None:
    site = Home()
    site.feed(flow(camera(), bulb(23), time=START - 500), flow(camera(), bulb(80), time=START + 9))
    site.learning.feed([finding("login.cleartext", site.uid())], START)
    assert len(site.entries()) == 2
    site.learning.feed([finding("scan.ports", site.uid())], START)
    assert [entry[4] for entry in site.entries()] == [23]


def test_a_profile_learnt_until_a_time_knows_nothing_of_what_came_later() -> None:
    site = Home()
    site.feed(answer(camera(), "a.one.example", CLOUD_IP), flow(camera(), cloud()))
    site.feed(flow(camera(), cloud(80), time=START + 2 * DAY))
    assert len(site.entries()) == 2
    assert site.entries(until=START + DAY) == [("out", "name", "a.one.example", 6, 443)]
    assert site.profile(until=START + 3 * DAY).uid == site.profile().uid


def test_a_merge_of_records_joins_what_was_learnt() -> None:
    site = Home()
    site.feed(flow(camera(), cloud(80)), flow(bulb(), cloud(443)))
    old, new = site.uid(BULB), site.uid()
    gone = Device(uid=Uid(old), tenant=Tenant("default"), time=START, source="inventory", merged_into=new)
    site.learning.feed([gone], START)
    assert {entry[4] for entry in site.entries()} == {80, 443}
    assert len(site.learning.traffic(new)) == 2
    assert site.learning.profile(old) == site.learning.profile(new)


def test_profiles_come_at_most_once_a_minute_and_all_at_the_end() -> None:
    site = Home(interval_s=60.0)
    first = site.feed(flow(camera(), cloud(80)))
    second = site.feed(flow(camera(), cloud(443)))
    assert [len(first), len(second)] == [1, 0]
    later = site.learning.finish(site.now).records
    assert any(isinstance(record, MudProfile) and record.device == site.uid() for record in later)


def test_entries_are_bounded_and_the_rest_is_counted() -> None:
    site = Home(entries=5)
    site.feed(*[flow(camera(), cloud(port)) for port in range(1, 20)])
    assert len(site.entries()) == 5 and site.profile().dropped == 14


def test_the_makers_update_servers_are_safe_defaults() -> None:
    site = Home()
    site.feed(flow(camera(), cloud()))
    known = Device(uid=Uid(site.uid()), tenant=Tenant("default"), time=START, source="inventory", maker="Sonos, Inc.")
    site.learning.feed([known], START)
    assert site.entry("update.sonos.com").origin == "default"


def test_a_snapshot_gives_the_same_stage_again() -> None:
    site = Home()
    site.feed(answer(camera(), "api.vendor.example", CLOUD_IP), flow(camera(), cloud()), flow(camera(), bulb(80)))
    copy = LearningStage()
    copy.restore(site.learning.snapshot())
    assert copy.profile(site.uid()) == site.profile()
    assert copy.traffic(site.uid()) == site.learning.traffic(site.uid())
    with pytest.raises(InvalidInput):
        copy.restore(msgspec.msgpack.encode({"devices": 1}))


def test_recorded_traffic_stays_within_its_bound_and_keeps_every_flow() -> None:
    site = Home(cells=16)
    for hour in range(200):
        site.feed(
            flow(camera(), cloud(80), time=START + hour * 3600), flow(camera(), cloud(443), time=START + hour * 3600)
        )
    groups = site.learning.traffic(site.uid())
    assert len(groups) <= 16 and sum(group.flows for group in groups) == 400
