"""The event store against SQLite: the same events, the same batches, each batch durable before the next."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.harness import Bench, Pair, benchmark
from thingward.adapters.event_store.columns import columns_of
from thingward.adapters.event_store.duckdb import DuckdbEventStore
from thingward.adapters.event_store.rows import COLUMNS
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import DEFAULT_TENANT, hashed_uid
from thingward.model.observation import Endpoint, FlowData

BATCH = 5000
BATCHES = 20


@benchmark("store.ingest", unit="events/s", rounds=3, limit=1.5)
def ingest(bench: Bench) -> Iterator[Pair]:
    """Append flow events in batches of 5,000; nothing is stored twice."""
    folders = (bench.scratch / f"round-{n}" for n in itertools.count())
    counter = itertools.count()
    yield Pair(
        ours=lambda: _rate(_ours(next(folders)), counter),
        peer=lambda: _rate(_sqlite(next(folders)), counter),
        peer_name=f"sqlite {sqlite3.sqlite_version}",
        note="one commit per 5,000 events, fsynced on both sides",
    )


class _Ours:
    def __init__(self, folder: Path) -> None:
        self.store = DuckdbEventStore(folder / "events.duckdb")

    def append(self, events: Sequence[Event | Finding]) -> None:
        self.store.append(DEFAULT_TENANT, events)

    def close(self) -> None:
        self.store.close()


class _Sqlite:
    """The same columns, unique by key, with an index on the time."""

    def __init__(self, folder: Path) -> None:
        self.connection = sqlite3.connect(folder / "events.sqlite", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        columns = ", ".join(f'"{name}"' for name, _ in COLUMNS)
        self.connection.execute(f"CREATE TABLE events ({columns}, UNIQUE (tenant, key))")
        self.connection.execute("CREATE INDEX by_time ON events (tenant, time)")
        self.insert = f"INSERT OR IGNORE INTO events VALUES ({', '.join('?' * len(COLUMNS))})"

    def append(self, events: Sequence[Event | Finding]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(self.insert, zip(*columns_of(events).values(), strict=True))
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.connection.close()


def _ours(folder: Path) -> _Ours:
    folder.mkdir()
    return _Ours(folder)


def _sqlite(folder: Path) -> _Sqlite:
    folder.mkdir()
    return _Sqlite(folder)


def _rate(store: _Ours | _Sqlite, counter: Iterator[int]) -> float:
    start = next(counter) * BATCH * BATCHES
    batches = [[_flow(start + n * BATCH + k) for k in range(BATCH)] for n in range(BATCHES)]
    began = time.perf_counter()
    for batch in batches:
        store.append(batch)
    rate = BATCH * BATCHES / (time.perf_counter() - began)
    store.close()
    return rate


def _flow(n: int) -> Event:
    at = 1_700_000_000.0 + n / 50
    observed = hashed_uid("observation", str(n))
    src = Endpoint(
        mac=f"02:00:00:00:00:{n % 40:02x}", ip=f"192.168.1.{n % 40}", port=40_000 + n % 20_000, device=f"d-{n % 40:020}"
    )
    dst = Endpoint(mac="02:00:00:00:ff:ff", ip=f"198.51.100.{n % 97}", port=443, names=(f"host{n % 97}.example",))
    data = FlowData(
        flow=hashed_uid("flow", str(n)),
        state="whole",
        first=at - 3,
        last=at,
        proto=6,
        packets_out=10 + n % 7,
        bytes_out=1000 + n % 999,
        packets_in=12,
        bytes_in=5000 + n % 777,
        flags_out=27,
        flags_in=27,
        app="tls",
        name=f"host{n % 97}.example",
    )
    return Event(
        uid=hashed_uid("event", observed),
        tenant=DEFAULT_TENANT,
        time=at,
        source="sensor:bench",
        parents=(observed,),
        class_uid=4001,
        activity_id=6,
        src=src,
        dst=dst,
        data=data,
        message=f"tcp {src.ip}:{src.port} -> {dst.ip}:443 (host{n % 97}.example) {data.packets_out}/12 packets",
    )
