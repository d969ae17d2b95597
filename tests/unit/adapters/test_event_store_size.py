"""The event store stays below its limit by forgetting its oldest events."""

from __future__ import annotations

from pathlib import Path

import pytest

from thingward.adapters.event_store import duckdb
from thingward.adapters.event_store.duckdb import DuckdbEventStore
from thingward.model.event import Event
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.observation import StatusData
from thingward.ports.event_store import EventQuery


def event(n: int) -> Event:
    return Event(
        uid=Uid(f"e-{n}"), tenant=DEFAULT_TENANT, time=float(n), source="t", class_uid=1, message="m",
        data=StatusData(status="alive"),
    )  # fmt: skip


def fill(store: DuckdbEventStore, first: int, end: int) -> None:
    """Put events in that are like the first one, each with a text that cannot be pressed together."""
    text = (
        "INSERT INTO events SELECT * EXCLUDE (i) REPLACE (i::DOUBLE AS time, 'e-' || i AS uid, md5(i::VARCHAR) AS message) "
        f"FROM (SELECT * FROM events WHERE uid = 'e-0'), range({first}, {end}) t(i)"
    )
    with store._writing:
        store._connection.execute(text)
    store.checkpoint()


def test_the_oldest_go_until_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb, "ALWAYS_KEPT", 1000)
    store = DuckdbEventStore(tmp_path / "events.duckdb", memory_mb=512)
    store.append(DEFAULT_TENANT, [event(0)])
    fill(store, 1, 800_000)
    used = store.used_bytes()
    assert store.shrink(used) == 0
    gone = store.shrink(used // 2)
    assert 400_000 < gone < 500_000
    assert store.used_bytes() < used * 0.65, "but for a group that is only partly deleted"
    (newest,) = store.query(DEFAULT_TENANT, EventQuery(limit=1)).items
    assert newest.uid == "e-799999", "the newest stay"
    size = (tmp_path / "events.duckdb").stat().st_size
    store.append(DEFAULT_TENANT, [event(0)])
    fill(store, 800_000, 1_000_000)
    assert (tmp_path / "events.duckdb").stat().st_size <= size, "free blocks are used again"
    store.close()


def test_a_small_store_is_left_alone(tmp_path: Path) -> None:
    store = DuckdbEventStore(tmp_path / "events.duckdb", memory_mb=256)
    assert store.shrink(0) == 0
    store.append(DEFAULT_TENANT, [event(n) for n in range(100)])
    assert store.shrink(1) == 0
    assert len(store.query(DEFAULT_TENANT, EventQuery(limit=1000)).items) == 100
    store.close()
