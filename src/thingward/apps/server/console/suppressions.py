"""Suppressions: what people call expected, why, and until when."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from thingward.apps.server.console.form_step import Step, form_post
from thingward.apps.server.console.screen import Screen
from thingward.apps.server.deps import Deps
from thingward.model.finding import Finding, Suppression
from thingward.model.intent import RemoveSuppression, SuppressFindings


@get("/suppressions", access="findings:read", sync_to_thread=True)
def suppressions_page(
    request: Request[Any, Any, Any], screen: NamedDependency[Screen], deps: NamedDependency[Deps]
) -> Response[str]:
    """List suppressions: those that hold, and those that are over."""
    now = deps.now()
    rows = deps.newest(Suppression, 1000)
    holding = [row for row in rows if not row.removed and (not row.until or row.until > now)]
    return screen.page(
        request,
        "suppressions.html",
        holding=holding,
        past=[row for row in rows if row not in holding][:50],
        names=screen.names({row.device for row in rows}),
        people=screen.people(),
    )


@form_post("/findings/{uid:str}/suppress", access=SuppressFindings, operation="suppressFindings")
async def suppress(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Say that findings like this one are expected."""
    finding = step.deps.get(Finding, uid)
    scope = step.form.text("scope")
    body = SuppressFindings(
        rule=finding.rule,
        device="" if scope == "site" else finding.device,
        key=finding.key if scope == "matter" else "",
        reason=step.form.text("reason", 500),
        ttl_s=max(step.form.number("days", 30.0), 0.0) * 86_400.0,
    )
    said = "Kept as expected. Such findings are still recorded, but they are no alert."
    return await step.perform(body, to=f"/findings/{uid}", said=said)


@form_post("/suppressions/{uid:str}/remove", access=RemoveSuppression, operation="removeSuppression")
async def remove(step: NamedDependency[Step], uid: FromPath[str]) -> Response[Any]:
    """Take a suppression back."""
    said = "Removed. From the next one on such findings are alerts again."
    return await step.perform(RemoveSuppression(suppression=uid), to="/suppressions", said=said)


HANDLERS = (suppressions_page, suppress, remove)
