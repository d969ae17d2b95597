"""The outbox: threshold, budget, repeats, digest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from thingward.model.flow import Notify
from thingward.runtime.notify import (
    DIGEST_LIMIT,
    REPEAT_S,
    Dispatcher,
    NotifySettings,
    Outbox,
    OutboxFile,
    OutboxState,
)

NOON = 1_700_000_000.0 - 1_700_000_000.0 % 86400 + 12 * 3600


def message(key: str, urgency: int = 5) -> Notify:
    return Notify(uid=key, tenant="default", key=key, title=key, text=key, urgency=urgency)


def test_budget_then_digest_then_new_day() -> None:
    outbox = Outbox(NotifySettings(daily_budget=2, digest_hour=7))
    passed = [outbox.offer(message(f"k{index}"), NOON) is not None for index in range(4)]
    assert passed == [True, True, False, False]
    digest = outbox.digest(NOON)
    assert digest is not None and "k2" in digest.text and "k3" in digest.text and "k1" not in digest.text
    assert outbox.digest(NOON) is None
    assert outbox.offer(message("next day"), NOON + 86400) is not None


def test_quiet_messages_wait_and_repeats_are_swallowed() -> None:
    outbox = Outbox(NotifySettings(min_severity=4))
    assert outbox.offer(message("quiet", urgency=3), NOON) is None
    assert outbox.offer(message("loud"), NOON) is not None
    assert outbox.offer(message("loud"), NOON + 10) is None
    assert outbox.offer(message("loud"), NOON + REPEAT_S + 10) is not None


def test_digest_is_bounded_and_says_what_it_left_out() -> None:
    outbox = Outbox(NotifySettings(min_severity=5))
    for index in range(DIGEST_LIMIT + 7):
        outbox.offer(message(f"q{index}", urgency=1), NOON)
    digest = outbox.digest(NOON)
    assert digest is not None and "and 7 older ones" in digest.text and str(DIGEST_LIMIT + 7) in digest.title


def test_digest_waits_for_its_hour() -> None:
    outbox = Outbox(NotifySettings(min_severity=5, digest_hour=13))
    outbox.offer(message("q", urgency=1), NOON)
    assert outbox.digest(NOON) is None
    assert outbox.digest(NOON + 3600) is not None


def test_a_restart_is_no_new_budget(tmp_path: Path) -> None:
    kept = OutboxFile(tmp_path / "people")
    before = Outbox(NotifySettings(daily_budget=2), kept.load())
    assert [before.offer(message(f"k{index}"), NOON) is not None for index in range(3)] == [True, True, False]
    kept.save(before)
    after = Outbox(NotifySettings(daily_budget=2), OutboxFile(tmp_path / "people").load())
    assert after.offer(message("k0"), NOON + REPEAT_S) is None, "the budget of the day is spent"
    assert after.offer(message("k1"), NOON + 60) is None, "a repeat"
    digest = after.digest(NOON)
    assert digest is not None and "k2" in digest.text
    OutboxFile(tmp_path / "people").save(after)
    third = Outbox(NotifySettings(), OutboxFile(tmp_path / "people").load())
    third.offer(message("quiet", urgency=1), NOON + 1)
    assert third.digest(NOON + 2) is None, "one digest a day"
    assert (tmp_path / "people").stat().st_mode & 0o077 == 0


def test_a_damaged_state_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "people").write_bytes(b"\xff nothing")
    assert OutboxFile(tmp_path / "people").load() == OutboxState()


def test_a_clock_that_is_set_back_over_midnight_is_no_new_budget() -> None:
    midnight = NOON + 12 * 3600
    outbox = Outbox(NotifySettings(daily_budget=2, digest_hour=0))
    passed = [outbox.offer(message(f"a{index}"), midnight + 60 + index) is not None for index in range(3)]
    assert passed == [True, True, False]
    assert outbox.digest(midnight + 100) is not None
    assert outbox.offer(message("set back"), midnight - 3500) is None, "the hour before is no day of its own"
    assert outbox.digest(midnight - 3400) is None, "one digest for both"
    assert outbox.offer(message("again"), midnight + 200) is None, "nor is the same day twice"
    assert outbox.offer(message("the next"), midnight + 86400 + 1) is not None
    assert outbox.offer(message("long ago"), midnight - 30 * 86400) is not None, "a clock that was wrong by much"


class Stubborn:
    """A channel that takes its time to end."""

    name = "stubborn"

    def __init__(self) -> None:
        self.taken = asyncio.Event()
        self.may_end = asyncio.Event()

    async def notify(self, tenant: str, message: Notify) -> None:
        self.taken.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_end.wait()

    async def export(self, tenant: str, records: object) -> None:
        pass


def test_whoever_closes_can_itself_be_cancelled() -> None:
    async def run() -> None:
        channel = Stubborn()
        notifying = Dispatcher([channel], Outbox(NotifySettings()), lambda: NOON)
        notifying.start()
        assert notifying.notify(message("k"))
        await channel.taken.wait()
        closing = asyncio.create_task(notifying.close())
        await asyncio.sleep(0)
        closing.cancel()
        channel.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await closing

    asyncio.run(run())
