from tests.unit.detection.builders import ALL, BOT, NOW, SYN_ACK, THRESHOLDS, findings, flow, host, rules
from thingward.model.observation import Endpoint

VICTIM = host(34, 80, net="93.184.216")
BROKER = host(2, 1883, device="d-broker")


def test_syn_flood_in_one_long_flow():
    found = findings([flow(VICTIM, state="update", out=3000, last=NOW + 2)])
    assert [f.rule for f in found] == ["flood.syn"]
    assert found[0].device == "d-bot"


def test_syn_flood_of_many_ports_is_found_while_it_begins():
    events = [
        flow(VICTIM, src=Endpoint(mac=BOT.mac, ip=BOT.ip, port=1024 + n, device="d-bot"), time=NOW + n / 1000)
        for n in range(2000)
    ]
    found = findings(events)
    assert [f.rule for f in found] == ["flood.syn"]
    assert found[0].time <= events[THRESHOLDS.flood_syn].time


def test_forged_senders_share_a_hardware_address():
    events = [
        flow(VICTIM, src=Endpoint(mac=BOT.mac, ip=f"10.{n // 250}.{n % 250}.1", port=1000), time=NOW + n / 1000)
        for n in range(1000)
    ]
    assert rules(events) == {"flood.syn"}


def test_new_one_sided_tcp_flows_are_a_flood():
    events = [
        flow(VICTIM, src=Endpoint(ip=BOT.ip, port=n), time=NOW + n / 1000, flags_out=0x10, mid_stream=True)
        for n in range(1, 1000)
    ]
    assert rules(events) == {"flood.tcp"}


def test_a_fast_download_is_no_flood():
    down = flow(VICTIM, state="update", out=20_000, back=60_000, flags_out=ALL, flags_in=ALL, last=NOW + 5)
    one_sided = flow(VICTIM, state="update", out=50_000, flags_out=0x10, mid_stream=True, last=NOW + 5)
    assert rules([down, one_sided]) == set()


def test_opening_many_answered_connections_slowly_is_none():
    events = [flow(VICTIM, time=NOW + n / 10, back=1, flags_in=SYN_ACK) for n in range(600)]
    assert "flood.syn" not in rules(events)


def test_udp_flood_small_packets():
    assert rules([flow(VICTIM, proto=17, state="update", out=8000, last=NOW + 4)]) == {"flood.udp"}


def test_the_usual_flood_of_mirai_is_found_in_seconds():
    burst = [flow(VICTIM, proto=17, state="update", out=2000, bytes_out=2000 * 554, time=NOW + n) for n in range(4)]
    assert rules(burst) == {"flood.udp"}


def test_a_flood_of_random_ports_is_no_port_scan():
    def packets(count, size, step_s):
        return [
            flow(
                host(34, 1000 + n, net="93.184.216"), proto=17, state="whole", time=NOW + n * step_s, bytes_out=size,
            )
            for n in range(count)
        ]  # fmt: skip

    assert rules(packets(9000, 554, 0.0005)) == {"flood.udp"}
    assert rules(packets(200, 554, 0.1)) == {"scan.ports"}
    assert rules(packets(200, 60, 0.0005)) == {"scan.ports"}


def test_gre_floods_and_tunnels():
    gre = host(34, 0, net="93.184.216")
    flood = [flow(gre, proto=47, state="update", out=1500, time=NOW + n) for n in range(3)]
    tunnel = [flow(gre, proto=47, state="update", out=1500, back=700, time=NOW + n) for n in range(3)]
    assert rules(flood) == {"flood.other"}
    assert rules(tunnel) == set()


def test_a_camera_that_streams_is_no_flood():
    stream = flow(VICTIM, proto=17, state="update", out=12_000, bytes_out=12_000 * 1200, last=NOW + 30)
    call = flow(VICTIM, proto=17, state="update", out=6000, back=5500, last=NOW + 5)
    assert rules([stream, call]) == set()


def test_the_rate_of_a_long_report_counts():
    slow = flow(VICTIM, proto=17, state="whole", out=100_000, last=NOW + 3600)
    fast = flow(host(35, 80, net="93.184.216"), proto=17, state="whole", out=10_000_000, last=NOW + 3600)
    assert rules([slow]) == set()
    assert rules([fast]) == {"flood.udp"}


def test_icmp_flood():
    assert rules([flow(host(1, 0), proto=1, icmp_type=8, state="update", out=2000, last=NOW + 3)]) == {"flood.icmp"}
    assert rules([flow(host(1, 0), proto=1, icmp_type=8, state="update", out=60, last=NOW + 60)]) == set()


def test_multicast_video_is_no_flood():
    group = Endpoint(mac="01:00:5e:01:01:01", ip="239.1.1.1", port=5000)
    assert rules([flow(group, proto=17, state="update", out=90_000, last=NOW + 5)]) == set()


def test_mqtt_flood_by_packets_and_by_volume():
    many = flow(BROKER, state="update", out=2000, back=2000, flags_out=ALL, flags_in=ALL, last=NOW + 8, app="mqtt")
    large = flow(BROKER, state="update", out=30, bytes_out=400_000, flags_out=ALL, flags_in=ALL, last=NOW + 9, back=30)
    sensor = flow(BROKER, state="update", out=60, back=60, flags_out=ALL, flags_in=ALL, last=NOW + 60, app="mqtt")
    assert rules([many]) == {"mqtt.flood"}
    assert rules([large]) == {"mqtt.flood"}
    assert rules([sensor]) == set()


def test_connections_to_a_broker():
    events = [flow(BROKER, src=Endpoint(ip=BOT.ip, port=n, device="d-bot"), time=NOW + n / 100) for n in range(1, 80)]
    assert rules(events) == {"mqtt.connections"}
    patient = [flow(BROKER, time=NOW + n) for n in range(80)]
    assert rules(patient) == set()
