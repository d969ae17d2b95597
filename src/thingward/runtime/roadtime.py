"""The time that the road lives by: it follows the wall clock, never goes back, and notices jumps."""

from __future__ import annotations

from typing import Final

from thingward.ports.clock import Clock

#: Differences of wall and monotonic clock above this are a jump, below it drift, in seconds.
JUMP_S: Final = 2.0
#: After the wall clock was set back, the road's time goes on at this rate until the wall has caught up.
SLOW_RATE: Final = 0.5


class RoadTime:
    """Seconds since 1970 for `feed` and `tick`.

    A jump forward is followed at once (a machine that got its time after start). After a jump back time goes on at half
    its rate until the wall clock has caught up: timeouts take up to twice as long then, and none is repeated.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = self._wall = clock.now()
        self._monotonic = clock.monotonic()
        self._jump_s = 0.0

    def now(self) -> float:
        """Give the time."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        passed = max(monotonic - self._monotonic, 0.0)
        step = wall - self._wall
        is_ahead = wall < self._now or self._wall < self._now
        if abs(step - passed) > JUMP_S:
            self._jump_s += step - passed
        self._wall, self._monotonic = wall, monotonic
        self._now = max(wall, self._now + passed * SLOW_RATE) if is_ahead else wall
        return self._now

    def take_jump(self) -> float:
        """Give by how much the wall clock was set since the last call, in seconds; 0 if it was not."""
        jump, self._jump_s = self._jump_s, 0.0
        return jump
