"""The hash-chained ledger."""

from __future__ import annotations

from collections.abc import Sequence

from thingward.model.flow import Output
from thingward.model.principal import LedgerEntry
from thingward.model.record import Record


class LedgerStage:
    """Appends a link for every finding, case, approval, action, outcome, rule and audit entry that passes."""

    name = "ledger"

    def adopt(self, entries: Sequence[LedgerEntry]) -> None:
        """Continue after these entries of the control store, oldest first (called once, after `restore`)."""

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Append to the chain of each tenant; the entries follow the records."""
        return Output(records=list(batch))

    def tick(self, now: float) -> Output:
        """Do nothing."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the tips."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave."""
