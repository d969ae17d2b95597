"""Alerts to cases, cases to bounded actions, outcomes back into both."""

from __future__ import annotations

from collections.abc import Sequence

from thingward.model.action import Limits
from thingward.model.flow import Output
from thingward.model.record import Record


class ResponseStage:
    """Keeps cases and actions; takes Finding, Device, ResponseRule, Action (requested by a person), Case, Outcome."""

    name = "response"

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Act on a batch."""
        return Output(records=list(batch))

    def tick(self, now: float) -> Output:
        """End what has expired; ask again for what got no answer."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the whole state."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave."""
