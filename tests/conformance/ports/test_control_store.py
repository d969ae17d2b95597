"""What every control store promises."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import sqlalchemy as sa

from thingward.adapters.control_store.memory import MemoryControlStore
from thingward.adapters.control_store.sql import HEAD, TABLES, open_reader, open_store, sqlite_url
from thingward.adapters.control_store.tables import INDEXED, SEARCHED
from thingward.model.action import Action, ActionKind, ActionState, Approval
from thingward.model.codec import AnyRecord
from thingward.model.device import Device, DeviceClass, Mode
from thingward.model.errors import InvalidInput, Unavailable
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import Tenant, Uid
from thingward.model.observation import Observation
from thingward.model.principal import Token
from thingward.model.profile import Learnt
from thingward.ports.control_store import ControlStore, Delete, Put

HOME, OTHER = Tenant("home"), Tenant("other")
Open = Callable[[], ControlStore]


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL of our own on a Unix socket."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        pytest.skip("no postgresql installed")
    pytest.importorskip("psycopg")
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    control = str(Path(initdb).with_name("pg_ctl"))
    # Not below pytest's own folder: root's is closed to the user that PostgreSQL has to run as.
    with tempfile.TemporaryDirectory(prefix="thingward-pg-") as name:
        folder, data = Path(name), Path(name) / "data"
        folder.chmod(0o777)
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        steps = (
            [initdb, "-D", data, "-A", "trust", "-U", "test"],
            [control, "-D", data, "-o", options, "-l", data / "log", "-w", "start"],
        )
        for step in steps:
            subprocess.run([*user, *step], check=True, capture_output=True, cwd=folder)
        yield f"postgresql://test@/postgres?host={folder}"
        stop = [control, "-D", data, "-m", "immediate", "stop"]
        subprocess.run([*user, *stop], check=True, capture_output=True, cwd=folder)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    if request.param == "memory":
        kept = MemoryControlStore()
        yield lambda: kept
    elif request.param == "sqlite":
        yield lambda: open_store(sqlite_url(tmp_path / "control.db"))
    else:
        url = request.getfixturevalue("postgresql_url")
        engine = sa.create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
        with engine.begin() as connection:
            connection.exec_driver_sql("drop schema public cascade")
            connection.exec_driver_sql("create schema public")
        engine.dispose()
        yield lambda: open_store(url)


@pytest.fixture
def store(opener: Open) -> Iterator[ControlStore]:
    store = opener()
    yield store
    store.close()


def device(uid: str, time: float = 1.0, tenant: Tenant = HOME, **more: object) -> Device:
    return Device(uid=Uid(uid), tenant=tenant, time=time, source="test", **more)  # type: ignore[arg-type]


def put(store: ControlStore, *records: Device | Finding | Approval | Token, tenant: Tenant = HOME) -> None:
    store.commit(tenant, [Put(record) for record in records])


def uids(store: ControlStore, **question: object) -> list[str]:
    return [record.uid for record in store.page(HOME, Device, **question).items]  # type: ignore[arg-type]


def test_what_was_put_comes_back_whole_and_is_replaced_by_uid(store: ControlStore) -> None:
    record = device("d-1", macs=("02:00:00:00:00:01",), names=("kitchen\0lamp", "ünïcode"), mode=Mode.ENFORCE)
    put(store, record)
    assert store.get(HOME, Device, "d-1") == record
    assert store.get(HOME, Device, "d-2") is None
    changed = msgspec.structs.replace(record, label="lamp", time=2.0)
    put(store, changed)
    assert store.get(HOME, Device, "d-1") == changed
    assert store.count(HOME, Device) == 1


def test_commits_survive_reopening(opener: Open) -> None:
    store = opener()
    put(store, device("d-1"))
    store.close()
    store = opener()
    assert store.get(HOME, Device, "d-1") == device("d-1")
    store.close()


def test_a_tenant_sees_its_own_only(store: ControlStore) -> None:
    put(store, device("d-1"))
    put(store, device("d-1", tenant=OTHER, label="theirs"), tenant=OTHER)
    found = store.get(HOME, Device, "d-1")
    assert found is not None
    assert found.label == ""
    assert store.count(OTHER, Device) == 1
    assert store.page(OTHER, Device).items[0].label == "theirs"
    assert store.tenants() == ("home", "other")
    with pytest.raises(InvalidInput):
        store.commit(OTHER, [Put(device("d-2"))])
    store.commit(OTHER, [Delete(Device, "d-1")])
    assert store.count(HOME, Device) == 1


def test_pages_go_on_where_they_ended_in_both_orders(store: ControlStore) -> None:
    put(store, *(device(f"d-{n:03}", time=float(n // 3)) for n in range(25)))
    for newest_first in (True, False):
        seen: list[str] = []
        cursor = ""
        while True:
            page = store.page(HOME, Device, limit=7, cursor=cursor, newest_first=newest_first)
            seen += [record.uid for record in page.items]
            cursor = page.cursor
            if not cursor:
                break
        assert seen == sorted(seen, reverse=newest_first)
        assert len(seen) == 25


def test_a_page_that_ends_exactly_has_no_cursor(store: ControlStore) -> None:
    put(store, *(device(f"d-{n}") for n in range(4)))
    assert store.page(HOME, Device, limit=4).cursor == ""
    assert store.page(HOME, Device, limit=3).cursor != ""


@pytest.mark.parametrize("cursor", ["x", "AAAA", "not a cursor at all", "🙂"])
def test_a_foreign_cursor_is_refused(store: ControlStore, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        store.page(HOME, Device, cursor=cursor)
    put(store, *(device(f"d-{n}") for n in range(3)))
    mine = store.page(HOME, Device, limit=1).cursor
    for foreign in ({"newest_first": False}, {"search": "x"}, {"where": {"site": "home"}}):
        with pytest.raises(InvalidInput):
            store.page(HOME, Device, limit=1, cursor=mine, **foreign)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        store.page(OTHER, Device, limit=1, cursor=mine)


def test_records_are_found_by_indexed_fields(store: ControlStore) -> None:
    put(store, device("d-1", mode=Mode.ENFORCE, identified=True), device("d-2", kind="camera"))
    assert uids(store, where={"mode": "enforce"}) == ["d-1"]
    assert uids(store, where={"identified": "false", "kind": "camera"}) == ["d-2"]
    assert uids(store, where={"kind": ""}) == ["d-1"]
    assert store.count(HOME, Device, where={"mode": "observe"}) == 1
    finding = Finding(uid=Uid("f-1"), tenant=HOME, time=1.0, source="t", rule="scan", title="Scan", severity=4)
    put(store, finding)
    assert store.page(HOME, Finding, where={"severity": "4", "is_alert": "false"}).items == (finding,)
    token = Token(uid=Uid("t"), tenant=HOME, time=1.0, source="t", principal="p", name="n", digest="abc")
    put(store, token)
    assert store.page(HOME, Token, where={"digest": "abc"}).items == (token,)
    action = Action(uid=Uid("a"), tenant=HOME, time=1.0, source="t", kind=ActionKind.QUARANTINE, device="d-1")
    put(store, action)
    assert store.page(HOME, Action, where={"kind": "quarantine", "state": ActionState.PLANNED.value}).items == (action,)


@pytest.mark.parametrize("bad", [{"where": {"label": "x"}}, {"where": {"body": "x"}}, {"limit": 0}, {"limit": 1001}])
def test_questions_that_cannot_be_asked_are_refused(store: ControlStore, bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        store.page(HOME, Device, **bad)  # type: ignore[arg-type]


def test_search_looks_through_texts_literally_and_without_case(store: ControlStore) -> None:
    put(
        store,
        device("d-1", names=("Kitchen-Lamp",), macs=("02:aa:00:00:00:01",)),
        device("d-2", label="50%_off"),
        device("d-3", label="500 off"),
    )
    assert uids(store, search="kitchen") == ["d-1"]
    assert uids(store, search="02:AA") == ["d-1"]
    assert uids(store, search="50%_") == ["d-2"]
    assert uids(store, search="\\") == []
    assert uids(store, search="' or 1=1 --") == []
    assert uids(store, search="nothing\0here") == []


def test_digests_of_secrets_cannot_be_searched_for(store: ControlStore) -> None:
    put(store, Token(uid=Uid("t"), tenant=HOME, time=1.0, source="t", principal="p", name="n", digest="deadbeef"))
    assert store.page(HOME, Token, search="deadbeef").items == ()
    for kind, fields in SEARCHED.items():
        assert not {"digest", "password", "csrf"} & set(fields), kind


def test_a_commit_is_applied_in_order_and_whole_or_not_at_all(store: ControlStore) -> None:
    changes = [
        Put(device("d-1")),
        Delete(Device, "d-1"),
        Put(device("d-2")),
        Delete(Device, "none"),
        Put(device("d-3")),
    ]
    store.commit(HOME, [*changes, Delete(Device, "d-3"), Put(device("d-3", label="again"))])
    assert uids(store) == ["d-3", "d-2"]
    store.commit(HOME, [])
    with pytest.raises(InvalidInput):
        store.commit(HOME, [Put(device("d-9")), Put(device("d-8", tenant=OTHER))])
    assert store.get(HOME, Device, "d-9") is None


def test_what_is_no_control_data_is_refused(store: ControlStore) -> None:
    for call in (lambda: store.get(HOME, Event, "x"), lambda: store.commit(HOME, [Delete(Event, "x")])):
        with pytest.raises(InvalidInput):
            call()


def test_every_kind_of_record_is_either_control_data_or_an_event() -> None:
    assert set(get_args(AnyRecord)) == set(INDEXED) | {Observation, Event, Learnt}
    assert set(INDEXED) == set(SEARCHED) == set(TABLES)


def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    described = []
    for name in ("migrated", "created"):
        url = sqlite_url(tmp_path / f"{name}.db")
        engine = sa.create_engine(url)
        if name == "migrated":
            with engine.begin() as connection:  # a table of an unknown time: so every step runs
                connection.exec_driver_sql(
                    "create table alembic_version (version_num varchar(32) primary key not null)"
                )
        open_store(url).close()
        inspector = sa.inspect(engine)
        columns = {
            t.name: sorted((c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(t.name))
            for t in TABLES.values()
        }
        indexes = {
            t.name: sorted((i["name"], i["column_names"]) for i in inspector.get_indexes(t.name))
            for t in TABLES.values()
        }
        keys = {t.name: inspector.get_pk_constraint(t.name)["constrained_columns"] for t in TABLES.values()}
        with engine.begin() as connection:
            version = connection.exec_driver_sql("select version_num from alembic_version").scalar_one()
        described.append((columns, indexes, keys, version, set(inspector.get_table_names())))
        engine.dispose()
    assert described[0] == described[1]
    assert described[0][3] == HEAD


def test_a_migration_fills_what_records_are_found_by(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "old.db")
    store = open_store(url)
    maker = device("d-1", maker="Vendor Ünique", device_class=DeviceClass.B)
    put(store, maker, device("d-2"))
    finding = Finding(uid=Uid("f-1"), tenant=HOME, time=1.0, source="test", rule="r", title="t", suppressed=True)
    put(store, finding)
    store.close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:  # back to how the first version left it
        for table, field in (("device", "maker"), ("device", "device_class"), ("finding", "suppressed")):
            connection.exec_driver_sql(f"drop index ix_{table}_{field}")
            connection.exec_driver_sql(f"alter table {table} drop column by_{field}")
        for table in ("suppression", "claim", "enrolment", "certificate"):
            connection.exec_driver_sql(f"drop table {table}")
        connection.exec_driver_sql("update alembic_version set version_num = '0001'")
    engine.dispose()
    store = open_store(url)
    assert uids(store, where={"maker": "VENDOR ünique"}) == ["d-1"]
    assert uids(store, where={"device_class": "B"}) == ["d-1"]
    assert uids(store, where={"device_class": "unknown", "maker": ""}) == ["d-2"]
    assert store.count(HOME, Finding, where={"suppressed": "true"}) == 1
    store.close()


def test_filters_are_exact_with_pages_of_any_size(store: ControlStore) -> None:
    put(store, *(device(f"d-{n:02}", time=float(n), maker="Rare Co" if n % 7 == 0 else "Other") for n in range(50)))
    seen: list[str] = []
    cursor, sizes = "", []
    while True:
        page = store.page(HOME, Device, where={"maker": "rare co"}, limit=3, cursor=cursor)
        seen += [record.uid for record in page.items]
        sizes.append(len(page.items))
        cursor = page.cursor
        if not cursor:
            break
    assert seen == [f"d-{n:02}" for n in range(49, -1, -7)]
    assert sizes == [3, 3, 2]
    assert store.count(HOME, Device, where={"maker": "RARE CO"}) == 8


def test_a_reader_sees_commits_and_can_change_nothing(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "control.db")
    with pytest.raises(Unavailable):
        open_reader(url)
    writer = open_store(url)
    reader = open_reader(url)
    put(writer, device("d-1"))
    assert reader.get(HOME, Device, "d-1") == device("d-1")
    with pytest.raises(Unavailable):
        put(reader, device("d-2"))
    writer.close()
    assert reader.count(HOME, Device) == 1
    reader.close()
    assert (tmp_path / "control.db").stat().st_mode & 0o077 == 0


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "control.db")
    open_store(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '9999'")
    engine.dispose()
    with pytest.raises(Unavailable, match="newer"):
        open_store(url)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InvalidInput):
        open_store("mysql://x/y")
