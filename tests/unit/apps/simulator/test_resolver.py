"""The stand-in for dnsmasq leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from thingward.apps.simulator.resolver import StandIn
from thingward.apps.simulator.site import sample_site


class Asking:
    """A socket on which one question waits."""

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        return b"?", ("192.0.2.1", 5353)


def test_questions_that_wait_for_an_answer_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def forward(self: StandIn, sock: object, data: bytes, sender: tuple[str, int]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(sender[0])

    async def run() -> None:
        monkeypatch.setattr(StandIn, "_forward", forward)
        resolver = StandIn(sample_site(), tmp_path / "snippet")
        resolver._resolve(Asking())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await resolver.close()
        assert ended == ["192.0.2.1"]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
