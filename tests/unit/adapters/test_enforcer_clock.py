"""The clock of this machine is set forward or back by an hour while devices are shut out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.conformance.ports.test_enforcer import BAD, TENANT, MemorySite, action, state

HOUR = 3600.0


def run(folder: Path, scenario: Callable[[MemorySite], Awaitable[None]]) -> None:
    async def inside() -> None:
        site = MemorySite(folder)
        await site.begin()
        await scenario(site)

    asyncio.run(inside())


async def left_s(site: MemorySite) -> float:
    return (await site.enforcer.status(TENANT)).quarantined.get(BAD, 0.0)


@pytest.mark.parametrize("jump_s", [HOUR, -HOUR])
def test_a_jump_neither_shortens_nor_lengthens_a_block(tmp_path: Path, jump_s: float) -> None:
    async def scenario(site: MemorySite) -> None:
        await site.enforcer.quarantine(TENANT, action(ttl_s=600.0))
        site.clock.advance(100.0)
        site.clock.jump(jump_s)
        assert await left_s(site) == 500.0
        await site.enforcer.hold(TENANT, state())
        assert await left_s(site) == 500.0
        site.clock.advance(499.0)
        assert await left_s(site) == 1.0
        site.clock.advance(2.0)
        assert await left_s(site) == 0.0

    run(tmp_path, scenario)


@pytest.mark.parametrize("jump_s", [HOUR, -HOUR])
def test_a_command_that_is_repeated_after_a_jump_makes_no_block_longer_than_asked(
    tmp_path: Path, jump_s: float
) -> None:
    async def scenario(site: MemorySite) -> None:
        asked = action(ttl_s=600.0)
        await site.enforcer.quarantine(TENANT, asked)
        site.clock.advance(100.0)
        site.clock.jump(jump_s)
        assert (await site.enforcer.quarantine(TENANT, asked)).status == "applied"
        assert 0 < await left_s(site) <= 600.0

    run(tmp_path, scenario)


@pytest.mark.parametrize("jump_s", [HOUR, -HOUR])
def test_after_a_jump_a_block_can_be_undone(tmp_path: Path, jump_s: float) -> None:
    async def scenario(site: MemorySite) -> None:
        asked = action(ttl_s=600.0)
        await site.enforcer.hold(TENANT, state())
        before = (await site.enforcer.status(TENANT)).digest
        await site.enforcer.quarantine(TENANT, asked)
        site.clock.jump(jump_s)
        assert (await site.enforcer.release(TENANT, asked)).status == "undone"
        assert (await site.enforcer.status(TENANT)).digest == before

    run(tmp_path, scenario)


@pytest.mark.parametrize("jump_s", [HOUR / 2, -HOUR])
def test_what_was_flushed_after_a_jump_comes_back_for_no_longer_than_asked(tmp_path: Path, jump_s: float) -> None:
    async def scenario(site: MemorySite) -> None:
        await site.enforcer.hold(TENANT, state())
        await site.enforcer.quarantine(TENANT, action(ttl_s=HOUR))
        site.clock.jump(jump_s)
        site.rules.remove()
        assert "put back" in await site.enforcer.mend()
        assert 0 < await left_s(site) <= HOUR

    run(tmp_path, scenario)


def test_a_clock_that_is_set_back_gives_no_new_share_of_the_fleet(tmp_path: Path) -> None:
    async def scenario(site: MemorySite) -> None:
        await site.enforcer.hold(TENANT, state(fleet_size=20))
        asked = [action(f"a-{n}", device=f"d-{n}", mac=f"02:00:00:00:01:{n:02x}") for n in range(6)]
        for each in asked[:2]:
            assert (await site.enforcer.quarantine(TENANT, each)).status == "applied"
        site.clock.advance(60.0)
        site.clock.jump(-HOUR)
        assert (await site.enforcer.quarantine(TENANT, asked[2])).status == "refused"
        site.clock.jump(2 * HOUR)  # an hour later than it is: those time-outs that lie between are over
        assert (await site.enforcer.quarantine(TENANT, asked[3])).status == "applied"

    run(tmp_path, scenario)


def test_what_the_kernel_holds_longer_than_said_ends_with_a_new_quarantine_and_its_release(tmp_path: Path) -> None:
    async def scenario(site: MemorySite) -> None:
        await site.enforcer.hold(TENANT, state(fleet_size=20))
        await site.enforcer.quarantine(TENANT, action(ttl_s=600.0))
        site.clock.jump(HOUR)
        again = action("a-2", ttl_s=600.0)
        assert (await site.enforcer.quarantine(TENANT, again)).status == "applied"
        assert (await site.enforcer.release(TENANT, again)).status == "undone"
        assert await left_s(site) == 0.0

    run(tmp_path, scenario)
