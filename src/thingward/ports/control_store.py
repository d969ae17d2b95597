"""Control data: devices, profiles, approvals, cases, actions, principals ... each kind a small aggregate.

One narrow generic port serves every aggregate: the record type picks the table. Core is its only writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from thingward.model.record import Record

R = TypeVar("R", bound=Record)


class Put(msgspec.Struct, frozen=True):
    """Insert or replace by (tenant, kind, uid)."""

    record: Record


class Delete(msgspec.Struct, frozen=True):
    """Remove by (tenant, kind, uid); removing what is not there is no error."""

    kind: type[Record]
    uid: str


class Page(msgspec.Struct, Generic[R], frozen=True):
    """One page: records and the cursor of the next page, empty at the end."""

    items: tuple[R, ...]
    cursor: str = ""


class ControlStore(Protocol):
    """Durable control data; a commit that returned survives kill -9."""

    def get(self, tenant: str, kind: type[R], uid: str) -> R | None:
        """Give one record, None if there is none."""
        ...

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
        """List records whose indexed fields equal `where`, whose text contains `search`; limit 1 to 1000.

        Indexed fields per kind are listed in `thingward.adapters.control_store.tables`. Order is (time, uid).
        Raises InvalidInput for an unknown field or a foreign cursor.
        """
        ...

    def count(self, tenant: str, kind: type[Record], *, where: Mapping[str, str] | None = None) -> int:
        """Count records."""
        ...

    def commit(self, tenant: str, changes: Sequence[Put | Delete]) -> None:
        """Apply all changes or none, durably, in one transaction."""
        ...

    def tenants(self) -> tuple[str, ...]:
        """Names of all tenants that have data."""
        ...

    def close(self) -> None:
        """Release the engine; idempotent."""
        ...
