"""What a start of this version would change about the data that is there; asks nobody outside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from thingward._version import __version__
from thingward.adapters.control_store.revisions import known_revisions, steps_after
from thingward.adapters.link.blocking import BlockingLink
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.runtime import channels
from thingward.runtime.backup import is_sqlite, schema_of
from thingward.runtime.checkpoint import read_checkpoint

#: How long a running store may take to answer, in seconds.
ANSWER_S: Final = 5.0


class UpgradeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known without a network.

    Attributes:
        data_schema: revision of the control database, empty if there is none. code_schema: what this version writes.
        migrations: what a start would do, in order.
        problems: why a start would refuse. notes: what cannot be known here, and what changed, as plain lines.
    """

    version: str
    data_schema: str
    code_schema: str
    migrations: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def check_upgrade(home: Path, store_socket: Path | None = None) -> UpgradeReport:
    """Compare data and code; opens everything for reading only.

    Args:
        store_socket: where a running store answers: only it can say what is in the file that it has open.
    """
    known = list(known_revisions())
    found = [(path, schema_of(path)) for path in sorted(home.rglob("*")) if path.is_file() and is_sqlite(path)]
    database, revision = next(((path, schema) for path, schema in found if schema), (None, ""))
    problems = _checkpoint_problems(home)
    migrations: list[str] = []
    store_problems, store_notes = _look_at_store(home, store_socket)
    problems += store_problems
    notes = [*store_notes, "This check asks nobody outside: it cannot know whether a newer release exists."]
    if database is None:
        notes.append(f"There is no control database in {home}: the first start makes one.")
    elif revision not in known:
        problems.append(
            f"{database} has revision {revision}: a newer thingward wrote it; use that, or restore a backup."
        )
    else:
        migrations = steps_after(revision)
        if migrations:
            notes.append("Make a backup before the start: an older version does not read migrated tables.")
    return UpgradeReport(
        version=__version__,
        data_schema=revision,
        code_schema=known[-1],
        migrations=tuple(migrations),
        problems=tuple(problems),
        notes=tuple(notes),
        changes=tuple(_changes()),
    )


def _checkpoint_problems(home: Path) -> list[str]:
    problems = []
    for path in home.rglob("*checkpoint*"):
        try:
            if path.is_file():
                read_checkpoint(path)
        except InvalidInput as error:
            problems.append(str(error))
    return problems


def _look_at_store(home: Path, socket: Path | None) -> tuple[list[str], list[str]]:
    """Give problems and notes about the event store: of the process that has it open, else of its file."""
    from thingward.adapters.event_store.duckdb import SCHEMA_VERSION, read_version

    running = _running_store_version(socket) if socket is not None and socket.exists() else None
    if running is not None:
        note = "The platform is running: its store said what is in the event store."
        return _event_table_problems("the event store", running, SCHEMA_VERSION), [note]
    problems: list[str] = []
    notes = []
    for path in home.rglob("*.duckdb"):
        try:
            found = read_version(path)
        except Unavailable as error:
            notes.append(f"The event store could not be looked at: {error}")
        else:
            problems += _event_table_problems(path.name, found, SCHEMA_VERSION)
    return problems, notes


def _event_table_problems(name: str, found: int, known: int) -> list[str]:
    return [] if found == known else [f"{name} has version {found}, this thingward writes {known}."]


def _running_store_version(socket: Path) -> int | None:
    """Ask the store; None if it does not answer, or is too old to say."""
    link = BlockingLink(socket, name="upgrade")
    try:
        answer = link.call(channels.STATUS, b"", timeout_s=ANSWER_S)
        return msgspec.msgpack.decode(answer, type=channels.StoreStatus).schema_version or None
    except (ThingwardError, msgspec.DecodeError):
        return None
    finally:
        link.close()


def _changes() -> list[str]:
    """Give the changes that are not in a release yet, where this runs from a checkout."""
    folder = Path(__file__).parents[3] / "changelog.d"
    lines: list[str] = []
    for path in sorted(folder.glob("*.md")) if folder.is_dir() else ():
        if path.name != "README.md":
            lines += [line.strip().removeprefix("- ") for line in path.read_text("utf-8").splitlines() if line.strip()]
    return lines
