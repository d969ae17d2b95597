"""Signing in and out."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from thingward.apps.server.callers import PUBLIC, Caller
from thingward.apps.server.console.form_step import form_post
from thingward.apps.server.console.screen import Flash, Form, Screen, local_path
from thingward.apps.server.deps import Ask, Deps
from thingward.apps.server.problems import headers_of
from thingward.apps.server.signing_in import no_cookie, session_cookie, sign_in
from thingward.model.errors import ThingwardError
from thingward.model.intent import EndSession


@get("/login", access=PUBLIC, sync_to_thread=True)
def login_page(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    caller: NamedDependency[Caller],
    next: FromQuery[str] = "/",
) -> Response[Any]:
    """Show the sign-in form; who is signed in already goes on."""
    if caller.principal is not None:
        return Redirect(local_path(next), status_code=303)
    return screen.page(request, "login.html", next=local_path(next), fault="", name="", link="")


@get("/login/{link:str}", access=PUBLIC, sync_to_thread=True)
def link_page(request: Request[Any, Any, Any], screen: NamedDependency[Screen], link: FromPath[str]) -> Response[str]:
    """Show the button that uses a one-time link: opening the address alone does not use it up."""
    return screen.page(request, "login.html", next="/", fault="", name="", link=link)


@form_post("/login", access=PUBLIC, operation="signIn")
async def login(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    caller: NamedDependency[Caller],
    form: NamedDependency[Form],
) -> Response[Any]:
    """Sign in by name and password, or by a one-time link."""
    link, name = form.text("link", 200), form.text("user", 64)
    target = local_path(form.text("next"))
    try:
        session, secret = await sign_in(deps, caller, user=name, password=form.fields.get("password", ""), link=link)
    except ThingwardError as error:
        text = str(error)
        answer = screen.page(
            request,
            "login.html",
            code=error.status,
            next=target,
            fault=text[:1].upper() + text[1:],
            name=name,
            link="",
        )
        answer.headers.update(headers_of(error))
        return answer
    if link:
        new = Caller(address=caller.address, session=session)
        screen.put_flash(new, Flash("You are signed in. The link is used up: set a password on your account page."))
    return Redirect(target, status_code=303, cookies=[session_cookie(deps, secret, session)])


@form_post("/logout", access=EndSession, operation="signOut")
async def logout(
    ask: NamedDependency[Ask], form: NamedDependency[Form], caller: NamedDependency[Caller]
) -> Response[Any]:
    """Sign out."""
    if caller.session is not None:
        await ask(EndSession(session=caller.session.uid))
    return Redirect("/login", status_code=303, cookies=[no_cookie()])


HANDLERS = (login_page, link_page, login, logout)
