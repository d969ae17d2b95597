"""The host's dnsmasq: told which names fill which sets, and restarted to know it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from thingward.adapters.enforcer.keeper import write_atomically
from thingward.wire.nft import NameBinding, render_dnsmasq

RESTART_TIMEOUT_S: Final = 20.0


class DnsmasqSnippet:
    """Writes a file that dnsmasq includes.

    Args:
        path: the file, for example `/etc/dnsmasq.d/thingward.conf`.
        restart: command that makes dnsmasq read it (a signal does not); empty: whoever runs dnsmasq watches the file.
    """

    def __init__(self, path: Path, restart: Sequence[str] = ()) -> None:
        self._path = path
        self._restart = tuple(restart)

    async def __call__(self, names: Sequence[NameBinding]) -> str:
        """Write if something changed; gives a plain line if names cannot be enforced."""
        text = render_dnsmasq(names)
        try:
            if self._path.exists() and self._path.read_text(encoding="utf-8") == text:
                return ""
            if not names and not self._path.exists():
                return ""
            await asyncio.to_thread(write_atomically, self._path, text.encode(), mode=0o644)
        except OSError as error:
            return f"names are not enforced: {self._path} cannot be written ({error.strerror})"
        return await self._run()

    async def _run(self) -> str:
        if not self._restart:
            return ""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._restart, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            return f"names are not enforced: {self._restart[0]} does not start ({error.strerror})"
        try:
            code = await asyncio.wait_for(process.wait(), RESTART_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"names are not enforced: {' '.join(self._restart)} did not end within {RESTART_TIMEOUT_S:.0f} s"
        return f"names are not enforced: {' '.join(self._restart)} failed with {code}" if code else ""
