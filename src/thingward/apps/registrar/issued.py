"""The registrar's own memory of what it issued: on disk before a device sees its certificate."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from thingward.model.certificate import Certificate, Revoked
from thingward.model.errors import Unavailable

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS issued (
    serial TEXT PRIMARY KEY, enrolment TEXT NOT NULL, not_after REAL NOT NULL, body BLOB NOT NULL,
    told INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS issued_enrolment ON issued (enrolment, not_after);
CREATE INDEX IF NOT EXISTS issued_untold ON issued (told) WHERE told = 0;
CREATE TABLE IF NOT EXISTS revoked (
    serial TEXT PRIMARY KEY, time REAL NOT NULL, reason TEXT NOT NULL, not_after REAL NOT NULL
);
"""

_decoder = msgspec.msgpack.Decoder(Certificate)


class IssuedLog:
    """Certificates by serial, which of them core knows, and the last known revocations.

    Raises:
        Unavailable: the file cannot be opened or written; nothing is issued then.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the registrar's log {path} cannot be opened: {error}.") from error

    def add(self, certificate: Certificate) -> None:
        """Keep a new certificate; it is on disk when this returns."""
        row = (
            certificate.uid,
            certificate.enrolment,
            certificate.not_after,
            msgspec.msgpack.encode(certificate),
        )
        try:
            self._database.execute("INSERT INTO issued (serial, enrolment, not_after, body) VALUES (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise Unavailable(f"the registrar's log cannot be written: {error}.", hint="Free some space.") from error

    def of_enrolment(self, enrolment: str, now: float) -> Certificate | None:
        """Give the certificate that came of an enrolment, if it is valid."""
        found = self._database.execute(
            "SELECT body FROM issued WHERE enrolment = ? AND not_after > ? ORDER BY not_after DESC LIMIT 1",
            (enrolment, now),
        ).fetchone()
        return _decoder.decode(found[0]) if found else None

    def is_issued(self, serial: str) -> bool:
        """Tell whether this serial was issued here."""
        return self._database.execute("SELECT 1 FROM issued WHERE serial = ?", (serial,)).fetchone() is not None

    def untold(self, limit: int = 500) -> tuple[Certificate, ...]:
        """Give certificates that core does not know."""
        rows = self._database.execute("SELECT body FROM issued WHERE told = 0 LIMIT ?", (limit,)).fetchall()
        return tuple(_decoder.decode(row[0]) for row in rows)

    def mark_told(self, certificates: Sequence[Certificate]) -> None:
        """Core has them on disk."""
        self._database.executemany("UPDATE issued SET told = 1 WHERE serial = ?", [(row.uid,) for row in certificates])

    def revoke(self, revoked: Sequence[Certificate]) -> bool:
        """Keep what core says was revoked; tells whether any of it was new."""
        before = self._database.total_changes
        rows = [(row.uid, row.revoked_at, row.reason, row.not_after) for row in revoked]
        self._database.executemany("INSERT OR IGNORE INTO revoked VALUES (?, ?, ?, ?)", rows)
        return self._database.total_changes > before

    def revocation(self, serial: str) -> Revoked | None:
        """Give the revocation of a serial."""
        query = "SELECT serial, time, reason FROM revoked WHERE serial = ?"
        row = self._database.execute(query, (serial,)).fetchone()
        return Revoked(serial=row[0], time=row[1], reason=row[2]) if row else None

    def revocations(self, now: float) -> tuple[Revoked, ...]:
        """Give all revocations of certificates that would still be valid."""
        query = "SELECT serial, time, reason FROM revoked WHERE not_after > ? ORDER BY time"
        rows = self._database.execute(query, (now,)).fetchall()
        return tuple(Revoked(serial=row[0], time=row[1], reason=row[2]) for row in rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
