"""The in-memory twin: keeps what was sent, bounded."""

from __future__ import annotations

from collections import deque

from thingward.model.errors import Unavailable
from thingward.model.flow import Notify
from thingward.model.record import Record


class MemoryNotifier:
    """Collects messages and records; `away` makes it refuse like an engine that is down."""

    def __init__(self, name: str = "memory", limit: int = 1000) -> None:
        self.name = name
        self.away = False
        self.messages: deque[Notify] = deque(maxlen=limit)
        self.records: deque[Record] = deque(maxlen=limit)

    async def notify(self, tenant: str, message: Notify) -> None:
        """Keep one message."""
        if self.away:
            raise Unavailable(f"{self.name} is away.")
        self.messages.append(message)

    async def export(self, tenant: str, record: Record) -> None:
        """Keep one record."""
        if self.away:
            raise Unavailable(f"{self.name} is away.")
        self.records.append(record)
