"""Events in one DuckDB file: opened by the store process only, which writes its checkpoints when it likes.

Nothing is downloaded: extensions are neither installed nor loaded, and the engine may touch no other file.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np

from thingward.adapters.event_store.columns import Columns, columns_of
from thingward.adapters.event_store.questions import (
    decode_cursor,
    encode_cursor,
    verify_limit,
    verify_owner,
    verify_span,
)
from thingward.adapters.event_store.rows import COLUMNS, FINDING, NAMES, event_of
from thingward.model.errors import Unavailable
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.ports.event_store import EventPage, EventQuery, PeerRow, TrafficPoint

SCHEMA_VERSION: Final = 1
#: The write-ahead log is folded into the file above this size even while events keep coming.
WAL_LIMIT_BYTES: Final = 64 << 20
#: Events that stay however small the limit is: about two of the engine's groups.
ALWAYS_KEPT: Final = 250_000
_SAFE: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "enable_external_access": "false",
    "checkpoint_threshold": "1TB",
    "preserve_insertion_order": "true",
    "pandas_analyze_sample": "1",  # every column of a batch is of one type: the first value tells it
}
_NUMBERS: Final = {"INTEGER": "i8", "SMALLINT": "i8", "TINYINT": "i8", "BIGINT": "i8", "DOUBLE": "f8", "BOOLEAN": "?"}
_INSERT: Final = """
    INSERT INTO events BY NAME
    WITH fresh AS (SELECT * EXCLUDE (key_high, key_low), ((key_high::UHUGEINT << 64) + key_low)::UUID AS key FROM batch)
    SELECT $tenant AS tenant, * FROM fresh
    ANTI JOIN (SELECT key FROM events WHERE tenant = $tenant AND time BETWEEN $least AND $most) USING (key)
"""
_PEERS: Final = """
    WITH sides AS (
        SELECT dst_device AS device, dst_name AS name, dst_ip AS ip, dst_mac AS mac, proto, dst_port AS port, app,
            true AS outgoing, begins, bytes_out, bytes_in, first, last
        FROM events WHERE tenant = $tenant AND kind = 'flow' AND src_device = $device AND time >= $since
        UNION ALL
        SELECT src_device, src_name, src_ip, src_mac, proto, dst_port, app, false, begins, bytes_in, bytes_out,
            first, last
        FROM events WHERE tenant = $tenant AND kind = 'flow' AND dst_device = $device AND time >= $since
    )
    SELECT coalesce(nullif(device, ''), nullif(name, ''), nullif(ip, ''), mac) AS peer, device <> '' AS is_device,
        proto, port, app, outgoing, greatest(count(*) FILTER (begins), 1), sum(bytes_out)::BIGINT,
        sum(bytes_in)::BIGINT, min(first), max(last)
    FROM sides GROUP BY ALL ORDER BY sum(bytes_out) + sum(bytes_in) DESC, peer, port, proto, app LIMIT $limit
"""
_TRAFFIC: Final = """
    SELECT least(floor((time - $since) / $width)::INTEGER, $buckets - 1) AS bucket,
        sum({bytes_out}), sum({bytes_in}), sum({packets_out}), sum({packets_in})
    FROM events WHERE tenant = $tenant AND kind = 'flow' AND time >= $since AND time < $until {condition}
    GROUP BY bucket
"""
_TEXT: Final = "lower(concat_ws(chr(10), message, src_mac, src_ip, src_name, dst_mac, dst_ip, dst_name))"


class DuckdbEventStore:
    """The event store; safe to share between threads, writes are taken one at a time."""

    def __init__(self, path: Path, *, memory_mb: int = 512, threads: int = 2) -> None:
        """Open or make the file, owner-only; raises Unavailable if another process has it open."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._wal = path.with_name(path.name + ".wal")
        self._writing = threading.Lock()
        is_new = not path.exists()
        settings = {**_SAFE, "memory_limit": f"{memory_mb}MB", "threads": str(threads)}
        with _errors():
            self._connection = duckdb.connect(str(path), config=settings)
            self._connection.execute("SET lock_configuration = true")
            if is_new:
                os.chmod(path, 0o600)
            self._prepare(path)

    def append(self, tenant: str, events: Sequence[Event | Finding]) -> int:
        """Store durably in one transaction; returns how many were new."""
        verify_owner(tenant, events)
        unique = list({event.uid: event for event in reversed(events)}.values())
        if not unique:
            return 0
        batch = _arrays(columns_of(unique))
        values = {"tenant": tenant, "least": float(batch["time"].min()), "most": float(batch["time"].max())}
        with _errors(), self._writing, contextlib.closing(self._connection.cursor()) as cursor:
            cursor.register("batch", batch)
            new = cursor.execute(_INSERT, values).fetchone()
            cursor.unregister("batch")
        return int(new[0]) if new else 0

    def query(self, tenant: str, query: EventQuery) -> EventPage:
        """Page through events."""
        verify_limit(query.limit)
        conditions, values = _conditions(tenant, query)
        order = "DESC" if query.newest_first else "ASC"
        text = (
            f"SELECT {', '.join(NAMES)} FROM events WHERE {' AND '.join(conditions)} "  # noqa: S608
            f"ORDER BY time {order}, key {order} LIMIT {query.limit + 1}"
        )
        rows = self._ask(text, values)
        events = tuple(event_of(row) for row in rows[: query.limit])
        if len(rows) <= query.limit:
            return EventPage(events)
        last = rows[query.limit - 1]
        return EventPage(events, encode_cursor(tenant, query, last[3], str(last[1]).replace("-", "")))

    def peers(self, tenant: str, device: str, *, since: float = 0.0, limit: int = 200) -> tuple[PeerRow, ...]:
        """Sum up a device's conversations, largest first."""
        verify_limit(limit)
        if not device:
            return ()
        rows = self._ask(_PEERS, {"tenant": tenant, "device": device, "since": since, "limit": limit})
        return tuple(PeerRow(**dict(zip(PeerRow.__struct_fields__, row, strict=True))) for row in rows)

    def traffic(
        self, tenant: str, device: str, *, since: float, until: float, buckets: int = 120
    ) -> tuple[TrafficPoint, ...]:
        """Traffic of a device (all devices if empty) in equal buckets."""
        width = verify_span(since, until, buckets)
        values = {"tenant": tenant, "since": since, "until": until, "width": width, "buckets": buckets}
        sums = [[0, 0, 0, 0] for _ in range(buckets)]
        for side, text in _traffic_questions(device):
            for bucket, *counts in self._ask(text, values | side):
                sums[bucket] = [a + int(b) for a, b in zip(sums[bucket], counts, strict=True)]
        return tuple(TrafficPoint(since + width * n, *counts) for n, counts in enumerate(sums))

    def counts(self, tenant: str, *, since: float = 0.0) -> Mapping[str, int]:
        """Events per kind."""
        text = "SELECT kind, count(*) FROM events WHERE tenant = $tenant AND time >= $since GROUP BY kind"
        return {str(kind): int(count) for kind, count in self._ask(text, {"tenant": tenant, "since": since})}

    def prune(self, tenant: str, *, before: float) -> int:
        """Delete events older than `before`, checkpoint, return how many went."""
        text = "DELETE FROM events WHERE tenant = $tenant AND time < $before"
        with _errors(), self._writing, contextlib.closing(self._connection.cursor()) as cursor:
            gone = cursor.execute(text, {"tenant": tenant, "before": before}).fetchone()
        count = int(gone[0]) if gone else 0
        if count:
            self.checkpoint()
        return count

    def shrink(self, limit_bytes: int) -> int:
        """Delete the oldest events of all tenants until what is kept takes up a tenth less than the limit.

        The engine frees groups of about 120,000 events, so some of the last group may take up room a while longer, and
        the newest 250,000 events are never deleted by this.

        Returns:
            How many went. The file itself may stay as large: its free blocks are used again.
        """
        used = self.used_bytes()
        if used <= limit_bytes:
            return 0
        with _errors(), self._writing, contextlib.closing(self._connection.cursor()) as cursor:
            row = cursor.execute("SELECT count(*) FROM events").fetchone()
            count = int(row[0]) if row else 0
            surplus = min(int(count * (1 - 0.9 * limit_bytes / used)), count - ALWAYS_KEPT)
            if surplus <= 0:
                return 0
            text = "DELETE FROM events WHERE time <= (SELECT quantile_disc(time, $share) FROM events)"
            found = cursor.execute(text.replace("$share", f"{surplus / count:.6f}")).fetchone()
        self.checkpoint()
        return int(found[0]) if found else 0

    def used_bytes(self) -> int:
        """Size of the blocks of the file that hold something."""
        with _errors(), contextlib.closing(self._connection.cursor()) as cursor:
            row = cursor.execute("SELECT block_size * used_blocks FROM pragma_database_size()").fetchone()
        return int(row[0]) if row else 0

    @property
    def wal_bytes(self) -> int:
        """Size of what a checkpoint would fold into the file."""
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def verify_usable(self) -> None:
        """Raise Unavailable if the engine has given up (after a disk error it does): only opening it anew helps."""
        self._ask("SELECT 1", {})

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file; appends wait meanwhile."""
        with _errors(), self._writing:
            self._connection.execute("CHECKPOINT")

    def close(self) -> None:
        """Checkpoint and release the file; idempotent."""
        with contextlib.suppress(duckdb.ConnectionException, Unavailable):
            self.checkpoint()
        self._connection.close()

    def _prepare(self, path: Path) -> None:
        columns = ", ".join(f"{name} {kind} NOT NULL" for name, kind in COLUMNS)
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS events ({columns})")
        self._connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        found = self._connection.execute("SELECT max(version) FROM schema_version").fetchone()
        if found is None or found[0] is None:
            self._connection.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])
        elif found[0] != SCHEMA_VERSION:
            self._connection.close()
            raise Unavailable(
                f"{path} has version {found[0]}, this thingward writes {SCHEMA_VERSION}.",
                hint="Use the thingward that wrote it, or move the file away to begin a new one.",
            )

    def _ask(self, text: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with _errors(), contextlib.closing(self._connection.cursor()) as cursor:
            return cursor.execute(text, dict(values)).fetchall()


def read_version(path: Path) -> int:
    """Give the version of a file's tables, 0 if it has none; raises Unavailable if it cannot be looked at."""
    try:
        with contextlib.closing(duckdb.connect(str(path), read_only=True, config=_SAFE)) as connection:
            found = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    except duckdb.CatalogException:
        return 0
    except duckdb.Error as error:
        if "lock on file" in str(error):
            raise Unavailable(f"{path.name} is open in another process.", hint="Stop that, or ask it.") from error
        raise Unavailable(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    return int(found[0] or 0) if found else 0


def _arrays(columns: Columns) -> dict[str, Any]:
    """Give a batch as the engine takes it: without the tenant, the key as two numbers."""
    keys = np.frombuffer(bytes.fromhex("".join(columns["key"])), dtype=">u8").astype("u8").reshape(-1, 2)
    batch = {"key_high": keys[:, 0].copy(), "key_low": keys[:, 1].copy()}
    for name, kind in COLUMNS:
        if name not in ("tenant", "key"):
            batch[name] = _array(columns[name], _NUMBERS.get(kind))
    return batch


def _array(values: list[Any], kind: str | None) -> Any:
    """Give an array of numbers, or of objects: without the search for nested sequences that `np.array` makes."""
    if kind is not None:
        return np.fromiter(values, kind, len(values))
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _conditions(tenant: str, query: EventQuery) -> tuple[list[str], dict[str, Any]]:
    given: list[tuple[Any, str, dict[str, Any]]] = [
        (True, "tenant = $tenant", {"tenant": tenant}),
        (True, f"kind <> '{FINDING}'", {}),
        (query.since, "time >= $since", {"since": query.since}),
        (query.until, "time < $until", {"until": query.until}),
        (query.device, "(src_device = $device OR dst_device = $device)", {"device": query.device}),
        (query.site, "site = $site", {"site": query.site}),
        (query.kind, "kind = $kind", {"kind": query.kind}),
        (query.class_uid, "class_uid = $class_uid", {"class_uid": query.class_uid}),
        (query.min_severity, "severity >= $severity", {"severity": query.min_severity}),
        (query.search, f"contains({_TEXT}, $search)", {"search": query.search.lower()}),
    ]
    if query.cursor:
        time, key = decode_cursor(tenant, query)
        sign = "<" if query.newest_first else ">"
        after = f"(time {sign} $time OR (time = $time AND key {sign} CAST($key AS UUID)))"
        given.append((True, f"time {sign}= $time AND {after}", {"time": time, "key": key}))
    used = [item for item in given if item[0]]
    values: dict[str, Any] = {}
    for _, _, more in used:
        values |= more
    return [text for _, text, _ in used], values


def _traffic_questions(device: str) -> list[tuple[dict[str, str], str]]:
    out = {name: name for name in ("bytes_out", "bytes_in", "packets_out", "packets_in")}
    back = {"bytes_out": "bytes_in", "bytes_in": "bytes_out", "packets_out": "packets_in", "packets_in": "packets_out"}
    if not device:
        return [({}, _TRAFFIC.format(**out, condition=""))]
    side = {"device": device}
    return [
        (side, _TRAFFIC.format(**out, condition="AND src_device = $device")),
        (side, _TRAFFIC.format(**back, condition="AND dst_device = $device")),
    ]


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn the engine's errors into Unavailable, without statements and values."""
    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0][:200]
        raise Unavailable(f"the event store failed: {reason}", hint="Try again.") from error
