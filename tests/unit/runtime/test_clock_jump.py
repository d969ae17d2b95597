"""The road while the clock of machine and sensors is set forward or back by an hour: no stage fails, nothing is invented."""

from __future__ import annotations

import pytest

from thingward.adapters.clock.memory import MemoryClock
from thingward.identity.credentials import make_session, verify_session
from thingward.model.errors import Unauthenticated
from thingward.model.finding import Finding
from thingward.model.ids import DEFAULT_TENANT, Uid, hashed_uid
from thingward.model.observation import Endpoint, FlowData, Observation
from thingward.model.principal import Principal, Role
from thingward.runtime.compose import compose_guard
from thingward.runtime.roadtime import RoadTime
from thingward.runtime.stages import RoadPlan

HOUR = 3600.0
START = 1_760_000_000.0


def flow(n: int, time: float) -> Observation:
    """Give a quiet flow: one of three devices calls the server of its maker."""
    device = n % 3
    data = FlowData(
        flow=hashed_uid("flow", str(n)), state="whole", first=time - 0.5, last=time, proto=6, packets_out=5,
        bytes_out=500, packets_in=5, bytes_in=900, flags_out=0x1B, flags_in=0x1B, app="tls", name="cloud.example",
    )  # fmt: skip
    return Observation(
        uid=Uid(f"o-{n}"), tenant=DEFAULT_TENANT, time=time, source="sensor:eth0",
        src=Endpoint(mac=f"00:11:22:33:44:{device:02x}", ip=f"192.168.1.{10 + device}", port=10_000 + n),
        dst=Endpoint(mac="00:11:22:33:55:01", ip="198.51.100.9", port=443), data=data,
    )  # fmt: skip


def findings_of(jumps: dict[int, float]) -> tuple[list[str], int, int]:
    """Run four hours of a quiet site with jumps before some rounds; gives findings' rules, devices, and stage errors."""
    clock = MemoryClock(START)
    time = RoadTime(clock)
    road, stages = compose_guard(RoadPlan(producer="test", maker_of=lambda mac: ""))
    rules: list[str] = []
    for round_ in range(240):
        clock.jump(jumps.get(round_, 0.0))
        output = road.feed([flow(round_, clock.now())], time.now())
        rules += [record.rule for record in output.records if isinstance(record, Finding)]
        output = road.tick(time.now())
        rules += [record.rule for record in output.records if isinstance(record, Finding)]
        clock.advance(60.0)
    errors = sum(metrics.errors for metrics in road.metrics.values())
    return sorted(set(rules)), len(stages.inventory.devices()), errors


@pytest.mark.parametrize("jumps", [{120: HOUR}, {120: -HOUR}, {80: HOUR, 160: -HOUR}, {80: -HOUR, 160: HOUR}])
def test_a_jump_alone_makes_no_finding_no_device_and_no_error(jumps: dict[int, float]) -> None:
    quiet, devices, errors = findings_of({})
    assert errors == 0
    assert findings_of(jumps) == (quiet, devices, 0)


def test_a_session_ends_by_the_wall_clock() -> None:
    owner = Principal(uid=Uid("u"), tenant=DEFAULT_TENANT, time=START, source="t", name="u", role=Role.VIEWER)
    session, _ = make_session(owner, 2 * HOUR, link=False, random=bytes(32), now=START)
    assert verify_session(session, owner, START - HOUR), "a clock that is set back makes it last longer"
    assert verify_session(session, owner, START + HOUR)
    with pytest.raises(Unauthenticated):
        verify_session(session, owner, START + 2 * HOUR + 1)
