import msgspec
import pytest

from tests.unit.detection.builders import (
    ALL,
    BOT,
    NOW,
    SYN,
    SYN_ACK,
    arp,
    device,
    event,
    findings,
    flow,
    host,
    lease,
    rules,
)  # fmt: skip
from thingward.detection.rules import Content
from thingward.detection.stage import DetectionStage
from thingward.model.device import Site
from thingward.model.finding import Finding
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.observation import AlertData, Endpoint, HttpData, LeaseData, MqttData
from thingward.model.record import Malformed

STRANGER = Endpoint(ip="45.33.32.156", port=40000)
CAMERA = host(5, 8000, device="d-cam")
GATEWAY, LIAR = "02:00:00:00:00:01", "02:00:00:00:00:66"


def opened(dst, **more):
    defaults = {"src": STRANGER, "state": "update", "back": 2, "flags_out": ALL, "flags_in": ALL, "last": NOW + 1}
    return flow(dst, **{**defaults, **more})


def test_an_answered_stranger_shows_what_is_reachable():
    found = findings([opened(CAMERA)])
    assert [(f.rule, f.device, f.severity) for f in found] == [("exposure.reachable", "d-cam", 4)]
    assert [f.severity for f in findings([opened(host(5, 34567, device="d-cam"))])] == [3]


def test_a_stranger_without_an_answer_is_everyday():
    assert rules([opened(CAMERA, flags_out=SYN, flags_in=0, back=0)]) == set()
    assert rules([opened(CAMERA, mid_stream=True)]) == set()


def test_the_way_back_of_the_devices_own_call_is_no_exposure():
    called = flow(STRANGER, src=CAMERA, state="whole", back=2, flags_out=ALL, flags_in=ALL)
    assert rules([called, opened(host(5, 34567, device="d-cam"))]) == set()


def test_a_site_may_have_public_addresses():
    site = Site(uid=Uid("s"), tenant=DEFAULT_TENANT, time=NOW, source="t", name="home", networks=("45.33.0.0/16",))
    assert rules([opened(CAMERA)]) == {"exposure.reachable"}
    assert rules([site, opened(CAMERA)]) == set()


def test_udp_direction_is_believed_for_services_only():
    early = opened(host(5, 161, device="d-cam"), proto=17)
    late = opened(host(5, 161, device="d-cam"), proto=17, time=NOW + 60, last=NOW + 61)
    odd = opened(host(5, 44444, device="d-cam"), proto=17, time=NOW + 60, last=NOW + 61)
    assert rules([early]) == set()
    assert rules([early, late]) == {"exposure.reachable"}
    assert rules([early, odd]) == set()


def test_port_mappings():
    upnp = event(HttpData(method="POST", path="/upnp/control/WANIPConn1"), dst=host(1, 49152))
    read = event(HttpData(method="GET", path="/upnp/control/WANIPConn1"), dst=host(1, 49152))
    natpmp = flow(host(1, 5351), proto=17)
    assert rules([upnp]) == {"exposure.port_mapping"}
    assert rules([natpmp]) == {"exposure.port_mapping"}
    assert rules([read]) == set()


def test_new_devices_after_the_first_hour():
    first = flow(host(1, 443), time=NOW)
    early = device("d-1", first_seen=NOW + 60, identified=True)
    late = device("d-2", first_seen=NOW + 7200, identified=True)
    phone = device("d-3", first_seen=NOW + 7200, identified=True, randomised=True)
    group = device("d-4", first_seen=NOW + 7200, group=True)
    found = findings([first, early, late, late, phone, group])
    assert [(f.device, f.severity) for f in found if f.rule == "device.new"] == [("d-2", 2), ("d-3", 1)]


def test_unidentified_devices_are_said_once():
    unknown = device("d-1", first_seen=NOW, last_seen=NOW + 30)
    stage = DetectionStage(Content())
    assert findings([unknown], stage=stage) == []
    said = [r for r in stage.tick(NOW + 700).records if isinstance(r, Finding)]
    assert [f.rule for f in said] == ["device.unidentified"]
    assert stage.tick(NOW + 1400).records == []
    known = device("d-2", first_seen=NOW)
    stage.feed([known, device("d-2", first_seen=NOW, identified=True)], NOW)
    assert stage.tick(NOW + 9000).records == []


def test_a_record_that_was_absorbed_is_not_called_unidentified():
    stage = DetectionStage(Content())
    stage.feed([device("d-1", first_seen=NOW), device("d-1", first_seen=NOW, merged_into="d-2")], NOW)
    late = device("d-3", first_seen=NOW + 7200, merged_into="d-2")
    assert findings([flow(host(1, 443)), late], stage=stage) == []
    assert stage.tick(NOW + 9000).records == []


def test_an_address_that_goes_to_and_fro_is_spoofed():
    found = findings([arp(GATEWAY, "192.168.1.1"), arp(LIAR, "192.168.1.1", time=NOW + 5)])
    assert found == []
    found = findings(
        [
            arp(GATEWAY, "192.168.1.7"),
            arp(LIAR, "192.168.1.7", time=NOW + 5, device="d-liar"),
            arp(GATEWAY, "192.168.1.7", time=NOW + 9),
        ]
    )
    assert [f.rule for f in found] == ["arp.spoof"]


def test_taking_the_gateways_address_is_spoofing_at_once():
    gateway = device("d-gw", role="gateway", macs=(GATEWAY,), addresses=("192.168.1.1",))
    found = findings([gateway, arp(GATEWAY, "192.168.1.1"), arp(LIAR, "192.168.1.1", time=NOW + 5, device="d-liar")])
    assert [(f.rule, f.device, f.severity) for f in found] == [("arp.spoof", "d-liar", 4)]


def needed(event):
    return msgspec.structs.replace(event, src=msgspec.structs.replace(event.src, roles=("gateway",)))


def test_forging_one_way_is_found_before_any_device_record():
    found = findings(
        [arp(GATEWAY, "192.168.1.1", device="d-gw"), needed(arp(LIAR, "192.168.1.1", time=NOW + 127, device="d-liar"))]
    )
    assert [(f.rule, f.device, f.target, f.severity) for f in found] == [("arp.spoof", "d-liar", "d-gw", 4)]


def test_the_true_gateway_that_claims_again_is_not_the_liar():
    claims = [
        arp(GATEWAY, "192.168.1.1", device="d-gw"),
        arp(LIAR, "192.168.1.1", time=NOW + 127, device="d-liar"),
        needed(arp(GATEWAY, "192.168.1.1", time=NOW + 137, device="d-gw")),
        needed(arp(LIAR, "192.168.1.1", time=NOW + 140, device="d-liar")),
    ]
    assert {(f.device, f.target) for f in findings(claims)} == {("d-liar", "d-gw")}


def test_a_server_that_answered_requests_holds_its_address_for_sure():
    server = msgspec.structs.replace(lease("02:00:00:00:00:77", "192.168.1.1", message="ack"))
    server = msgspec.structs.replace(server, dst=msgspec.structs.replace(server.dst, mac=GATEWAY, device="d-gw"))
    liar = arp(LIAR, "192.168.1.1", time=NOW + 5, device="d-liar")
    (sure,) = findings([server, arp(GATEWAY, "192.168.1.1", time=NOW + 1, device="d-gw"), liar])
    # A router may answer DHCP with another hardware address than ARP: both have to claim the address.
    assert findings([server, liar]) == []
    assert findings([server, liar, arp(GATEWAY, "192.168.1.1", time=NOW + 9)])[0].device == "d-liar"
    assert (sure.device, sure.severity, sure.confidence) == ("d-liar", 4, 0.85)
    (unsure,) = findings([arp(GATEWAY, "192.168.1.1"), needed(arp(LIAR, "192.168.1.1", time=NOW + 5))])
    assert unsure.confidence < 0.7
    assert "other way round" in unsure.reason


def test_an_address_that_a_lease_gave_to_another_is_not_forged():
    first, second = arp(GATEWAY, "192.168.1.7"), arp(LIAR, "192.168.1.7", time=NOW + 20)
    again = arp(GATEWAY, "192.168.1.7", time=NOW + 30)
    given = event(
        LeaseData(message="ack", address="192.168.1.7"), src=Endpoint(mac=LIAR), dst=host(1, 67), time=NOW + 10
    )
    assert rules([first, second, again]) == {"arp.spoof"}
    assert rules([first, given, second]) == set()
    assert rules([first, second, arp(GATEWAY, "192.168.1.7", time=NOW + 9000)]) == set()


def test_one_device_with_two_cards_is_no_liar():
    claims = [arp(mac, "192.168.1.7", time=NOW + n, device="d-nas") for n, mac in enumerate([GATEWAY, LIAR] * 4)]
    assert rules(claims) == set()


def test_two_dhcp_servers_for_one_client():
    assert rules([lease(LIAR, "192.168.1.1"), lease(LIAR, "192.168.1.66", time=NOW + 1)]) == {"dhcp.rogue"}
    assert rules([lease(LIAR, "192.168.1.1"), lease(GATEWAY, "192.168.2.1", time=NOW + 1)]) == set()
    assert rules([lease(LIAR, "192.168.1.1"), lease(LIAR, "192.168.2.1", time=NOW + 3600)]) == set()


def test_malformed_mqtt_and_bursts():
    mqtt = Malformed(reason="mqtt: bad flags", protocol="mqtt")
    dns = Malformed(reason="dns: name loops", protocol="dns")
    assert rules([event(mqtt, dst=host(2, 1883), time=NOW + n, name=str(n)) for n in range(2)]) == set()
    assert rules([event(mqtt, dst=host(2, 1883), time=NOW + n, name=str(n)) for n in range(8)]) == {"mqtt.malformed"}
    burst = [event(dns, dst=host(2, 53), time=NOW + n / 10, name=str(n)) for n in range(150)]
    assert rules(burst) == {"capture.malformed"}
    assert rules(burst[:15]) == set()


@pytest.mark.parametrize(("topic", "expected"), [("#", {"mqtt.listen_all"}), ("home/+/state", set())])
def test_listening_to_everything(topic, expected):
    assert rules([event(MqttData(operation="subscribe", topic=topic), dst=host(2, 1883))]) == expected


def test_alerts_of_other_engines_keep_their_severity():
    data = AlertData(engine="suricata", signature="ET MALWARE Mirai", signature_id="1:2027063", severity=5)
    found = findings([event(data, dst=host(5, device="d-cam")), event(data, dst=host(5, device="d-cam"), time=NOW + 1)])
    assert [(f.rule, f.severity, f.device, f.target) for f in found] == [("external.alert", 5, "d-bot", "d-cam")]
    outside = findings([event(data, src=STRANGER, dst=host(5, device="d-cam"))])
    assert [(f.device, f.target) for f in outside] == [("d-cam", "")]


def test_sites_and_tenants_do_not_share_state():
    events = [flow(host(n), time=NOW + n / 100) for n in range(20, 22)]
    others = [
        event(e.data, src=e.src, dst=e.dst, time=e.time, name=f"x{n}", tenant="other", site="home")
        for n, e in enumerate(flow(host(n), time=NOW + n / 100) for n in range(22, 25))
    ]
    assert rules([*events, *others]) == set()


def test_unknown_state_is_refused():
    from thingward.model.errors import InvalidInput

    for state in (b"", b"\x80", b"\x81\xa7version\x07", b"nonsense"):
        with pytest.raises(InvalidInput):
            DetectionStage().restore(state)


def test_answered_half_way_is_not_reached():
    assert rules([opened(CAMERA, flags_out=0x06, flags_in=SYN_ACK)]) == {"exposure.reachable"}
    assert BOT.device == "d-bot"


def test_documentation_addresses_are_outside():
    assert rules([opened(CAMERA, src=Endpoint(ip="203.0.113.9", port=40000))]) == {"exposure.reachable"}
    site = Site(uid=Uid("s"), tenant=DEFAULT_TENANT, time=NOW, source="t", name="home", networks=("203.0.113.0/24",))
    assert rules([site, opened(CAMERA, src=Endpoint(ip="203.0.113.9", port=40000))]) == set()
