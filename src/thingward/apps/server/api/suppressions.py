"""Suppressions: findings that a person calls expected."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from thingward.apps.server.api.devices import Cursor, Limit, Search
from thingward.apps.server.api.findings import DeviceUid
from thingward.apps.server.api.results import result_of
from thingward.apps.server.api.schemas import PageOf, Result, SuppressionBody, page_of
from thingward.apps.server.deps import Ask, Deps
from thingward.model.finding import Suppression
from thingward.model.intent import RemoveSuppression, SuppressFindings


@get(
    "/suppressions",
    operation_id="listSuppressions",
    access="findings:read",
    tags=["findings"],
    sync_to_thread=True,
)
def list_suppressions(
    deps: NamedDependency[Deps],
    search: Search = "",
    device: DeviceUid = "",
    rule: Annotated[str, QueryParameter(description="Only of this rule, as it was given.", max_length=101)] = "",
    removed: Annotated[bool, QueryParameter(description="`true`: only those that were taken back.")] = False,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PageOf[Suppression]:
    """List suppressions with who, why and until when; also those whose time is over."""
    given = {"removed": "true" if removed else "false"}
    given |= {name: value for name, value in (("device", device), ("rule", rule)) if value}
    page = deps.backend.control.page(deps.tenant, Suppression, where=given, search=search, cursor=cursor, limit=limit)
    return page_of(page)


@post("/suppressions", operation_id="suppressFindings", access=SuppressFindings, tags=["findings"], status_code=200)
async def suppress_findings(ask: NamedDependency[Ask], data: JSONBody[SuppressionBody]) -> Result:
    """Say that findings are expected: they are kept and marked, no alert, and no rule acts on them."""
    body = SuppressFindings(rule=data.rule, device=data.device, key=data.key, reason=data.reason, ttl_s=data.ttl_s)
    return await result_of(ask, body)


@get(
    "/suppressions/{uid:str}",
    operation_id="getSuppression",
    access="findings:read",
    tags=["findings"],
    sync_to_thread=True,
)
def get_suppression(deps: NamedDependency[Deps], uid: FromPath[str]) -> Suppression:
    """Give one suppression."""
    return deps.get(Suppression, uid)


@delete(
    "/suppressions/{uid:str}",
    operation_id="removeSuppression",
    access=RemoveSuppression,
    tags=["findings"],
    status_code=200,
)
async def remove_suppression(deps: NamedDependency[Deps], ask: NamedDependency[Ask], uid: FromPath[str]) -> Result:
    """Take a suppression back: from the next one on such findings are alerts again."""
    deps.get(Suppression, uid)
    return await result_of(ask, RemoveSuppression(suppression=uid))


HANDLERS = (list_suppressions, suppress_findings, get_suppression, remove_suppression)
