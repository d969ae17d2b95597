"""Control data in dictionaries: for `guard` on files, and the twin for tests."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from thingward.adapters.control_store.tables import (
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
from thingward.model.record import Record
from thingward.ports.control_store import Delete, Page, Put, R


class MemoryControlStore:
    """Keeps what was put until the process ends."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rows: dict[tuple[str, str], dict[str, Record]] = {}

    def get(self, tenant: str, kind: type[R], uid: str) -> R | None:
        """Give one record, None if there is none."""
        found = self._rows.get((tenant, tag_of(kind)), {}).get(uid)
        return found if isinstance(found, kind) else None

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
        question = question_digest(tenant, kind, where or {}, search, newest_first=newest_first)
        rows = self._matching(tenant, kind, where or {}, search, limit)
        rows.sort(key=lambda record: (record.time, record.uid), reverse=newest_first)
        if cursor:
            last = decode_cursor(question, cursor)
            rows = [r for r in rows if ((r.time, r.uid) < last if newest_first else (r.time, r.uid) > last)]
        items = tuple(rows[:limit])
        return Page(items, encode_cursor(question, items[-1]) if len(rows) > limit else "")

    def count(self, tenant: str, kind: type[Record], *, where: Mapping[str, str] | None = None) -> int:
        """Count records."""
        return len(self._matching(tenant, kind, where or {}, "", 1))

    def commit(self, tenant: str, changes: Sequence[Put | Delete]) -> None:
        """Apply all changes or none."""
        places = []
        for change in changes:
            if isinstance(change, Put):
                verify_owner(tenant, change.record)
            places.append(tag_of(type(change.record) if isinstance(change, Put) else change.kind))
        with self._guard:
            for change, tag in zip(changes, places, strict=True):
                rows = self._rows.setdefault((tenant, tag), {})
                if isinstance(change, Put):
                    rows[change.record.uid] = change.record
                else:
                    rows.pop(change.uid, None)

    def tenants(self) -> tuple[str, ...]:
        """Names of all tenants that have data."""
        return tuple(sorted({tenant for (tenant, _), rows in list(self._rows.items()) if rows}))

    def close(self) -> None:
        """Keep everything: there is no engine to release."""

    def _matching(self, tenant: str, kind: type[R], where: Mapping[str, str], search: str, limit: int) -> list[R]:
        tag = tag_of(kind)
        verify_question(kind, where, limit)
        with self._guard:
            rows = [record for record in self._rows.get((tenant, tag), {}).values() if isinstance(record, kind)]
        wanted = plain(search.lower())
        return [
            record
            for record in rows
            if all(index_value(record, field) == wanted_value(kind, field, value) for field, value in where.items())
            and (not wanted or wanted in search_text(record))
        ]
