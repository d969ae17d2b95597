"""Evidence bundles, dropped captures, and the demo's attack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import File

from thingward.apps.server.api.results import public_all, result_of
from thingward.apps.server.api.schemas import AttackBody, CaptureResult, EvidenceBody, PageOf, Result
from thingward.apps.server.bundles import Bundle, bundle_path, list_bundles
from thingward.apps.server.callers import Caller
from thingward.apps.server.captures import Capture
from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.present import explicit
from thingward.model.errors import Forbidden, InvalidInput
from thingward.model.intent import ExportEvidence, ImportRecords, NoteExport, StartAttack
from thingward.runtime.desk_records import MAX_IMPORT_BYTES
from thingward.runtime.guard_result import result_batches


@get("/evidence-bundles", operation_id="listBundles", access="evidence:read", tags=["evidence"], sync_to_thread=True)
def get_bundles(deps: NamedDependency[Deps]) -> PageOf[Bundle]:
    """List signed evidence bundles, newest first."""
    return PageOf(items=list_bundles(deps))


@post("/evidence-bundles", operation_id="createBundle", access=ExportEvidence, tags=["evidence"], status_code=200)
async def create_bundle(ask: NamedDependency[Ask], data: JSONBody[EvidenceBody]) -> Result:
    """Make a signed bundle of what was seen and decided, by whom, and what came of it."""
    done = await ask(ExportEvidence(scope=data.scope, target=data.target))
    name = done.answer.path.rpartition("/")[2]
    plan = done.answer.plan or ((f"wrote {name}",) if name else ())
    return Result(dry_run=ask.dry_run, plan=plan, records=({"type": "bundle", "name": name},) if name else ())


@get("/evidence-bundles/{name:str}", operation_id="getBundle", access=ExportEvidence, tags=["evidence"])
async def get_bundle(deps: NamedDependency[Deps], ask: NamedDependency[Ask], name: FromPath[str]) -> File:
    """Download a bundle. This is audited."""
    path = bundle_path(deps, name)
    await ask(NoteExport(what="evidence", target=name, form="bundle"))
    return File(path=path, filename=name, media_type="application/octet-stream")


@get("/captures", operation_id="listCaptures", access="captures:read", tags=["captures"])
async def list_captures(deps: NamedDependency[Deps]) -> PageOf[Capture]:
    """List dropped captures and what came of them, newest first."""
    return PageOf(items=deps.captures.list())


@post(
    "/captures",
    operation_id="uploadCapture",
    access=ImportRecords,
    tags=["captures"],
    status_code=201,
    request_max_body_size=None,
)
async def upload_capture(
    request: Request[Any, Any, Any],
    deps: NamedDependency[Deps],
    caller: NamedDependency[Caller],
    name: Annotated[str, QueryParameter(description="What to call it.", max_length=200)] = "capture",
) -> Capture:
    """Send a capture (pcap, pcapng, gz) as the body; it is judged as `guard` does, with less rights and bounds."""
    return await deps.captures.receive(request.stream(), name, caller.uid)


@get("/captures/{uid:str}", operation_id="getCapture", access="captures:read", tags=["captures"])
async def get_capture(deps: NamedDependency[Deps], uid: FromPath[str]) -> Capture:
    """Tell how far a capture is."""
    return deps.captures.get(uid)


@get(
    "/captures/{uid:str}/result",
    operation_id="getCaptureResult",
    access="captures:read",
    tags=["captures"],
    sync_to_thread=True,
)
def get_result(deps: NamedDependency[Deps], uid: FromPath[str]) -> CaptureResult:
    """Give what a capture showed: devices with profile and preview, findings."""
    result = deps.captures.result(uid)
    return CaptureResult(
        capture=explicit(deps.captures.get(uid)),
        devices=tuple(explicit(view) for view in result.views),
        findings=public_all(result.findings),
        sources=tuple(explicit(report) for report in result.sources),
    )


@post(
    "/captures/{uid:str}/import", operation_id="importCapture", access=ImportRecords, tags=["captures"], status_code=200
)
async def import_capture(deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str]) -> Result:
    """Hand what a capture taught to the platform: devices, profiles, findings."""
    capture = deps.captures.get(uid)
    if capture.state != "done":
        raise InvalidInput("the capture has no result yet.")
    plan: list[str] = []
    for part, batch in enumerate(result_batches(deps.captures.result(uid))):
        done = await ask(ImportRecords(source=f"capture:{capture.name}", batch=batch), part)
        plan += done.answer.plan
    if not plan:
        raise InvalidInput("the capture showed nothing that could be imported.")
    if not ask.dry_run:
        deps.captures.mark_imported(uid)
    return Result(dry_run=ask.dry_run, plan=tuple(plan))


@post(
    "/imports",
    operation_id="importRecords",
    access=ImportRecords,
    tags=["captures"],
    status_code=200,
    request_max_body_size=MAX_IMPORT_BYTES,
)
async def import_records(
    request: Request[Any, Any, Any],
    ask: NamedDependency[Ask],
    name: Annotated[str, QueryParameter(description="What it came from.", max_length=200)] = "guard",
) -> Result:
    """Take what `guard --save` learnt: MessagePack of devices, profiles, learning, previews and findings as the body."""
    batch = await read_bounded(request.stream(), MAX_IMPORT_BYTES)
    result = await result_of(ask, ImportRecords(source=name, batch=batch))
    return Result(dry_run=result.dry_run, plan=result.plan)


async def read_bounded(stream: AsyncIterator[bytes], most_bytes: int) -> bytes:
    """Read a body into memory; raises InvalidInput when it is larger than that."""
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > most_bytes:
            raise InvalidInput(f"the body is larger than {most_bytes >> 20} MiB.", hint="Send several.")
    return bytes(body)


@delete("/captures/{uid:str}", operation_id="deleteCapture", access=ImportRecords, tags=["captures"])
async def delete_capture(deps: NamedDependency[Deps], uid: FromPath[str]) -> None:
    """Forget a capture and its result; what was imported stays."""
    deps.captures.delete(uid)


@post("/demo/attack", operation_id="startAttack", access=StartAttack, tags=["demo"], status_code=200)
async def start_attack(deps: NamedDependency[Deps], ask: NamedDependency[Ask], data: JSONBody[AttackBody]) -> Result:
    """Demo only: let one simulated device turn Mirai-like."""
    if not deps.options.demo:
        raise Forbidden("this is no demo.", hint="Run: make demo")
    return await result_of(ask, StartAttack(device=data.device))


HANDLERS = (
    get_bundles,
    create_bundle,
    get_bundle,
    list_captures,
    upload_capture,
    get_capture,
    get_result,
    import_capture,
    import_records,
    delete_capture,
    start_attack,
)
