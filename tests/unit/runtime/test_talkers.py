"""Talkers: sums stay right while buckets are joined and moved, tables stay bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thingward.model.event import Event
from thingward.model.observation import Endpoint, FlowData
from thingward.runtime.talkers import BUCKETS, MAX_PEERS, Talkers


def flow(
    time: float, size: int, *, peer: str = "", ip: str = "192.0.2.1", port: int = 443, state: str = "whole"
) -> Event:
    data = FlowData(
        flow="f", state=state, first=time, last=time + 1, proto=6, packets_out=1, bytes_out=size, bytes_in=2 * size
    )  # type: ignore[arg-type]
    ends = (Endpoint(device="d-1", ip="10.0.0.1", port=50000), Endpoint(device=peer, ip=ip, port=port))
    return Event(
        uid=f"e{time}", tenant="default", time=time, source="t", class_uid=4001, src=ends[0], dst=ends[1], data=data
    )


@given(st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 10**6)), min_size=1, max_size=60))
def test_sums_are_kept_in_bounded_buckets(flows: list[tuple[float, int]]) -> None:
    talkers = Talkers()
    talkers.feed([flow(time, size) for time, size in flows])
    points = talkers.traffic("d-1")
    assert len(points) <= BUCKETS
    assert sum(point.bytes_out for point in points) == sum(size for _, size in flows)
    assert sum(point.bytes_in for point in points) == 2 * sum(size for _, size in flows)
    assert points[0].time <= min(time for time, _ in flows)


def test_both_sides_and_merges() -> None:
    talkers = Talkers()
    talkers.feed([flow(1.0, 100, peer="d-2"), flow(2.0, 100, peer="d-2", state="update"), flow(3.0, 7)])
    (big, small) = talkers.peers("d-1")
    assert (big.peer, big.is_device, big.flows, big.bytes_out, big.bytes_in) == ("d-2", True, 1, 200, 400)
    assert (small.peer, small.is_device, small.flows) == ("192.0.2.1", False, 1)
    (back,) = talkers.peers("d-2")
    assert (back.peer, back.outgoing, back.port, back.bytes_out) == ("d-1", False, 443, 400)
    talkers.rename("d-2", "d-3")
    assert not talkers.peers("d-2") and talkers.peers("d-3")[0].bytes_out == 400
    assert sum(point.bytes_out for point in talkers.traffic("d-3")) == 400


def test_peers_are_bounded_and_the_large_stay() -> None:
    talkers = Talkers()
    talkers.feed([flow(1.0, 10**6, ip="198.51.100.1")])
    talkers.feed([flow(2.0, 1, ip=f"203.0.113.{index % 250}", port=index) for index in range(5 * MAX_PEERS)])
    assert len(talkers.peers("d-1", limit=10**6)) == MAX_PEERS
    assert talkers.peers("d-1")[0].peer == "198.51.100.1"
    assert talkers.dropped > 0
