"""What a start of this version would change about the data that is there; asks nobody outside."""

from __future__ import annotations

from pathlib import Path

import msgspec

from thingward._version import __version__
from thingward.adapters.control_store.revisions import known_revisions, steps_after
from thingward.model.errors import InvalidInput, Unavailable
from thingward.runtime.backup import is_sqlite, schema_of
from thingward.runtime.checkpoint import read_checkpoint


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


def check_upgrade(home: Path) -> UpgradeReport:
    """Compare data and code; opens everything for reading only."""
    known = list(known_revisions())
    found = [(path, schema_of(path)) for path in sorted(home.rglob("*")) if path.is_file() and is_sqlite(path)]
    database, revision = next(((path, schema) for path, schema in found if schema), (None, ""))
    problems = _checkpoint_problems(home)
    migrations: list[str] = []
    notes = [*_store_notes(home), "This check asks nobody outside: it cannot know whether a newer release exists."]
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


def _store_notes(home: Path) -> list[str]:
    from thingward.adapters.event_store.duckdb import verify_version

    notes = []
    for path in home.rglob("*.duckdb"):
        try:
            verify_version(path)
        except Unavailable as error:
            notes.append(f"{path.name} could not be looked at: {error}")
    return notes


def _changes() -> list[str]:
    """Give the changes that are not in a release yet, where this runs from a checkout."""
    folder = Path(__file__).parents[3] / "changelog.d"
    lines: list[str] = []
    for path in sorted(folder.glob("*.md")) if folder.is_dir() else ():
        if path.name != "README.md":
            lines += [line.strip().removeprefix("- ") for line in path.read_text("utf-8").splitlines() if line.strip()]
    return lines
