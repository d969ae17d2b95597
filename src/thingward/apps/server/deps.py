"""What every handler is given."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter

from thingward.apps.server.backend import Backend, Options
from thingward.apps.server.callers import Caller, caller_of
from thingward.apps.server.captures import CaptureDesk
from thingward.apps.server.live import Broadcaster
from thingward.apps.server.metrics import Metrics
from thingward.apps.server.perform import Done, Performer
from thingward.apps.server.throttle import Throttle
from thingward.model.errors import LimitExceeded, NotFound
from thingward.model.intent import IntentBody
from thingward.model.record import Record

R = TypeVar("R", bound=Record)


class Gate:
    """Lets so many in at once and refuses the others, as a context."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0

    def __enter__(self) -> None:
        if self._inside >= self._most:
            raise LimitExceeded(f"{self._most} such requests are under way.", hint="Send it again in a moment.")
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1


class Deps(msgspec.Struct, frozen=True):
    """The server's parts."""

    backend: Backend
    options: Options
    performer: Performer
    broadcaster: Broadcaster
    captures: CaptureDesk
    metrics: Metrics
    throttle: Throttle
    pushes: Gate

    @property
    def tenant(self) -> str:
        """The tenant that this server serves."""
        return self.options.tenant

    def now(self) -> float:
        """Seconds since 1970."""
        return self.backend.now()

    def get(self, kind: type[R], uid: str) -> R:
        """Give one record; raises NotFound."""
        found = self.backend.control.get(self.tenant, kind, uid)
        if found is None:
            raise NotFound(f"there is no {kind.__struct_config__.tag} {uid!r}.")
        return found

    def newest(self, kind: type[R], limit: int = 100, /, **where: str) -> tuple[R, ...]:
        """Give the newest records whose fields equal `where`; empty values do not count."""
        given = {name: value for name, value in where.items() if value}
        return self.backend.control.page(self.tenant, kind, where=given, limit=limit).items


class Ask:
    """Hands one intent to core for the request at hand, with its Idempotency-Key and dry run."""

    def __init__(self, deps: Deps, caller: Caller, key: str, dry_run: bool) -> None:
        self.deps = deps
        self.caller = caller
        self.dry_run = dry_run
        self._key = key

    def keyed(self, key: str) -> Ask:
        """Give the same with this key where the caller named none."""
        return self if self._key else Ask(self.deps, self.caller, f"{key}-dry" if self.dry_run else key, self.dry_run)

    async def __call__(self, body: IntentBody, part: int = 0) -> Done:
        """Ask core; raises what `Performer.perform` raises.

        Args:
            part: number of this intent where one request needs several, so that each is done once.
        """
        if self.dry_run:
            body = msgspec.structs.replace(body, dry_run=True)
        key = f"{self._key[:190]}#{part}" if self._key and part else self._key
        return await self.deps.performer.perform(self.caller, body, key=key)


async def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """Give whoever asks."""
    return caller_of(request)


async def provide_ask(
    deps: NamedDependency[Deps],
    caller: NamedDependency[Caller],
    dry_run: Annotated[
        bool,
        QueryParameter(description="Plan and answer; change nothing. The answer's `plan` says what would be done."),
    ] = False,
    idempotency_key: Annotated[
        str | None,
        HeaderParameter(
            name="Idempotency-Key",
            description="Any text of yours, 1 to 200 characters: the same key is done once and answered alike.",
            min_length=1,
            max_length=200,
        ),
    ] = None,
) -> Ask:
    """Give the way to core for this request."""
    return Ask(deps, caller, idempotency_key or "", dry_run)
