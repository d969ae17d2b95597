"""Indicator packs: lists of known-bad addresses, names and fingerprints that somebody else keeps."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from thingward.apps.server.api.evidence import read_bounded
from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import PackView, PageOf, Result, pack_view
from thingward.apps.server.deps import Ask, Deps
from thingward.model.intent import ImportPack, LoadPacks, RemovePack
from thingward.runtime.desk_packs import MAX_PACK_BYTES
from thingward.runtime.packs import pack_of


@get("/packs", operation_id="listPacks", access="rules:read", tags=["rules"])
async def list_packs(deps: NamedDependency[Deps]) -> PageOf[PackView]:
    """List the packs that detection uses now. Without any, talk to known-bad addresses is unknown, not ruled out."""
    health = await deps.backend.health()
    return PageOf(items=tuple(pack_view(info, deps.now()) for info in health.packs))


@post(
    "/packs",
    operation_id="importPack",
    access=ImportPack,
    tags=["rules"],
    status_code=200,
    request_max_body_size=MAX_PACK_BYTES,
)
async def import_pack(
    request: Request[Any, Any, Any],
    ask: NamedDependency[Ask],
    name: Annotated[str, QueryParameter(description="Name of the pack; one of the same name is replaced.")],
    confidence: Annotated[float, QueryParameter(description="How far the list is trusted.", gt=0, le=1)] = 0.8,
) -> Result:
    """Import a list (plain, CSV or STIX 2) as the body; detection uses it when the answer comes."""
    return await import_text(ask, name, await read_bounded(request.stream(), MAX_PACK_BYTES), confidence)


async def import_text(ask: Ask, name: str, text: bytes, confidence: float) -> Result:
    """Read a list, so that what is wrong with it is said, and hand it to core."""
    pack = await asyncio.to_thread(pack_of, name, text, confidence=confidence)
    result = await result_of(ask, ImportPack(name=name, text=text, confidence=confidence))
    read = f"pack {name}: {len(pack.indicators)} indicators, {pack.refused_count} lines were none"
    return Result(dry_run=result.dry_run, plan=(read, *(f"not read: {line}" for line in pack.refused[:5])))


@post("/packs/reload", operation_id="reloadPacks", access=LoadPacks, tags=["rules"], status_code=200)
async def reload_packs(ask: NamedDependency[Ask]) -> Result:
    """Load all packs of the data folder anew: after they were changed there."""
    return await result_of(ask, LoadPacks())


@delete("/packs/{name:str}", operation_id="removePack", access=RemovePack, tags=["rules"], status_code=200)
async def remove_pack(ask: NamedDependency[Ask], name: FromPath[str]) -> Result:
    """Forget a pack; detection no longer looks for it when the answer comes."""
    return await result_of(ask, RemovePack(name=name))


HANDLERS = (list_packs, import_pack, reload_packs, remove_pack)
