"""The indicator packs that core uses: read when it starts, and anew when somebody imports or removes one."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

from thingward.detection.rules import Content
from thingward.detection.stage import DetectionStage
from thingward.model.errors import NotFound
from thingward.model.intent import ImportPack, LoadPacks, RemovePack
from thingward.runtime.pack_info import PackInfo
from thingward.runtime.packs import content_of, import_pack, load_packs, pack_of, remove_pack


class PackShelf:
    """Keeps and loads packs; reading a long list takes seconds, so it is done in a thread, one at a time.

    Attributes:
        infos: packs in use. problems: packs that could not be read.
    """

    def __init__(self, home: Path) -> None:
        self.infos: tuple[PackInfo, ...] = ()
        self.problems: tuple[str, ...] = ()
        self._home = home
        self._one = asyncio.Lock()

    def load(self) -> Content:
        """Read everything that is kept."""
        loaded = load_packs(self._home)
        self.infos, self.problems = tuple(sorted(loaded.infos, key=lambda info: info.name)), loaded.problems
        return content_of(loaded.packs)

    async def perform(self, body: ImportPack | RemovePack | LoadPacks, detection: DetectionStage, now: float) -> None:
        """Change what is kept, then let detection use it; raises InvalidInput for a list without any indicator."""
        async with self._one:
            content = await asyncio.to_thread(self._change, body, now)
            detection.use(content)

    def _change(self, body: ImportPack | RemovePack | LoadPacks, now: float) -> Content:
        if isinstance(body, ImportPack):
            pack = pack_of(body.name, body.text, confidence=body.confidence)
            import_pack(self._home, pack, hashlib.sha256(body.text).hexdigest(), now=now)
        elif isinstance(body, RemovePack):
            with suppress(NotFound):  # asked again: it is gone already
                remove_pack(self._home, body.name)
        return self.load()
