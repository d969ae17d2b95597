from __future__ import annotations

import itertools

import pytest

from tests.unit.inventory.builders import START, bulb, end, flow, says
from thingward.inventory.firm import is_distinctive
from thingward.inventory.stage import InventoryStage
from thingward.model.device import Device
from thingward.model.event import Event

DAY = 86_400.0
FIRST, SECOND = "02:00:00:00:00:01", "06:00:00:00:00:02"
PHONE = (("dhcp.hostname", "annas-phone-3821"), ("dhcp.vendor_class", "android-dhcp-13"), ("dhcp.parameters", "1,3,6"))


def visit(mac: str, time: float, *pairs: tuple[str, str], ip: str = "192.168.1.30") -> list[Event]:
    """An hour of activity of one address, and what it says."""
    who = end(mac, ip)
    return [
        says(who, *(pairs or PHONE), time=time),
        flow(end(mac, ip, 4000), bulb(80), time=time, last=time + 3600),
    ]


def run(*events: Event) -> InventoryStage:
    stage = InventoryStage()
    stage.feed(events, START)
    stage.tick(START + 1)
    return stage


def partition(stage: InventoryStage) -> set[frozenset[str]]:
    return {frozenset(device.macs) for device in stage.devices() if device.macs and "b0" not in device.macs[0]}


def test_randomised_addresses_with_firm_evidence_are_one_device_and_the_reason_is_kept() -> None:
    stage = run(*visit(FIRST, START), *visit(SECOND, START + DAY))
    (device,) = [device for device in stage.devices() if device.randomised]
    assert set(device.macs) == {FIRST, SECOND}
    (reason,) = [item.value for item in device.evidence if item.name == "merge"]
    assert SECOND in reason and "annas-phone-3821" in reason


def test_a_randomised_address_joins_the_devices_own_address() -> None:
    stage = run(*visit("b4:00:00:00:00:01", START), *visit(SECOND, START + DAY))
    (device,) = [device for device in stage.devices() if SECOND in device.macs]
    assert device.macs == ("b4:00:00:00:00:01", SECOND)


def test_two_devices_seen_talking_at_the_same_time_are_never_one() -> None:
    stage = run(*visit(FIRST, START), *visit(SECOND, START + 600))
    assert partition(stage) == {frozenset({FIRST}), frozenset({SECOND})}
    assert any("at the same time" in line for device in stage.devices() for line in device.conflicts)


def test_conflicting_firm_evidence_keeps_apart_what_shares_a_name() -> None:
    one, two = ("dhcp.client_id", "ff00aabbccdd0001"), ("dhcp.client_id", "ff00aabbccdd0002")
    stage = run(*visit(FIRST, START, *PHONE, one), *visit(SECOND, START + DAY, *PHONE, two))
    assert len(partition(stage)) == 2


def test_makers_own_addresses_are_never_joined() -> None:
    stage = run(*visit("b4:00:00:00:00:01", START), *visit("b4:00:00:00:00:02", START + DAY))
    assert len(partition(stage)) == 2


@pytest.mark.parametrize(
    "pairs",
    [
        (("dhcp.hostname", "iPhone"), ("dhcp.vendor_class", "x"), ("dhcp.parameters", "1,3")),
        (("dhcp.hostname", "annas-phone-3821"),),
        (("mdns.name", "android.local"),),
        (("dhcp.client_id", "01020000000001"),),
        (("ssdp.usn", "uuid:00000000-0000-0000-0000-000000000000"),),
        (("mqtt.client_id", "client"),),
    ],
)
def test_what_many_devices_say_joins_nothing(pairs: tuple[tuple[str, str], ...]) -> None:
    stage = run(*visit(FIRST, START, *pairs), *visit(SECOND, START + DAY, *pairs))
    assert len(partition(stage)) == 2


@pytest.mark.parametrize(
    "pair",
    [
        ("dhcp.client_id", "ff5d1a2b3c0001000126c0"),
        ("mdns.name", "annas-tablet.local"),
        ("ssdp.usn", "uuid:2f402f80-da50-11e1-9b23-001788102201::upnp:rootdevice"),
        ("mqtt.client_id", "sensor-7f3a91c2"),
        ("lldp.serial", "FX1234567"),
    ],
)
def test_each_firm_evidence_alone_is_enough(pair: tuple[str, str]) -> None:
    stage = run(*visit(FIRST, START, pair), *visit(SECOND, START + DAY, pair))
    assert partition(stage) == {frozenset({FIRST, SECOND})}


def test_the_same_stable_interface_identifier_is_firm() -> None:
    ip = "2001:db8::8d3:11ff:aa1b:77c2"
    stage = run(*visit(FIRST, START, ("tls.ja4", "a"), ip=ip), *visit(SECOND, START + DAY, ("tls.ja4", "a"), ip=ip))
    assert partition(stage) == {frozenset({FIRST, SECOND})}


def test_a_merge_ends_only_when_the_evidence_shows_two_devices() -> None:
    stage = run(*visit(FIRST, START), *visit(SECOND, START + DAY))
    assert len(partition(stage)) == 1
    stage.feed(visit(FIRST, START + 3 * DAY), START)  # back to the earlier address: still one
    assert len(partition(stage)) == 1
    stage.feed(visit(SECOND, START + 3 * DAY + 60), START)
    assert len(partition(stage)) == 2


def test_an_absorbed_record_is_told_at_once() -> None:
    stage = InventoryStage()
    stage.feed(visit(FIRST, START), START)
    stage.feed(visit(SECOND, START + DAY, ("tls.ja4", "x")), START + 1)
    records = stage.feed(visit(SECOND, START + DAY), START + 2).records
    absorbed = [record for record in records if isinstance(record, Device) and record.merged_into]
    (standing,) = [device for device in stage.devices() if device.randomised]
    assert [(device.macs, device.merged_into) for device in absorbed] == [((), standing.uid)]


def test_the_order_of_batches_does_not_matter() -> None:
    batches = [
        visit(FIRST, START),
        visit(SECOND, START + DAY),
        visit("0a:00:00:00:00:03", START + DAY + 60),
        visit("0e:00:00:00:00:04", START + 2 * DAY),
    ]
    outcomes = set()
    for order in itertools.permutations(batches):
        stage = InventoryStage()
        for number, batch in enumerate(order):
            stage.feed(batch, START + number)
        outcomes.add(frozenset(partition(stage)))
    assert len(outcomes) == 1


@pytest.mark.parametrize("name", ["Annas-iPhone", "DESKTOP-4K2J9QX", "android-2a3b4c5d6e7f8a9b", "ESP_A1B2C3"])
def test_names_of_one_device(name: str) -> None:
    assert is_distinctive(name)


@pytest.mark.parametrize("name", ["iPhone", "Pixel-7-Pro", "esp32s3", "localhost", "Galaxy-S21", "raspberrypi.local"])
def test_names_that_models_share(name: str) -> None:
    assert not is_distinctive(name)
