import pytest

from tests.unit.detection.builders import (
    ALL,
    BOT,
    NOW,
    RST_ACK,
    SYN,
    SYN_ACK,
    THRESHOLDS,
    arp,
    device,
    findings,
    flow,
    host,
    rules,
)  # fmt: skip
from thingward.model.observation import Endpoint


def test_telnet_to_a_few_hosts_is_decisive_at_once():
    events = [flow(host(n), time=NOW + n / 100) for n in range(20, 30)]
    found = findings(events)
    assert [f.rule for f in found] == ["scan.hosts"]
    assert found[0].time <= events[THRESHOLDS.scan_worm_hosts - 1].time
    assert found[0].device == "d-bot"
    assert found[0].severity >= 4
    assert found[0].confidence >= 0.9
    assert "quarantine" in found[0].suggested
    assert found[0].first == NOW + 20 / 100


def test_both_telnet_ports_count_together():
    events = [flow(host(n, 23 if n % 2 else 2323), time=NOW + n / 10) for n in range(20, 24)]
    assert rules(events) == {"scan.hosts"}


def test_three_telnet_hosts_are_no_scan():
    assert rules([flow(host(n), time=NOW + n) for n in range(3)]) == set()


def test_slow_telnet_scan_is_found():
    events = [flow(host(n), time=NOW + 120 * n) for n in range(1, 12)]
    assert rules(events) == {"scan.hosts"}
    assert len(findings(events[:9])) == 0


def test_an_administrator_with_ssh_is_no_worm():
    assert rules([flow(host(n, 22), time=NOW + n) for n in range(2, 9)]) == set()
    assert rules([flow(host(n, 22), time=NOW + n) for n in range(2, 11)]) == {"scan.hosts"}


@pytest.mark.parametrize("port", [80, 443, 53])
def test_a_browser_meets_many_hosts(port):
    answered = [
        flow(host(n, port, net="93.184.216"), time=NOW + n / 10, state="whole", back=3, flags_out=ALL, flags_in=ALL)
        for n in range(60)
    ]
    opened = [flow(host(n, port, net="93.184.216"), time=NOW + n / 10) for n in range(60)]
    assert rules(answered) == set()
    assert rules(opened) == set()


def test_unanswered_web_connections_to_many_hosts_are_a_scan():
    events = [flow(host(n, 80, net="93.184.216"), time=NOW + n / 10, state="whole") for n in range(30)]
    assert rules(events) == {"scan.hosts"}


def test_local_hosts_on_an_odd_port_are_a_scan():
    assert rules([flow(host(n, 9100), time=NOW + n / 10) for n in range(30)]) == {"scan.hosts"}


def test_ports_of_one_host():
    events = [flow(host(5, port), time=NOW + port / 1000) for port in range(1, 40)]
    found = findings(events)
    assert [f.rule for f in found] == ["scan.ports"]
    assert found[0].count == THRESHOLDS.scan_ports
    assert rules([flow(host(5, port), time=NOW + port) for port in range(1, 14)]) == set()


def test_slow_port_scan_is_found():
    events = [flow(host(5, port), time=NOW + 40 * port) for port in range(1, 70)]
    assert rules(events) == {"scan.ports"}


def test_null_scan_has_no_syn():
    events = [flow(host(5, port), time=NOW + port / 1000, flags_out=0x29, mid_stream=True) for port in range(1, 40)]
    assert "scan.ports" in rules(events)


def test_connections_that_began_before_the_capture_do_not_count():
    events = [
        flow(host(5, port), time=NOW + port / 1000, flags_out=0x18, flags_in=0x18, back=2, mid_stream=True)
        for port in range(1, 40)
    ]
    assert rules(events) == set()


def test_answers_to_discovery_are_no_scan():
    speaker = Endpoint(ip="192.168.1.7", port=1900, device="d-speaker")
    events = [flow(host(5, 40000 + n), src=speaker, time=NOW + n / 10, state="whole", proto=17) for n in range(60)]
    assert rules(events) == set()


def test_udp_scan_without_answers():
    events = [flow(host(5, port), time=NOW + port / 100, state="whole", proto=17) for port in range(100, 140)]
    assert rules(events) == {"scan.ports"}
    answered = [flow(host(5, p), time=NOW + p / 100, state="whole", proto=17, back=1) for p in range(100, 140)]
    assert rules(answered) == set()


def test_pings_to_many_hosts():
    events = [flow(host(n, 0), time=NOW + n / 10, proto=1, icmp_type=8) for n in range(40)]
    assert rules(events) == {"scan.hosts"}
    replies = [flow(host(n, 0), time=NOW + n / 10, proto=1, icmp_type=0) for n in range(40)]
    assert rules(replies) == set()


def test_a_scan_from_outside_is_noise_and_not_our_device():
    stranger = Endpoint(ip="45.33.32.156", port=40000)
    found = findings([flow(host(5, port, device="d-cam"), src=stranger, time=NOW) for port in range(1, 40)])
    assert [f.rule for f in found] == ["scan.ports"]
    assert found[0].severity == 2
    assert found[0].device == ""
    assert found[0].target == "d-cam"


def test_multicast_is_no_target():
    group = [flow(Endpoint(ip=f"239.1.1.{n}", port=23), time=NOW + n / 10) for n in range(20)]
    assert rules(group) == set()


def test_refused_and_silent_are_unanswered():
    refused = [
        flow(host(n, 443, net="93.184.216"), time=NOW + n / 10, state="whole", back=1, flags_in=RST_ACK)
        for n in range(30)
    ]
    assert rules(refused) == {"scan.hosts"}
    half = [
        flow(host(n, 443, net="93.184.216"), time=NOW + n / 10, state="whole", back=1, flags_out=SYN, flags_in=SYN_ACK)
        for n in range(30)
    ]
    assert rules(half) == set()


def test_arp_scan_but_not_by_the_gateway():
    asked = [arp(BOT.mac, BOT.ip, asks=f"192.168.1.{n}", time=NOW + n / 10, device="d-bot") for n in range(60)]
    assert rules(asked) == {"scan.arp"}
    assert rules([device(role="gateway"), *asked]) == set()
    assert rules([arp(BOT.mac, BOT.ip, asks="192.168.1.1", time=NOW + n) for n in range(60)]) == set()


def test_a_matter_is_said_once_and_again_after_a_while():
    events = [flow(host(20 + n % 8), time=NOW + n) for n in range(900)]
    found = findings(events)
    assert len(found) == 2
    assert "more like it" in found[1].reason
