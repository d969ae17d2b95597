"""Security events: appended in batches, asked by shaped questions only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from thingward.model.event import Event
from thingward.model.finding import Finding


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: all given conditions hold.

    Attributes:
        since, until: seconds since 1970, half open; 0 means no bound.
        device: uid on either side. kind: tag of the data (`flow`, `dns` ...).
        cursor: from an earlier answer; limit 1 to 1000. newest_first: order by (time, uid).
    """

    since: float = 0.0
    until: float = 0.0
    device: str = ""
    site: str = ""
    kind: str = ""
    class_uid: int = 0
    min_severity: int = 0
    search: str = ""
    cursor: str = ""
    limit: int = 100
    newest_first: bool = True


class EventPage(msgspec.Struct, frozen=True):
    """Events and the cursor of the next page, empty at the end."""

    items: tuple[Event, ...]
    cursor: str = ""


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a device talks to, summed up: `peer` is a device uid, a name or an address."""

    peer: str
    is_device: bool
    proto: int
    port: int
    app: str
    outgoing: bool
    flows: int
    bytes_out: int
    bytes_in: int
    first: float
    last: float


class TrafficPoint(msgspec.Struct, frozen=True):
    """One bucket of a traffic plot: start in seconds since 1970, bytes and packets from and to the device."""

    time: float
    bytes_out: int
    bytes_in: int
    packets_out: int
    packets_in: int


class EventStore(Protocol):
    """Idempotent by uid: appending a batch twice stores it once."""

    def append(self, tenant: str, events: Sequence[Event | Finding]) -> int:
        """Store durably; returns how many were new."""
        ...

    def query(self, tenant: str, query: EventQuery) -> EventPage:
        """Page through events."""
        ...

    def peers(self, tenant: str, device: str, *, since: float = 0.0, limit: int = 200) -> tuple[PeerRow, ...]:
        """Sum up a device's conversations, largest first."""
        ...

    def traffic(
        self, tenant: str, device: str, *, since: float, until: float, buckets: int = 120
    ) -> tuple[TrafficPoint, ...]:
        """Traffic of a device (all devices if empty) in equal buckets, at most 1000."""
        ...

    def counts(self, tenant: str, *, since: float = 0.0) -> Mapping[str, int]:
        """Events per kind."""
        ...

    def prune(self, tenant: str, *, before: float) -> int:
        """Delete events older than `before`, checkpoint, return how many went."""
        ...

    def close(self) -> None:
        """Checkpoint and release the file; idempotent."""
        ...
