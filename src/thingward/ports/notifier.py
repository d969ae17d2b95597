"""Ways out to people and other systems."""

from __future__ import annotations

from typing import Protocol

from thingward.model.flow import Notify
from thingward.model.record import Record


class Notifier(Protocol):
    """One channel: webhook, e-mail, syslog, OCSF lines."""

    name: str

    async def notify(self, tenant: str, message: Notify) -> None:
        """Deliver one message; raises Unavailable if it should be tried again."""
        ...

    async def export(self, tenant: str, record: Record) -> None:
        """Hand out one record (syslog, OCSF lines); channels for people ignore it."""
        ...
