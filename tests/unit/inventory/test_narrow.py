"""Which safe defaults are left once a device was watched for days."""

from __future__ import annotations

import pytest

from tests.unit.inventory.builders import (
    CAMERA,
    CAMERA_IP,
    DAY,
    ROUTER,
    ROUTER_IP,
    START,
    answer,
    arp,
    bulb,
    camera,
    cloud,
    end,
    flow,
    home,
    router,
    says,
)
from tests.unit.inventory.test_learning import Home, finding
from thingward.inventory.stage import InventoryStage
from thingward.model.event import Event
from thingward.model.terms import BROADCAST

NTP = ("role", "ntp", 17, 123)
ND = ("role", "nd", 58, 0)
DHCP6 = ("role", "dhcp", 17, 547)


def watched(*events: Event, days: int = 4) -> Home:
    """A camera that calls its cloud every day, and does what is given on the first."""
    site = Home()
    site.feed(*events)
    for day in range(days):
        site.feed(flow(camera(), cloud(), time=START + day * DAY))
    return site


def defaults(site: Home, until: float | None = None) -> set[tuple[str, str, int, int]]:
    return {
        (acl.peer.value, acl.value, acl.proto, acl.port)
        for acl in site.profile(until=until).acls
        if acl.origin == "default"
    }


def started(time: float = START) -> Event:
    """Ask everybody for an address."""
    return flow(camera(68), end("ff:ff:ff:ff:ff:ff", BROADCAST, 67), proto=17, answered=False, time=time)


def asked(name: str, ip: str, time: float = START) -> tuple[Event, Event]:
    return answer(camera(), name, ip, time=time), flow(camera(), cloud(123, ip), proto=17, time=time)


def test_a_time_service_of_its_own_takes_the_place_of_all_others() -> None:
    site = watched(*asked("time.nist.gov", "203.0.113.9"))
    assert NTP not in defaults(site)
    assert ("out", "name", "*.nist.gov", 17, 123) in site.entries()


def test_time_services_stay_apart_and_their_servers_are_one() -> None:
    events = [*asked("0.pool.ntp.org", "203.0.113.9"), *asked("3.pool.ntp.org", "203.0.113.10")]
    site = watched(*events, *asked("time.windows.com", "203.0.113.11"))
    named = [entry for entry in site.entries() if entry[4] == 123]
    assert named == [("out", "name", "*.pool.ntp.org", 17, 123), ("out", "name", "*.time.windows.com", 17, 123)]


def test_a_device_that_was_seen_to_start_and_asked_nobody_needs_no_time() -> None:
    assert NTP in defaults(watched())
    assert NTP in defaults(watched(started()))
    assert NTP not in defaults(watched(started(), started(START + DAY)))


def test_the_sites_own_time_server_stays() -> None:
    served = says(router(), ("ntp.mode", "server"), protocol="ntp")
    site = watched(served, started(), started(START + DAY), flow(camera(), router(123), proto=17))
    assert NTP in defaults(site)


def test_who_asks_for_the_time_keeps_the_default_if_its_own_entry_was_taken_back() -> None:
    site = watched(started(), started(START + DAY), *asked("time.nist.gov", "203.0.113.9"))
    assert NTP not in defaults(site)
    site.learning.feed([finding("scan.ports", site.uid(CAMERA))], START)
    assert not any(entry[4] == 123 for entry in site.entries())
    assert NTP in defaults(site)


def test_before_it_was_watched_for_days_everything_stays() -> None:
    site = watched(*asked("time.nist.gov", "203.0.113.9"), days=2)
    assert {NTP, ND, DHCP6} <= defaults(site)


@pytest.mark.parametrize(
    "event",
    [
        flow(camera(0), end("33:33:00:00:00:02", "ff02::2"), proto=58, icmp_type=133, answered=False),
        flow(end(CAMERA, "fe80::1", 40_000), end(ROUTER, "fe80::fe", 80)),
    ],
)
def test_what_ipv6_needs_stays_for_who_speaks_it(event: Event) -> None:
    assert {ND, DHCP6} <= defaults(watched(event))


def test_what_ipv6_needs_goes_for_who_does_not_and_a_hardware_address_is_no_ipv6() -> None:
    frame = flow(camera(0), end("32:23:03:11:75:2c"), proto=-1, ethertype=0x888E)
    left = defaults(watched(frame))
    assert not {ND, DHCP6, ("role", "icmp", 58, 0)} & left
    assert {("role", "dhcp", 17, 67), ("role", "dns", 17, 53), ("role", "icmp", 1, 0), ("role", "arp", -1, 0)} <= left


def test_a_trial_is_as_narrow_as_the_profile_that_would_be_approved() -> None:
    site = watched(started(), started(START + DAY))
    assert NTP not in defaults(site, until=START + 1.5 * DAY)
    late = watched(started(), *asked("time.nist.gov", "203.0.113.9", START + 3 * DAY))
    assert ("out", "name", "*.nist.gov", 17, 123) not in late.entries(until=START + 2 * DAY)


def test_questions_for_the_time_do_not_make_a_profile_look_settled() -> None:
    site = watched(*asked("time.nist.gov", "203.0.113.9"), days=1)
    before = site.profile().settled
    site.feed(*(flow(camera(), cloud(123, "203.0.113.9"), proto=17) for _ in range(50)))
    assert (site.profile().settled.flows, site.profile().settled.unseen_bound) == (before.flows, before.unseen_bound)


def test_an_address_is_asked_of_everybody_or_of_the_sites_servers() -> None:
    site = Home()
    site.feed(started(), flow(camera(68), router(67), proto=17))
    assert site.entries() == []
    site.feed(flow(camera(68), end("b0:00:00:00:00:77", "192.168.1.77", 67), proto=17))
    assert [entry[4] for entry in site.entries()] == [67]


def test_while_no_server_is_known_whoever_is_asked_may_be_one() -> None:
    stage = InventoryStage()
    stage.feed([arp(CAMERA, CAMERA_IP), arp(ROUTER, ROUTER_IP)], START)
    (seen,) = stage.feed([flow(camera(68), router(67), proto=17)], START).records[:1]
    assert isinstance(seen, Event) and seen.dst and "dhcp" in seen.dst.roles
    stage.feed(home(), START)
    (seen,) = stage.feed([flow(camera(68), bulb(67), proto=17)], START).records[:1]
    assert isinstance(seen, Event) and seen.dst and "dhcp" not in seen.dst.roles


def test_a_server_that_answers_a_new_network_is_heard() -> None:
    site = Home()
    site.feed(flow(end("b0:00:00:00:00:77", "192.168.1.77", 67), camera(68), proto=17))
    assert site.entries() == []


def test_what_was_seen_outlives_a_snapshot_and_a_merge() -> None:
    site = watched(started(), started(START + DAY))
    site.learning.restore(site.learning.snapshot())
    assert NTP not in defaults(site)
