"""Control data in SQLite (WAL, every commit forced to disk) or PostgreSQL, by URL; the same migrations for both.

One table per kind of record: tenant, uid, time, the fields of `tables.INDEXED` as text, a text to search through, and
the record itself as JSON.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from thingward.adapters.control_store.tables import (
    INDEXED,
    decode_cursor,
    encode_cursor,
    index_value,
    plain,
    question_digest,
    search_text,
    tag_of,
    verify_owner,
    verify_question,
    wanted_value,
)
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.model.record import Record
from thingward.ports.control_store import Delete, Page, Put, R

#: Newest revision in `migrations/versions`.
HEAD: Final = "0003"
BUSY_TIMEOUT_MS: Final = 5000

_json = msgspec.json.Encoder(order="deterministic")
_metadata = sa.MetaData()
_decoders: dict[type[Record], msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(kind) for kind in INDEXED}


def _table(kind: type[Record], fields: tuple[str, ...]) -> sa.Table:
    tag = tag_of(kind)
    return sa.Table(
        tag,
        _metadata,
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        *(sa.Column(f"by_{field}", sa.Text, nullable=False) for field in fields),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Index(f"ix_{tag}_time", "tenant", "time", "uid"),
        *(sa.Index(f"ix_{tag}_{field}", "tenant", f"by_{field}", "time", "uid") for field in fields),
    )


TABLES: Final = {kind: _table(kind, fields) for kind, fields in INDEXED.items()}


class SqlControlStore:
    """The control store on an SQL engine; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(immediate=True)
        self._insert: Callable[[sa.Table], Any] = (
            postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        )

    def get(self, tenant: str, kind: type[R], uid: str) -> R | None:
        """Give one record, None if there is none."""
        table = _table_of(kind)
        query = sa.select(table.c.body).where(table.c.tenant == tenant, table.c.uid == plain(uid))
        with _errors(), self._engine.begin() as connection:
            body = connection.execute(query).scalar_one_or_none()
        return None if body is None else _decode(kind, body)

    def page(
        self,
        tenant: str,
        kind: type[R],
        *,
        where: Mapping[str, str] | None = None,
        search: str = "",
        cursor: str = "",
        limit: int = 100,
        newest_first: bool = True,
    ) -> Page[R]:
        """List records; see the port."""
        table, where = _table_of(kind), where or {}
        verify_question(kind, where, limit)
        question = question_digest(tenant, kind, where, search, newest_first=newest_first)
        query = sa.select(table.c.body).where(*_conditions(kind, table, tenant, where, search))
        place = sa.tuple_(table.c.time, table.c.uid)
        if cursor:
            last = sa.tuple_(*(sa.literal(value) for value in decode_cursor(question, cursor)))
            query = query.where(place < last if newest_first else place > last)
        order = (table.c.time.desc(), table.c.uid.desc()) if newest_first else (table.c.time, table.c.uid)
        with _errors(), self._engine.begin() as connection:
            bodies = connection.execute(query.order_by(*order).limit(limit + 1)).scalars().all()
        items = tuple(_decode(kind, body) for body in bodies[:limit])
        return Page(items, encode_cursor(question, items[-1]) if len(bodies) > limit else "")

    def count(self, tenant: str, kind: type[Record], *, where: Mapping[str, str] | None = None) -> int:
        """Count records."""
        table = _table_of(kind)
        verify_question(kind, where or {})
        query = sa.select(sa.func.count()).select_from(table).where(*_conditions(kind, table, tenant, where or {}, ""))
        with _errors(), self._engine.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def commit(self, tenant: str, changes: Sequence[Put | Delete]) -> None:
        """Apply all changes or none, durably, in one transaction; of one record the last change counts."""
        last: dict[type[Record], dict[str, Record | None]] = {}
        for change in changes:
            if isinstance(change, Put):
                verify_owner(tenant, change.record)
                _table_of(type(change.record))
                last.setdefault(type(change.record), {})[change.record.uid] = change.record
            else:
                _table_of(change.kind)
                last.setdefault(change.kind, {})[change.uid] = None
        if not last:
            return
        with _errors(), self._writer.begin() as connection:
            for kind, rows in last.items():
                self._put(connection, TABLES[kind], [row for row in rows.values() if row is not None])
                _delete(connection, TABLES[kind], tenant, [uid for uid, row in rows.items() if row is None])

    def tenants(self) -> tuple[str, ...]:
        """Names of all tenants that have data."""
        query = sa.union(*(sa.select(table.c.tenant).distinct() for table in TABLES.values()))
        with _errors(), self._engine.begin() as connection:
            return tuple(sorted(connection.execute(query).scalars()))

    def close(self) -> None:
        """Release the engine; idempotent."""
        self._engine.dispose()

    def _put(self, connection: Connection, table: sa.Table, records: list[Record]) -> None:
        if not records:
            return
        statement = self._insert(table)
        fields = [c.name for c in table.columns if c.name not in ("tenant", "uid")]
        statement = statement.on_conflict_do_update(
            index_elements=["tenant", "uid"], set_={name: statement.excluded[name] for name in fields}
        )
        connection.execute(statement, [_row(record) for record in records])


def sqlite_url(path: Path) -> str:
    """Give the URL of a SQLite file."""
    return f"sqlite:///{path}"


def open_store(url: str) -> SqlControlStore:
    """Open the control store for writing, after bringing its tables up to date: core does this, nobody else.

    Raises:
        Unavailable: the database cannot be reached, or belongs to a newer version.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite" and address.database:
        _create_file(Path(address.database))
    engine = _engine(address, read_only=False)
    with _errors():
        found = _revision(engine)
        if not found and not sa.inspect(engine).get_table_names():
            _create(engine)
        elif found != HEAD:
            _migrate(engine, found)
    return SqlControlStore(engine)


def open_reader(url: str) -> SqlControlStore:
    """Open the control store for reading only; a commit raises Unavailable.

    Raises:
        Unavailable: there is no database of this version yet; core makes it.
    """
    engine = _engine(make_url(url), read_only=True)
    with _errors():
        if _revision(engine) != HEAD:
            raise Unavailable("the control database is not ready.", hint="Core makes it when it starts.")
    return SqlControlStore(engine)


def _engine(url: URL, *, read_only: bool) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, read_only=read_only)
    if url.get_backend_name() != "postgresql":
        raise InvalidInput(
            f"the control store does not know {url.get_backend_name()}.", hint="Use SQLite or PostgreSQL."
        )
    url = url.set(drivername="postgresql+psycopg")
    options = "-c default_transaction_read_only=on" if read_only else ""
    try:
        return sa.create_engine(url, pool_pre_ping=True, connect_args={"options": options, "connect_timeout": 5})
    except ModuleNotFoundError as error:
        raise Unavailable("PostgreSQL needs psycopg.", hint="Install thingward[postgresql].") from error


def _sqlite_engine(url: URL, *, read_only: bool) -> Engine:
    if read_only:
        url = url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _revision(engine: Engine) -> str:
    table = sa.table("alembic_version", sa.column("version_num"))
    try:
        with engine.connect() as connection:
            return str(connection.execute(sa.select(table.c.version_num)).scalar_one_or_none() or "")
    except DBAPIError:
        with engine.connect():  # reachable, so it is the table that is missing
            return ""


def _create(engine: Engine) -> None:
    """Make the newest tables at once; a test keeps them equal to what the migrations lead to."""
    version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    with engine.execution_options(immediate=True).begin() as connection:
        _metadata.create_all(connection)
        version.create(connection)
        connection.execute(version.insert().values(version_num=HEAD))


def _migrate(engine: Engine, found: str) -> None:
    from alembic import command  # 0.3 s, and only needed after an upgrade
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.execution_options(immediate=True).begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Unavailable(
                f"the control database has revision {found!r}, which this version does not know.",
                hint="It was written by a newer thingward: use that, or restore a backup.",
            ) from error


def _table_of(kind: type[Record]) -> sa.Table:
    tag_of(kind)
    return TABLES[kind]


def _conditions(
    kind: type[Record], table: sa.Table, tenant: str, where: Mapping[str, str], search: str
) -> list[sa.ColumnElement[bool]]:
    conditions = [table.c.tenant == tenant]
    conditions += [table.c[f"by_{field}"] == wanted_value(kind, field, value) for field, value in where.items()]
    if search:
        conditions.append(table.c.search.contains(plain(search.lower()), autoescape=True))
    return conditions


def _row(record: Record) -> dict[str, Any]:
    row = {f"by_{field}": index_value(record, field) for field in INDEXED[type(record)]}
    return row | {
        "tenant": record.tenant,
        "uid": record.uid,
        "time": record.time,
        "search": search_text(record),
        "body": _json.encode(record).decode(),
    }


def _delete(connection: Connection, table: sa.Table, tenant: str, uids: list[str]) -> None:
    for uid in uids:
        connection.execute(table.delete().where(table.c.tenant == tenant, table.c.uid == uid))


def _decode(kind: type[R], body: str) -> R:
    record: R = _decoders[kind].decode(body)
    return record


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn what the engine raises into errors of ours, without the statement and its values."""
    try:
        yield
    except ThingwardError:
        raise
    except DBAPIError as error:
        raise Unavailable(f"the control database failed: {str(error.orig).strip()}.", hint="Try again.") from error
    except SQLAlchemyError as error:
        raise Unavailable(f"the control database failed: {type(error).__name__}.", hint="Try again.") from error
