"""Events in memory: for `guard` on files, and the twin for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from thingward.adapters.event_store.questions import (
    decode_cursor,
    encode_cursor,
    verify_limit,
    verify_owner,
    verify_span,
)
from thingward.adapters.event_store.rows import kind_of, name_of, uid_key
from thingward.model.event import Event
from thingward.model.event_line import event_line
from thingward.model.finding import Finding
from thingward.model.observation import FlowData
from thingward.ports.event_store import EventPage, EventQuery, PeerRow, TrafficPoint

PeerKey = tuple[str, bool, int, int, str, bool]


class MemoryEventStore:
    """Keeps events until the process ends; above `max_events` per tenant the oldest go and are counted."""

    def __init__(self, *, max_events: int = 2_000_000) -> None:
        self.dropped = 0
        self._max_events = max_events
        self._rows: dict[str, dict[str, Event | Finding]] = {}

    def append(self, tenant: str, events: Sequence[Event | Finding]) -> int:
        """Store; returns how many were new."""
        verify_owner(tenant, events)
        rows = self._rows.setdefault(tenant, {})
        before = len(rows)
        for event in events:
            rows.setdefault(event.uid, event)
        new = len(rows) - before
        while len(rows) > self._max_events:
            del rows[next(iter(rows))]
            self.dropped += 1
        return new

    def query(self, tenant: str, query: EventQuery) -> EventPage:
        """Page through events."""
        verify_limit(query.limit)
        found = [(e.time, uid_key(e.uid), e) for e in self._events(tenant) if _matches(e, query)]
        found.sort(key=lambda item: item[:2], reverse=query.newest_first)
        if query.cursor:
            last = decode_cursor(tenant, query)
            found = [item for item in found if (item[:2] < last if query.newest_first else item[:2] > last)]
        page = found[: query.limit]
        cursor = encode_cursor(tenant, query, *page[-1][:2]) if len(found) > query.limit else ""
        return EventPage(tuple(event for _, _, event in page), cursor)

    def peers(self, tenant: str, device: str, *, since: float = 0.0, limit: int = 200) -> tuple[PeerRow, ...]:
        """Sum up a device's conversations, largest first."""
        verify_limit(limit)
        sums: dict[PeerKey, list[float]] = {}
        for event in self._events(tenant):
            if event.time >= since and isinstance(event.data, FlowData):
                for outgoing in (True, False):
                    _add_flow(sums, event, event.data, device, outgoing=outgoing)
        rows = [_peer_row(key, values) for key, values in sums.items()]
        rows.sort(key=lambda row: (-(row.bytes_out + row.bytes_in), row.peer, row.port, row.proto, row.app))
        return tuple(rows[:limit])

    def traffic(
        self, tenant: str, device: str, *, since: float, until: float, buckets: int = 120
    ) -> tuple[TrafficPoint, ...]:
        """Traffic of a device (all devices if empty) in equal buckets."""
        width = verify_span(since, until, buckets)
        sums = [[0, 0, 0, 0] for _ in range(buckets)]
        for event in self._events(tenant):
            data = event.data
            if not isinstance(data, FlowData) or not since <= event.time < until:
                continue
            out = (data.bytes_out, data.bytes_in, data.packets_out, data.packets_in)
            back = (data.bytes_in, data.bytes_out, data.packets_in, data.packets_out)
            ends = [(event.src, out), (event.dst, back)] if device else [(None, out)]
            for end, values in ends:
                if end is None or end.device == device:
                    bucket = sums[min(int((event.time - since) / width), buckets - 1)]
                    bucket[:] = [a + b for a, b in zip(bucket, values, strict=True)]
        return tuple(TrafficPoint(since + width * n, *values) for n, values in enumerate(sums))

    def counts(self, tenant: str, *, since: float = 0.0) -> Mapping[str, int]:
        """Events per kind."""
        return dict(Counter(kind_of(r) for r in self._rows.get(tenant, {}).values() if r.time >= since))

    def prune(self, tenant: str, *, before: float) -> int:
        """Delete events older than `before`, return how many went."""
        rows = self._rows.get(tenant, {})
        old = [uid for uid, record in rows.items() if record.time < before]
        for uid in old:
            del rows[uid]
        return len(old)

    def close(self) -> None:
        """Keep everything: there is no file to release."""

    def _events(self, tenant: str) -> list[Event]:
        return [record for record in self._rows.get(tenant, {}).values() if isinstance(record, Event)]


def _matches(event: Event, query: EventQuery) -> bool:
    devices = [end.device for end in (event.src, event.dst) if end is not None]
    return (
        event.time >= query.since
        and (not query.until or event.time < query.until)
        and (not query.device or query.device in devices)
        and (not query.site or event.site == query.site)
        and (not query.kind or kind_of(event) == query.kind)
        and (not query.class_uid or event.class_uid == query.class_uid)
        and event.severity >= query.min_severity
        and (not query.search or query.search.lower() in _text(event))
    )


def _text(event: Event) -> str:
    parts = [event_line(event)]
    for end, is_dst in ((event.src, False), (event.dst, True)):
        if end is not None:
            parts += [end.mac, end.ip, name_of(end, event.data, is_dst=is_dst)]
    return "\n".join(parts).lower()


def _add_flow(sums: dict[PeerKey, list[float]], event: Event, data: FlowData, device: str, *, outgoing: bool) -> None:
    mine, other = (event.src, event.dst) if outgoing else (event.dst, event.src)
    if mine is None or mine.device != device or not device:
        return
    uid = other.device if other else ""
    name = name_of(other, data, is_dst=outgoing)
    peer = uid or name or (other.ip or other.mac if other else "")
    port = event.dst.port if event.dst else 0
    row = sums.setdefault((peer, bool(uid), data.proto, port, data.app, outgoing), [0, 0, 0, data.first, data.last])
    row[0] += data.state in ("new", "whole")
    row[1] += data.bytes_out if outgoing else data.bytes_in
    row[2] += data.bytes_in if outgoing else data.bytes_out
    row[3] = min(row[3], data.first)
    row[4] = max(row[4], data.last)


def _peer_row(key: PeerKey, values: list[float]) -> PeerRow:
    peer, is_device, proto, port, app, outgoing = key
    flows, bytes_out, bytes_in, first, last = values
    return PeerRow(
        peer=peer,
        is_device=is_device,
        proto=proto,
        port=port,
        app=app,
        outgoing=outgoing,
        flows=max(int(flows), 1),
        bytes_out=int(bytes_out),
        bytes_in=int(bytes_in),
        first=first,
        last=last,
    )
