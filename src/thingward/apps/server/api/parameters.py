"""Query parameters that an operation does not know are refused: `dryrun=true` must never act for real."""

from __future__ import annotations

import difflib
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from thingward.model.errors import InvalidInput

MAX_NAMED: Final = 5
_SHOWN: Final = 40
_OPT: Final = "query_names"


class UnknownParameter(InvalidInput):
    """The query names parameters that the operation does not have; `errors` has a line for each."""

    code = "request.unknown_parameter"

    def __init__(self, names: list[str], known: frozenset[str]) -> None:
        shown = [_shorten(name) for name in names[:MAX_NAMED]]
        hint = f"It knows {', '.join(sorted(known))}." if known else "It knows none."
        super().__init__(f"this operation has no query parameter {', '.join(map(repr, shown))}.", hint=hint)
        self.errors = tuple(f"{name}: unknown{_guess(name, known)}" for name in shown)


def guard_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a request whose query names a parameter that its operation does not have."""
    given = connection.query_params.keys()
    if not given:
        return
    known = handler.opt.get(_OPT)
    if known is None:
        known = handler.opt[_OPT] = query_names(handler)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UnknownParameter(list(dict.fromkeys(unknown)), known)


def query_names(handler: BaseRouteHandler) -> frozenset[str]:
    """Give the names of the query parameters of a handler and of everything that it is given."""
    paths: dict[str, Any] = {name: None for path in handler.paths for name in _path_names(path)}
    model = handler.create_kwargs_model(path_parameters=paths)
    return frozenset(parameter.field_alias for parameter in model.expected_query_params)


def _path_names(path: str) -> list[str]:
    return [part[1:-1].split(":")[0] for part in path.split("/") if part.startswith("{")]


def _guess(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _shorten(name: str) -> str:
    return name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
