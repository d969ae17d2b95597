"""The road's time under a wall clock that jumps."""

from thingward.runtime.roadtime import SLOW_RATE, RoadTime


class Hands:
    """A wall clock and a monotonic one, both set by hand."""

    def __init__(self):
        self.wall, self.steady = 1000.0, 50.0

    def now(self):
        return self.wall

    def monotonic(self):
        return self.steady

    def pass_time(self, seconds, jump=0.0):
        self.wall += seconds + jump
        self.steady += seconds


def test_time_never_goes_back():
    hands = Hands()
    time = RoadTime(hands)
    hands.pass_time(10)
    assert time.now() == 1010.0
    hands.pass_time(4, jump=-3600)
    assert time.now() == 1010.0 + 4 * SLOW_RATE
    assert time.take_jump() == -3600.0
    assert time.take_jump() == 0.0
    last = time.now()
    for _ in range(2000):
        hands.pass_time(10)
        assert time.now() >= last
        last = time.now()
    assert last == hands.wall


def test_a_jump_forward_is_followed_and_drift_is_no_jump():
    hands = Hands()
    time = RoadTime(hands)
    hands.pass_time(10, jump=86400)
    assert time.now() == hands.wall
    assert time.take_jump() == 86400.0
    hands.pass_time(10, jump=0.5)
    time.now()
    assert time.take_jump() == 0.0
