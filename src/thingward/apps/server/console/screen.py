"""What all pages share: templates, who is signed in, badges, messages shown once, error pages."""

from __future__ import annotations

from collections import OrderedDict
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import jinja2
import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.response import Redirect

from thingward.apps.server.callers import Caller, caller_of, verify_csrf
from thingward.apps.server.console import icons, words
from thingward.apps.server.deps import Deps
from thingward.apps.server.problems import headers_of, log_unexpected, problem_of
from thingward.model import intent
from thingward.model.action import Action, ActionState
from thingward.model.device import Device
from thingward.model.errors import Unauthenticated
from thingward.model.finding import Case
from thingward.model.principal import Principal

TEMPLATES: Final = Path(__file__).parent.parent / "templates"
FLASH_LIMIT: Final = 1000
BADGE_S: Final = 5.0


class Flash(msgspec.Struct, frozen=True):
    """A message shown once: its text, whether it is bad news, and a form that undoes the step."""

    text: str
    is_error: bool = False
    undo_path: str = ""
    undo_word: str = "Undo"


class Form(msgspec.Struct, frozen=True):
    """Fields of a submitted form whose CSRF token was right."""

    fields: dict[str, str]

    def text(self, name: str, limit: int = 2000) -> str:
        """Give a field, trimmed and bounded; empty if it is not there."""
        return self.fields.get(name, "").strip()[:limit]

    def flag(self, name: str) -> bool:
        """Tell whether a box is ticked."""
        return bool(self.fields.get(name))

    def number(self, name: str, default: float) -> float:
        """Give a field as a number, the default if it is none."""
        try:
            return float(self.fields.get(name, ""))
        except ValueError:
            return default

    def lines(self, name: str) -> tuple[str, ...]:
        """Give the lines or comma-separated parts of a field."""
        parts = self.fields.get(name, "").replace(",", "\n").splitlines()
        return tuple(part.strip() for part in parts if part.strip())


class Screen:
    """Renders pages."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self._flashes: OrderedDict[str, Flash] = OrderedDict()
        self._badges: tuple[float, dict[str, int]] = (0.0, {})
        self._env = make_environment()

    def page(self, request: Request[Any, Any, Any], template: str, *, code: int = 200, **values: Any) -> Response[str]:
        """Render a whole page, or the part that htmx asked for if the template knows it."""
        caller = caller_of(request)
        now = self.deps.now()
        known = {
            "caller": caller,
            "user": caller.principal,
            "csrf": caller.csrf,
            "path": request.url.path,
            "now": now,
            "options": self.deps.options,
            "badges": self.badges() if caller.principal else {},
            "flash": self.take_flash(caller),
            "partial": request.headers.get("hx-request-type") == "partial",
            "ago": lambda then: words.moment(then, now),
            "until": lambda then: words.until(then, now),
            "live_ok": self.deps.broadcaster.connected,
        }
        text = self._env.get_template(template).render({**known, **values})
        return Response(text, media_type="text/html", status_code=code, headers={"Vary": "HX-Request"})

    def part(self, template: str, **values: Any) -> str:
        """Render a piece of a page that needs nothing but its values."""
        return self._env.get_template(template).render(values)

    def badges(self) -> dict[str, int]:
        """Count what waits for a person, at most every five seconds."""
        at, counts = self._badges
        now = self.deps.now()
        if not 0 <= now - at < BADGE_S or not counts:
            control, tenant = self.deps.backend.control, self.deps.tenant
            counts = {
                "cases": control.count(tenant, Case, where={"state": "open"}),
                "in_force": len(self.deps.newest(Action, 1000, state=ActionState.IN_FORCE, kind="quarantine")),
            }
            self._badges = (now, counts)
        return counts

    def forget_badges(self) -> None:
        """Count again at the next page: something changed."""
        self._badges = (0.0, {})

    def put_flash(self, caller: Caller, flash: Flash) -> None:
        """Keep a message for the caller's next page."""
        if caller.session is None:
            return
        self._flashes[caller.session.uid] = flash
        while len(self._flashes) > FLASH_LIMIT:
            self._flashes.popitem(last=False)

    def take_flash(self, caller: Caller) -> Flash | None:
        """Give the message, once."""
        return self._flashes.pop(caller.session.uid, None) if caller.session else None

    def names(self, uids: set[str]) -> dict[str, str]:
        """Give devices' names by uid."""
        control, tenant = self.deps.backend.control, self.deps.tenant
        return {uid: words.device_name(control.get(tenant, Device, uid), uid) for uid in uids if uid}

    def people(self) -> dict[str, str]:
        """Give principals' names by uid."""
        return {row.uid: row.name for row in self.deps.newest(Principal, 1000)}


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def make_environment() -> jinja2.Environment:
    """Make the template environment: everything escaped, unknown names are errors."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "duration": words.duration,
        "minutes": words.minutes,
        "clock": words.clock,
        "stamp": words.stamp,
        "size": words.size,
        "number": words.number,
        "percent": words.percent,
        "count": words.count,
        "kind_word": words.kind_word,
        "severity": words.severity_word,
        "device_name": words.device_name,
        "intent": words.intent_word,
        "action_word": words.action_word,
    }
    env.globals |= {
        "service": words.service,
        "peer_word": words.peer_word,
        "limits_line": words.limits_line,
        "MODES": words.MODES,
        "icon": icons.icon,
        "kind_icon": icons.kind_icon,
        "intents": intent,
    }
    return env


async def provide_form(request: Request[Any, Any, Any], caller: NamedDependency[Caller]) -> Form:
    """Read a form of ours; raises Forbidden if its token is not the session's."""
    data = await request.form()
    fields = {str(key): str(value) for key, value in data.items() if isinstance(value, str)}
    given = fields.pop("csrf", "") or request.headers.get("x-csrf-token", "")
    if caller.session is not None:
        verify_csrf(caller, given)
    return Form(fields)


def local_path(path: str, default: str = "/") -> str:
    """Give a path on this host, the default for anything that points elsewhere."""
    parts = urlsplit(path)
    if parts.scheme or parts.netloc or not path.startswith("/") or path.startswith(("//", "/\\")):
        return default
    return path


def console_error(screen: Screen, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Show an error as a page; who is not signed in goes to the sign-in page first."""
    log_unexpected(request, error)
    problem = problem_of(error, request.url.path)
    if request.url.path in ("/metrics", "/healthz", "/readyz"):
        text = f"{problem.detail}\n"
        return Response(text, media_type="text/plain", status_code=problem.status, headers=headers_of(error))
    if isinstance(error, Unauthenticated) and request.method == "GET":
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = "/login" if here == "/" else f"/login?next={quote(here)}"
        if request.headers.get("hx-request") == "true":
            return Response("", status_code=204, headers={"HX-Redirect": target})
        return Redirect(target, status_code=303)
    try:
        words_of_status = HTTPStatus(problem.status).phrase
    except ValueError:
        words_of_status = "Error"
    answer = screen.page(
        request,
        "error.html",
        code=problem.status,
        problem=problem,
        title=words_of_status,
        detail=sentence(problem.detail),
    )
    answer.headers.update(headers_of(error))
    return answer
