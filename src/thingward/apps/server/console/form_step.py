"""A step that a person takes by a form: its token is checked, core is asked, the next page tells what came of it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from thingward.apps.server.console.screen import Flash, Form, Screen, local_path, sentence
from thingward.apps.server.deps import Ask, Deps
from thingward.model.errors import ThingwardError, Unauthenticated
from thingward.model.intent import ApproveProfiles, IntentBody

#: A route for a form; its handler takes a Step, or the Form itself, and so has its token checked.
form_post: Final = partial(post, csrf_in_form=True)


class Step(msgspec.Struct, frozen=True):
    """One submitted form and what answering it needs."""

    request: Request[Any, Any, Any]
    screen: Screen
    deps: Deps
    ask: Ask
    form: Form

    def back(self, default: str) -> str:
        """Give the page that the form names for afterwards, if it is one of ours."""
        return local_path(self.form.text("back"), default)

    def tell(self, text: str, *, to: str, is_error: bool = False) -> Response[Any]:
        """Go to a page and show a message there."""
        self.screen.put_flash(self.ask.caller, Flash(text, is_error=is_error))
        return Redirect(to, status_code=303)

    async def perform(
        self, body: IntentBody, *, to: str, said: str, undo: str = "", undo_word: str = "Undo"
    ) -> Response[Any]:
        """Ask core, keep the message for the next page, and go there; errors become a message too."""
        try:
            await self.ask(body)
        except Unauthenticated:
            raise
        except ThingwardError as error:
            return self.tell(sentence(str(error)), to=to, is_error=True)
        self.screen.forget_badges()
        self.screen.put_flash(self.ask.caller, Flash(said, undo_path=undo, undo_word=undo_word))
        return Redirect(to, status_code=303)

    async def plan(self, body: IntentBody) -> Response[str]:
        """Render what an intent would do, without doing it."""
        dry = Ask(self.deps, self.ask.caller, "", True)
        try:
            done = await dry(body)
        except ThingwardError as error:
            problem = sentence(str(error))
            return self.screen.page(self.request, "plan.html", plan=(), problem=problem, is_approval=False)
        is_approval = isinstance(body, ApproveProfiles)
        return self.screen.page(self.request, "plan.html", plan=done.answer.plan, problem="", is_approval=is_approval)


async def provide_step(
    request: Request[Any, Any, Any],
    screen: NamedDependency[Screen],
    deps: NamedDependency[Deps],
    ask: NamedDependency[Ask],
    form: NamedDependency[Form],
) -> Step:
    """Give the step for this request."""
    return Step(request, screen, deps, ask, form)
