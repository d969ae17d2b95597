"""The road's time follows the clock, never goes back, and tells jumps."""

from hypothesis import given
from hypothesis import strategies as st

from thingward.adapters.clock.memory import MemoryClock
from thingward.runtime.roadtime import RoadTime


def test_it_is_the_wall_clock_while_nobody_touches_that() -> None:
    clock = MemoryClock(1000.0)
    time = RoadTime(clock)
    clock.advance(5.0)
    assert time.now() == 1005.0
    assert time.take_jump() == 0.0


def test_a_jump_forward_is_followed_at_once_and_told_once() -> None:
    clock = MemoryClock(0.0)
    time = RoadTime(clock)
    clock.advance(1.0)
    clock.jump(1_700_000_000.0)
    assert time.now() == 1_700_000_001.0
    assert time.take_jump() == 1_700_000_000.0
    assert time.take_jump() == 0.0


def test_after_a_jump_back_it_goes_on_slowly_until_the_clock_has_caught_up() -> None:
    clock = MemoryClock(10_000.0)
    time = RoadTime(clock)
    clock.jump(-100.0)
    assert time.now() == 10_000.0
    assert time.take_jump() == -100.0
    clock.advance(100.0)
    assert time.now() == 10_050.0
    clock.advance(200.0)
    assert time.now() == 10_200.0
    assert time.take_jump() == 0.0


def test_drift_is_no_jump() -> None:
    clock = MemoryClock(0.0)
    time = RoadTime(clock)
    for _ in range(100):
        clock.advance(1.0)
        clock.jump(0.01)
        time.now()
    assert time.take_jump() == 0.0


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e6, 1e6)), max_size=30))
def test_it_never_goes_back(steps: list[tuple[float, float]]) -> None:
    clock = MemoryClock(1e6)
    time = RoadTime(clock)
    last = time.now()
    for passed, jump in steps:
        clock.advance(passed)
        clock.jump(jump)
        assert time.now() >= last
        last = time.now()
