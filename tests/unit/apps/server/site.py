"""Options, application and clients for the server's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from tests.unit.apps.server.tiny_core import TinyCore
from thingward.apps.server.backend import Health, Options
from thingward.model.intent import Answer, Intent
from thingward.model.record import Record


def options_for(folder: Path, *, demo: bool = False, **more: object) -> Options:
    """Options of a server under test; captures cannot be judged unless a command is given."""
    values = {
        "data_dir": folder,
        "version": "0.1.0",
        "site": "home",
        "demo": demo,
        "demo_note": "Every device, name and address of it is made up." if demo else "",
        "file_settings": (
            ("server.host", "127.0.0.1", "Address to listen on; anything but loopback needs TLS."),
            ("server.port", "8443", "TCP port; 0 takes a free one."),
            ("notify.min_severity", "4", "Least severity (1 to 5) that is sent at once."),
            ("notify.daily_budget", "20", "Messages to people per day; what is beyond waits for the digest."),
            ("notify.digest_hour", "7", "Hour of the day (UTC) at which the digest is sent."),
            ("store.retention_days", "30.0", "Events older than this are deleted."),
        ),
    }
    return Options(**{**values, **more})  # type: ignore[arg-type]


class Switch:
    """A backend that hands everything to another one, which tests exchange: the application is built once."""

    def __init__(self, core: TinyCore) -> None:
        self._listening = core.listening
        self._core = core

    @property
    def core(self) -> TinyCore:
        return self._core

    @core.setter
    def core(self, core: TinyCore) -> None:
        core.listening = self._listening
        self._core = core

    @property
    def control(self) -> object:
        return self.core.control

    @property
    def events(self) -> object:
        return self.core.events

    def now(self) -> float:
        return self.core.now()

    async def ask(self, intent: Intent) -> Answer:
        return await self.core.ask(intent)

    async def live(self) -> AsyncIterator[Record]:
        async for record in self.core.live():
            yield record

    async def health(self) -> Health:
        return await self.core.health()
