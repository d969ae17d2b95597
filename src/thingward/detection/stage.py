"""The detection stage."""

from __future__ import annotations

from collections.abc import Sequence

from thingward.model.flow import Output
from thingward.model.record import Record


class DetectionStage:
    """Looks at events and devices, passes them on, and adds findings."""

    name = "detection"

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Look at a batch; findings follow the records."""
        return Output(records=list(batch))

    def tick(self, now: float) -> Output:
        """Let time pass."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the state of every rule."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave."""
