"""Commands carried out: the enforcer is asked, people are told; what came of it goes back onto the road."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from thingward.apps.core.entries import command_uid
from thingward.model.action import Action, ActionKind, Outcome
from thingward.model.errors import ThingwardError
from thingward.model.flow import Apply, Command, Enforce, Notify
from thingward.model.ids import Tenant, hashed_uid
from thingward.model.record import Record
from thingward.ports.clock import Clock
from thingward.ports.enforcer import Enforcer

#: Waits between attempts while the enforcer is away, in seconds; after the last the response stage decides.
RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)

#: Takes a command's outcome (nothing for a notification) and the place of the decision behind it.
Finish = Callable[[int, Command, Sequence[Record]], Awaitable[None]]

_log = structlog.get_logger("core")


class Teller(Protocol):
    """Tells people; `runtime.notify.NotifyHub` does."""

    def notify(self, message: Notify) -> bool:
        """Queue a message."""
        ...


class Effects:
    """Carries commands out, each once at a time: quarantines at once and side by side, profiles the newest only."""

    def __init__(self, clock: Clock, finish: Finish, *, enforcer: Enforcer | None, teller: Teller | None) -> None:
        self.failed = 0
        self._clock = clock
        self._finish = finish
        self._enforcer = enforcer
        self._teller = teller
        self._running: dict[str, asyncio.Task[None]] = {}
        self._newest: dict[str, tuple[int, Enforce]] = {}

    def dispatch(self, of: int, commands: Sequence[Command]) -> None:
        """Begin to carry out commands; returns at once."""
        for command in commands:
            if isinstance(command, Enforce):
                self._newest[command.tenant] = (of, command)
                self._start(f"enforce:{command.tenant}", partial(self._hold, command.tenant))
            elif isinstance(command, Apply):
                self._start(command_uid(command), partial(self._apply, of, command))
            else:
                self._start(command_uid(command), partial(self._tell, of, command))

    async def close(self) -> None:
        """Stop what runs; what was not finished is done after the next start."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        if key in self._running:
            return

        async def run() -> None:
            try:
                await work()
            except ThingwardError as error:
                self.failed += 1
                _log.warning("command failed", command=key, reason=str(error))
            finally:
                self._running.pop(key, None)

        self._running[key] = asyncio.create_task(run(), name=key)

    async def _apply(self, of: int, command: Apply) -> None:
        outcome = self._known_outcome(command) or await self._ask(partial(_carry_out, command.action))
        if outcome is not None:
            await self._finish(of, command, [outcome])

    def _known_outcome(self, command: Apply) -> Outcome | None:
        """Give the outcome of what cannot or need not be asked for."""
        action = command.action
        if action.kind not in (ActionKind.QUARANTINE, ActionKind.RELEASE):
            return self._outcome(command, "failed", f"nobody carries out {action.kind}")
        if self._enforcer is None:
            return self._outcome(command, "failed", "the platform runs without a warden: the network is untouched")
        if action.kind is ActionKind.QUARANTINE and 0 < action.expires <= self._clock.now():
            return self._outcome(command, "expired", "its time had passed before it could be applied")
        return None

    async def _hold(self, tenant: str) -> None:
        while tenant in self._newest and self._enforcer is not None:
            of, command = self._newest.pop(tenant)
            outcome = await self._ask(partial(_hold, command))
            if outcome is not None:
                await self._finish(of, command, [outcome])
            elif tenant not in self._newest:
                self._newest[tenant] = (of, command)
                await self._clock.sleep(RETRY_S[-1])

    async def _ask(self, ask: Callable[[Enforcer], Awaitable[Outcome]]) -> Outcome | None:
        """Ask the enforcer, again while it is away; None if it stays away."""
        if self._enforcer is None:
            return None
        for wait_s in (*RETRY_S, 0.0):
            try:
                return await ask(self._enforcer)
            except ThingwardError as error:
                if not error.retryable:
                    raise
                await self._clock.sleep(wait_s)
        self.failed += 1
        return None

    async def _tell(self, of: int, command: Notify) -> None:
        if self._teller is not None:
            self._teller.notify(command)
        await self._finish(of, command, [])

    def _outcome(self, command: Apply, status: str, detail: str) -> Outcome:
        action = command.action
        return Outcome(
            uid=hashed_uid("outcome", action.uid, status),
            tenant=Tenant(action.tenant),
            time=self._clock.now(),
            source="core",
            parents=(action.uid,),
            action=action.uid,
            status=status,  # type: ignore[arg-type]
            enforcer="core",
            detail=detail,
        )


async def _carry_out(action: Action, enforcer: Enforcer) -> Outcome:
    if action.kind is ActionKind.QUARANTINE:
        return await enforcer.quarantine(action.tenant, action)
    return await enforcer.release(action.tenant, action)


async def _hold(command: Enforce, enforcer: Enforcer) -> Outcome:
    return await enforcer.hold(command.tenant, command.state)
