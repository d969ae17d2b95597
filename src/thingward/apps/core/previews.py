"""A trial of every learnt profile, kept fresh: one device at a time, so that the road is never kept waiting long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from thingward.model.profile import MudProfile, Preview
from thingward.model.record import Record

#: A device's preview is worked out at most this often, in seconds.
PAUSE_S: Final = 10.0

PreviewOf = Callable[[MudProfile, float], Preview | None]


class Previews:
    """Notes profiles that changed, and gives one new preview when asked."""

    def __init__(self, preview_of: PreviewOf) -> None:
        self._preview_of = preview_of
        self._due: dict[str, MudProfile] = {}
        self._last: dict[str, float] = {}

    def watch(self, records: Iterable[Record]) -> None:
        """Note changed profiles."""
        for record in records:
            if isinstance(record, MudProfile):
                self._due[record.device] = record

    def take(self, now: float, monotonic: float) -> Preview | None:
        """Give the preview of the device that waits longest, None if none is due."""
        for device, profile in self._due.items():
            if monotonic - self._last.get(device, -PAUSE_S) >= PAUSE_S:
                del self._due[device]
                self._last[device] = monotonic
                return self._preview_of(profile, now)
        return None
