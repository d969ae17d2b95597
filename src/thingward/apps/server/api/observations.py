"""Observations that other systems push: Zeek, Suricata or our own JSON lines, onto the same road as a sensor's."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from msgspec import Meta

from thingward.apps.server.api.evidence import read_bounded
from thingward.apps.server.deps import Ask, Deps
from thingward.model.codec import encode_batch
from thingward.model.errors import InvalidInput, LimitExceeded
from thingward.model.intent import ImportFlowLog
from thingward.runtime.desk_records import MAX_IMPORT_BYTES
from thingward.sensing.log_files import LogContext
from thingward.sensing.pushed import MAX_ERRORS, MAX_LINES, Pushed, read_pushed

PUSH_LIMIT_BYTES: Final = 8 << 20
#: Pushes that are read at once: each may hold its body, its observations and their encoding in memory.
PUSHES: Final = 4
READ_S: Final = 60.0

Form = Literal["auto", "zeek", "eve", "observation"]


class BadLines(InvalidInput):
    """Lines of a pushed body cannot be read; `errors` names them, and nothing of the body was taken."""

    code = "input.bad_lines"

    def __init__(self, pushed: Pushed) -> None:
        hint = "Mend them, or send with partial=true to have the others taken."
        super().__init__(f"{pushed.rejected} of {pushed.lines} lines cannot be read as {pushed.form}.", hint=hint)
        self.errors = pushed.errors


class PushResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a push. When it is answered, what was taken is on disk."""

    dry_run: Annotated[bool, Meta(description="Nothing was taken.")] = False
    form: Annotated[Form, Meta(description="How the lines were read.")] = "auto"
    lines: Annotated[int, Meta(description="Lines that are not empty.")] = 0
    taken: Annotated[int, Meta(description="Observations taken; one line may hold several, or none.")] = 0
    rejected: Annotated[int, Meta(description="Lines that could not be read; only with `partial=true`.")] = 0
    errors: Annotated[
        tuple[str, ...], Meta(description=f"The first {MAX_ERRORS} rejected lines, by number, and why.")
    ] = ()
    ignored: Annotated[
        dict[str, int], Meta(description="Lines of known kinds that say nothing of devices, by kind.")
    ] = {}


@post("/observations", operation_id="pushObservations", access=ImportFlowLog, tags=["events"], status_code=200,
      request_max_body_size=PUSH_LIMIT_BYTES)  # fmt: skip
async def push_observations(
    request: Request[Any, Any, Any],
    deps: NamedDependency[Deps],
    ask: NamedDependency[Ask],
    name: Annotated[
        str,
        QueryParameter(
            description="Names the sender in records: `push:NAME`.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,79}$"
        ),
    ],
    form: Annotated[
        Form, QueryParameter(description="What the lines are; `auto` tells by the first one that is not empty.")
    ] = "auto",
    kind: Annotated[
        str,
        QueryParameter(
            description="Zeek only: the kind of log (`conn`, `dns` ...) where neither header nor `_path` say it.",
            pattern=r"^[a-z0-9_]{0,40}$",
        ),
    ] = "",
    partial: Annotated[
        bool, QueryParameter(description="Take the lines that can be read; else one bad line refuses the whole body.")
    ] = False,
    content_encoding: Annotated[
        str | None, HeaderParameter(name="Content-Encoding", description="`identity`; compressed bodies are refused.")
    ] = None,
) -> PushResult:
    """Push lines of a log or observations: Zeek (TSV with header, or JSON), Suricata EVE, or our own, one per line.

    At most 8 MiB and 10,000 lines. Without an Idempotency-Key the body itself is the key: sent again it is done once.
    """
    if (content_encoding or "identity").lower() != "identity":
        raise InvalidInput(f"a body in {content_encoding[:20]!r} is not read.", hint="Send it as it is.")  # type: ignore[index]
    with deps.pushes:
        body = await _read(request)
        context = LogContext(source=f"push:{name}", tenant=deps.options.tenant, site=deps.options.site)  # type: ignore[arg-type]
        pushed = await asyncio.to_thread(read_pushed, body, context, form=form, kind=kind, now=deps.now())
        if pushed.rejected and not (partial and pushed.observations):
            raise BadLines(pushed)
        if pushed.observations:
            batch = encode_batch(pushed.observations)
            if len(batch) > MAX_IMPORT_BYTES:
                raise InvalidInput("the lines hold more than is taken at once.", hint="Send fewer of them at a time.")
            await ask.keyed(_digest(body, name, form, kind))(ImportFlowLog(source=name, batch=batch))
    return PushResult(
        dry_run=ask.dry_run,
        form=pushed.form,
        lines=pushed.lines,
        taken=len(pushed.observations),
        rejected=pushed.rejected,
        errors=pushed.errors,
        ignored=pushed.ignored,
    )


async def _read(request: Request[Any, Any, Any]) -> bytes:
    try:
        async with asyncio.timeout(READ_S):
            body = await read_bounded(request.stream(), PUSH_LIMIT_BYTES)
    except TimeoutError:
        raise LimitExceeded(
            f"the body did not come within {READ_S:.0f} seconds.", hint="Send less at a time."
        ) from None
    if body.count(b"\n") > MAX_LINES:
        raise InvalidInput(f"a body holds at most {MAX_LINES} lines.", hint="Send several.")
    if not body.strip():
        raise InvalidInput("the body is empty.", hint="Send one record per line.")
    return body


def _digest(body: bytes, *parts: str) -> str:
    return "body-" + hashlib.sha256("\0".join(parts).encode() + b"\0" + body).hexdigest()


HANDLERS = (push_observations,)
