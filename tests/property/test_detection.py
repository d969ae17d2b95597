"""Findings depend on the records alone: not on how they are cut into batches, nor on a restart in the middle."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.detection.builders import ALL, NOW, SYN, arp, device, event, flow, host, lease, login
from thingward.detection.rules import Content
from thingward.detection.stage import DetectionStage
from thingward.detection.thresholds import Thresholds
from thingward.detection.triage import TriageStage
from thingward.detection.window import DistinctWindow, SumWindow
from thingward.model.finding import Finding
from thingward.model.observation import Endpoint, MqttData
from thingward.model.record import Malformed

# Low thresholds, so that short random histories reach them.
LOW = Content(
    thresholds=Thresholds(
        scan_ports=3, scan_ports_slow=5, scan_ports_udp=3, scan_worm_hosts=2, scan_worm_slow_hosts=3, scan_ssh_hosts=2,
        scan_hosts=3, scan_icmp_hosts=3, scan_arp_targets=2, login_attempts=2, login_pairs=2, login_blind_attempts=3,
        login_connections=2, flood_syn=4, flood_udp_packets=4, flood_udp_small_packets=4, flood_icmp_packets=4,
        mqtt_flood_packets=4, mqtt_connections=2, mqtt_malformed=2, malformed_burst=2, unidentified_after_s=5.0,
        new_device_after_s=20.0,
    )
)  # fmt: skip

ends = st.builds(
    Endpoint,
    ip=st.sampled_from(["192.168.1.5", "192.168.1.6", "45.33.32.156", "239.1.1.1", "", "fe80::1"]),
    mac=st.sampled_from(["", "02:00:00:00:00:05", "02:00:00:00:00:06", "ff:ff:ff:ff:ff:ff"]),
    port=st.sampled_from([0, 22, 23, 80, 443, 1883, 2323, 5351, 40000]),
    device=st.sampled_from(["", "d-1", "d-2"]),
)
times = st.integers(0, 90).map(lambda n: NOW + n)
flows = st.builds(
    flow,
    ends,
    src=ends,
    time=times,
    state=st.sampled_from(["new", "update", "end", "whole"]),
    proto=st.sampled_from([6, 17, 1, -1]),
    out=st.integers(0, 9),
    back=st.integers(0, 3),
    flags_out=st.sampled_from([0, SYN, 0x10, 0x29, ALL]),
    flags_in=st.sampled_from([0, 0x12, 0x14, ALL]),
    mid_stream=st.booleans(),
    icmp_type=st.sampled_from([-1, 0, 8]),
)
others = st.one_of(
    st.builds(
        login,
        st.just(host(5)),
        time=times,
        outcome=st.sampled_from(["failure", "success", "unknown"]),
        tries=st.integers(0, 12),
        listed=st.integers(0, 4),
        lists=st.sampled_from([(), ("mirai",)]),
    ),
    st.builds(arp, st.sampled_from(["02:00:00:00:00:05", "02:00:00:00:00:06"]), st.just("192.168.1.1"), time=times,
              asks=st.sampled_from(["", "192.168.1.8", "192.168.1.9"])),
    st.builds(lease, st.just("02:00:00:00:00:05"), st.sampled_from(["192.168.1.1", "192.168.1.2"]), time=times),
    st.builds(device, st.sampled_from(["d-1", "d-2"]), first_seen=times, last_seen=times, identified=st.booleans(),
              role=st.sampled_from(["", "gateway"])),
    times.map(lambda t: event(Malformed(reason="mqtt: x", protocol="mqtt"), time=t, name=f"m{t}")),
    times.map(lambda t: event(MqttData(operation="connect", return_code=5), dst=host(2, 1883), time=t, name=f"c{t}")),
)  # fmt: skip
scans = st.one_of(
    st.builds(flow, st.integers(1, 6).map(host), time=times),
    st.builds(flow, st.integers(1, 9).map(lambda port: host(5, port)), time=times),
    st.builds(flow, st.integers(1, 6).map(lambda n: host(n, 9)), time=times, state=st.just("whole"), proto=st.just(17)),
)
histories = st.lists(st.one_of(flows, others, scans), max_size=60)


def run(stages, batches):
    found = []
    for batch in batches:
        for stage in stages:
            batch = stage.feed(batch, 0.0).records
        found += [record for record in batch if isinstance(record, Finding)]
    return found


def fresh():
    return [DetectionStage(LOW), TriageStage()]


@given(histories, st.lists(st.integers(0, 60), max_size=5))
def test_batches_do_not_matter(records, cuts):
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    batches = [records[a:b] for a, b in itertools.pairwise(edges)]
    assert run(fresh(), batches) == run(fresh(), [records])


@given(histories, st.integers(0, 60))
def test_a_restart_in_the_middle_does_not_matter(records, cut):
    cut = min(cut, len(records))
    before, after = fresh(), fresh()
    found = run(before, [records[:cut]])
    for old, new in zip(before, after, strict=True):
        new.restore(old.snapshot())
        assert new.snapshot() == old.snapshot()
    assert found + run(after, [records[cut:]]) == run(fresh(), [records])


@given(histories)
def test_records_pass_unchanged_and_findings_have_their_fields(records):
    out = DetectionStage(LOW).feed(records, 0.0).records
    assert [record for record in out if not isinstance(record, Finding)] == records
    found = [record for record in out if isinstance(record, Finding)]
    assert len({finding.uid for finding in found}) == len({(f.key, f.parents) for f in found})
    for finding in found:
        assert 1 <= finding.severity <= 5
        assert 0 <= finding.confidence <= 1
        assert finding.first <= finding.time
        assert finding.reason
        assert finding.parents


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=40), st.integers(1, 12))
def test_distinct_counts_never_exceed_what_lies_in_a_span(added, span):
    window = DistinctWindow(float(span))
    latest = {}
    for item, time in added:
        seen = window.add("k", item, float(time))
        latest[item] = max(latest.get(item, time), time)
        best = max((sum(start <= t <= start + span for t in latest.values()) for start in latest.values()), default=0)
        assert 0 <= seen.count <= best


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 60)), max_size=40))
def test_sums_never_exceed_what_lies_in_a_span(added):
    window = SumWindow(10.0)
    for n, (amount, time) in enumerate(added):
        seen = window.add("k", float(amount), float(time))
        near = sum(a for a, t in added[: n + 1] if abs(t - time) <= 10)
        assert amount <= seen.count <= near
