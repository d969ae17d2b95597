"""Which findings deserve a person's look."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from thingward.model.flow import Output
from thingward.model.record import Record


class Suppression(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's word that findings of a kind are expected: rule id or prefix with `*`, device uid, key; empty is any."""

    rule: str = "*"
    device: str = ""
    key: str = ""
    until: float = 0.0
    reason: str = ""
    by: str = ""


class TriageSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes a finding an alert.

    Attributes:
        min_severity, min_confidence: below these a finding is kept, and is no alert.
        quiet_s: the same key is not alerted again within this time, in seconds, unless it got more severe.
        flap_count, flap_span_s: a key that alerted so often in that time is flapping, and damped until quiet.
        daily_budget: alerts of severity 3 and below per tenant and UTC day; beyond it they wait for the digest.
    """

    min_severity: int = 3
    min_confidence: float = 0.5
    quiet_s: float = 3600.0
    flap_count: int = 4
    flap_span_s: float = 6 * 3600.0
    daily_budget: int = 50
    suppressions: tuple[Suppression, ...] = ()


class TriageStage:
    """Marks alerts; passes everything on."""

    name = "triage"

    def __init__(self, settings: TriageSettings | None = None) -> None:
        self.settings = settings or TriageSettings()

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Judge the findings of a batch."""
        return Output(records=list(batch))

    def tick(self, now: float) -> Output:
        """Send the digest when a UTC day is over."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the whole state."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave."""
