"""All pages of the console."""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from thingward.apps.server.console import cases, devices, home, live, records, settings, sign_in, steps, suppressions
from thingward.apps.server.console.form_step import provide_step
from thingward.apps.server.console.screen import provide_form

HANDLERS = (
    *home.HANDLERS,
    *devices.HANDLERS,
    *steps.HANDLERS,
    *cases.HANDLERS,
    *suppressions.HANDLERS,
    *live.HANDLERS,
    *records.HANDLERS,
    *settings.HANDLERS,
    *sign_in.HANDLERS,
)


def console_handlers() -> tuple[Router, ...]:
    """Give the console as one router; forms are read and their token checked on the way in."""
    given = {"form": Provide(provide_form), "step": Provide(provide_step)}
    return (Router("/", route_handlers=list(HANDLERS), dependencies=given, include_in_schema=False),)
