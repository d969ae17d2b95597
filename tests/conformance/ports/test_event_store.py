"""What every event store promises."""

import asyncio
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thingward.adapters.event_store.columns import row_of
from thingward.adapters.event_store.duckdb import DuckdbEventStore
from thingward.adapters.event_store.link import LinkEventStore, question_handler
from thingward.adapters.event_store.memory import MemoryEventStore
from thingward.adapters.event_store.rows import event_of, uid_key
from thingward.adapters.link.frames import decode_error, encode_error
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.observation import (
    CaptureData,
    DnsAnswer,
    DnsData,
    Endpoint,
    FlowData,
    HttpData,
    IdentityData,
    LogData,
    StatusData,
)
from thingward.model.record import Malformed
from thingward.ports.event_store import EventQuery, EventStore, PeerRow
from thingward.ports.link import Frame

HOME, OTHER = Tenant("home"), Tenant("other")
Open = Callable[[], EventStore]


class InProcess:
    """Carries questions to a store as the link does, bytes and errors included, without a socket."""

    def __init__(self, store: EventStore) -> None:
        self._handle = question_handler(store)

    def call(self, channel: str, body: bytes, *, timeout_s: float = 10.0) -> bytes:
        async def ask() -> Frame | None:
            return await self._handle("test", Frame(kind="call", channel=channel, body=body))

        try:
            answer = asyncio.run(ask())
        except ThingwardError as error:
            raise decode_error(encode_error(error)) from error
        assert answer is not None
        return answer.body

    def close(self) -> None:
        pass


@pytest.fixture(params=["memory", "duckdb", "link"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "duckdb":
        return lambda: DuckdbEventStore(tmp_path / "events.duckdb", memory_mb=128)
    kept = MemoryEventStore()
    return lambda: LinkEventStore(InProcess(kept)) if request.param == "link" else kept


@pytest.fixture
def store(opener: Open) -> Iterator[EventStore]:
    store = opener()
    yield store
    store.close()


def event(n: int, *, time: float | None = None, tenant: Tenant = HOME, data: object = None, **more: object) -> Event:
    return Event(
        uid=hashed_uid("event", str(n)),
        tenant=tenant,
        time=float(n) if time is None else time,
        source="test",
        class_uid=4001,
        data=data or StatusData(status="alive", counts={"n": n}),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def flow(n: int, src: str, dst: str, *, out: int = 100, back: int = 10, port: int = 443, **more: object) -> Event:
    data = FlowData(
        flow=hashed_uid("flow", str(n)),
        state=more.pop("state", "whole"),  # type: ignore[arg-type]
        first=float(n),
        last=n + 0.5,
        proto=6,
        packets_out=2,
        bytes_out=out,
        packets_in=1,
        bytes_in=back,
        app=str(more.pop("app", "tls")),
        name=str(more.pop("name", "")),
    )

    def end(name: str, at: int) -> Endpoint:
        is_device = name.startswith("d-")
        return Endpoint(
            ip="" if is_device else name, device=name if is_device else "", port=at, mac="02:00:00:00:00:01"
        )

    return event(n, data=data, src=end(src, 50_000), dst=end(dst, port), **more)


SAMPLES = [
    flow(1, "d-1", "192.0.2.1", name="cloud.example", site="lab", parents=("a" * 32, "batch#7", "x")),
    event(
        2,
        data=DnsData(qname="x.example", answers=(DnsAnswer(name="x", rrtype="A", value="192.0.2.1", ttl_s=5),)),
        src=Endpoint(ip="10.0.0.2", names=("a", "b"), roles=("dns", "gateway")),
        dst=Endpoint(),
        severity=3,
        activity_id=2,
        message="dns: ünïcode 'quotes\"; --",
    ),
    event(3, data=IdentityData(protocol="dhcp", attributes=(("host", "lamp\0"), ("vendor", "")))),
    event(4, data=Malformed(reason="dns: name loops", offset=3, sample=bytes(range(32)), protocol="dns")),
    event(5, data=CaptureData(file="x.pcap", packets=3, malformed={"short": 2}, complete=True)),
    event(6, data=HttpData(method="GET", host="h", path="/" + "p" * 3000)),
    event(7, data=LogData(host="h", message="m" * 2000)),
    event(8, data=FlowData(flow=Uid("not hex"), state="update", first=0.0, last=0.0, proto=-1, ethertype=0x88CC)),
    msgspec.structs.replace(event(9), uid=Uid("an odd uid")),
    event(10, data=FlowData(flow=Uid("f"), state="new", first=0.0, last=1.0, proto=1, bytes_out=1 << 62, icmp_type=8)),
    event(11, data=FlowData(flow=Uid("cd" * 16), state="end", first=0.0, last=1.0, proto=47, tunnel="gre", vlan=7)),
]


def test_every_kind_of_event_comes_back_whole(store: EventStore) -> None:
    assert store.append(HOME, SAMPLES) == len(SAMPLES)
    page = store.query(HOME, EventQuery(newest_first=False))
    assert list(page.items) == SAMPLES
    assert page.cursor == ""


def test_events_survive_reopening(opener: Open) -> None:
    store = opener()
    store.append(HOME, SAMPLES)
    store.close()
    store = opener()
    assert list(store.query(HOME, EventQuery(newest_first=False)).items) == SAMPLES
    store.close()


def test_appending_twice_stores_once(store: EventStore) -> None:
    events = [event(n) for n in range(10)]
    assert store.append(HOME, events) == 10
    assert store.append(HOME, events[5:] + [event(n) for n in range(10, 13)]) == 3
    assert store.append(HOME, [event(20), event(20)]) == 1
    assert store.append(HOME, []) == 0
    assert len(store.query(HOME, EventQuery()).items) == 14


def test_a_tenant_sees_its_own_only(store: EventStore) -> None:
    mine, theirs = flow(1, "d-1", "d-2"), flow(1, "d-1", "d-3", tenant=OTHER)
    store.append(HOME, [mine])
    store.append(OTHER, [theirs])
    assert store.query(HOME, EventQuery()).items == (mine,)
    assert store.query(OTHER, EventQuery()).items == (theirs,)
    assert [row.peer for row in store.peers(HOME, "d-1")] == ["d-2"]
    assert store.counts(OTHER) == {"flow": 1}
    assert sum(p.bytes_out for p in store.traffic(HOME, "", since=0, until=10, buckets=2)) == 100
    assert store.prune(OTHER, before=10) == 1
    assert len(store.query(HOME, EventQuery()).items) == 1
    with pytest.raises(InvalidInput):
        store.append(OTHER, [mine])


def test_pages_go_on_where_they_ended_in_both_orders(store: EventStore) -> None:
    events = [event(n, time=float(n // 4)) for n in range(23)]
    store.append(HOME, events)
    for newest_first in (True, False):
        expected = sorted(events, key=lambda e: (e.time, uid_key(e.uid)), reverse=newest_first)
        seen: list[Event] = []
        cursor = ""
        while True:
            page = store.query(HOME, EventQuery(limit=5, cursor=cursor, newest_first=newest_first))
            seen += page.items
            cursor = page.cursor
            if not cursor:
                break
        assert seen == expected


@pytest.mark.parametrize("cursor", ["x", "AAAA", "🙂", "A" * 40])
def test_a_foreign_cursor_is_refused(store: EventStore, cursor: str) -> None:
    store.append(HOME, [event(n) for n in range(3)])
    mine = store.query(HOME, EventQuery(limit=1)).cursor
    with pytest.raises(InvalidInput):
        store.query(HOME, EventQuery(cursor=cursor))
    with pytest.raises(InvalidInput):
        store.query(HOME, EventQuery(cursor=mine, kind="flow"))
    with pytest.raises(InvalidInput):
        store.query(OTHER, EventQuery(cursor=mine))
    assert len(store.query(HOME, EventQuery(cursor=mine, limit=2)).items) == 2


def test_conditions_hold_together(store: EventStore) -> None:
    store.append(HOME, SAMPLES)

    def found(**conditions: object) -> list[int]:
        page = store.query(HOME, EventQuery(newest_first=False, **conditions))  # type: ignore[arg-type]
        return [SAMPLES.index(e) + 1 for e in page.items]

    assert found(since=4.0, until=6.0) == [4, 5]
    assert found(device="d-1") == [1]
    assert found(site="lab") == [1]
    assert found(kind="flow") == [1, 8, 10, 11]
    assert found(kind="flow", device="d-2") == []
    assert found(class_uid=4001, min_severity=3) == [2]
    assert found(search="ÜNÏCODE") == [2]
    assert found(search="cloud.EXAMPLE") == [1]
    assert found(search="10.0.0.2") == [2]
    assert found(search="' OR 1=1 --") == []
    assert found(search="%") == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limits_are_bounded(store: EventStore, limit: int) -> None:
    for call in (
        lambda: store.query(HOME, EventQuery(limit=limit)),
        lambda: store.peers(HOME, "d-1", limit=limit),
        lambda: store.traffic(HOME, "", since=0, until=1, buckets=limit),
    ):
        with pytest.raises(InvalidInput):
            call()
    for since, until in ((1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(InvalidInput):
            store.traffic(HOME, "", since=since, until=until)


def test_peers_are_summed_by_whom_and_what(store: EventStore) -> None:
    store.append(
        HOME,
        [
            flow(1, "d-1", "192.0.2.1", name="cloud.example", state="new"),
            flow(2, "d-1", "192.0.2.2", name="cloud.example", state="update"),
            flow(3, "d-1", "192.0.2.3", out=1),
            flow(4, "d-2", "d-1", port=80, out=5000, back=7, app="http"),
            flow(5, "d-3", "d-2"),
        ],
    )
    assert store.peers(HOME, "d-1") == (
        PeerRow(
            peer="d-2",
            is_device=True,
            proto=6,
            port=80,
            app="http",
            outgoing=False,
            flows=1,
            bytes_out=7,
            bytes_in=5000,
            first=4.0,
            last=4.5,
        ),
        PeerRow(
            peer="cloud.example",
            is_device=False,
            proto=6,
            port=443,
            app="tls",
            outgoing=True,
            flows=1,
            bytes_out=200,
            bytes_in=20,
            first=1.0,
            last=2.5,
        ),
        PeerRow(
            peer="192.0.2.3",
            is_device=False,
            proto=6,
            port=443,
            app="tls",
            outgoing=True,
            flows=1,
            bytes_out=1,
            bytes_in=10,
            first=3.0,
            last=3.5,
        ),
    )
    assert [row.peer for row in store.peers(HOME, "d-1", since=3.0, limit=1)] == ["d-2"]
    assert store.peers(HOME, "") == ()


def test_traffic_falls_into_equal_buckets_seen_from_the_device(store: EventStore) -> None:
    store.append(HOME, [flow(0, "d-1", "x"), flow(1, "d-1", "d-2"), flow(9, "d-2", "d-1", out=7, back=3), event(5)])
    points = store.traffic(HOME, "d-1", since=0.0, until=10.0, buckets=5)
    assert [point.time for point in points] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert [(p.bytes_out, p.bytes_in, p.packets_out, p.packets_in) for p in points] == [
        (200, 20, 4, 2),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
        (3, 7, 1, 2),
    ]
    assert [p.bytes_out for p in store.traffic(HOME, "", since=0.0, until=10.0, buckets=2)] == [200, 7]


def test_findings_are_kept_and_counted_but_are_no_events(store: EventStore) -> None:
    finding = Finding(uid=hashed_uid("f"), tenant=HOME, time=3.0, source="t", rule="scan", title="Scan", device="d-1")
    assert store.append(HOME, [finding, event(1)]) == 2
    assert store.append(HOME, [finding]) == 0
    assert store.query(HOME, EventQuery()).items == (event(1),)
    assert store.counts(HOME) == {"finding": 1, "status": 1}
    assert store.counts(HOME, since=2.0) == {"finding": 1}


def test_prune_deletes_the_old_only(store: EventStore) -> None:
    store.append(HOME, [event(n) for n in range(10)])
    assert store.prune(HOME, before=7.0) == 7
    assert store.prune(HOME, before=7.0) == 0
    assert [e.time for e in store.query(HOME, EventQuery()).items] == [9.0, 8.0, 7.0]


texts = st.text(max_size=20)
ends = st.none() | st.builds(
    Endpoint, mac=texts, ip=texts, port=st.integers(0, 65535), device=texts, names=st.tuples(texts), roles=st.just(())
)


@example(uid="u", parents=["\ud800"], src=None, dst=None, message="", time=0.0)
@given(
    uid=st.text(min_size=1, max_size=20) | st.just("ab" * 16) | st.just("AB" * 16),
    parents=st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=40), max_size=3),
    src=ends,
    dst=ends,
    message=texts,
    time=st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_row_holds_all_of_an_event(**fields: object) -> None:
    fields["parents"] = tuple(fields["parents"])  # type: ignore[arg-type]
    made = Event(tenant=HOME, source="s", class_uid=1, data=StatusData(status="x"), **fields)  # type: ignore[arg-type]
    assert event_of(row_of(made)) == made


def test_the_file_belongs_to_its_owner_and_to_one_process(tmp_path: Path) -> None:
    path = tmp_path / "events.duckdb"
    store = DuckdbEventStore(path)
    store.append(HOME, SAMPLES)
    assert store.wal_bytes > 0
    assert path.stat().st_mode & 0o077 == 0
    store.checkpoint()
    assert store.wal_bytes == 0
    store.close()
    store.close()
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(Unavailable):
        DuckdbEventStore(path)


def test_the_engine_reaches_nothing_else(tmp_path: Path) -> None:
    store = DuckdbEventStore(tmp_path / "events.duckdb")
    for text in (
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY events TO '/tmp/out.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "ATTACH '/tmp/other.db'",
    ):
        with pytest.raises(Unavailable):
            store._ask(text, {})
    store.close()
