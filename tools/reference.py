"""Write docs/reference/*.md from the code; `--check` only compares and names the pages that are out of date.

Run by `make docs`; a test runs the check.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by tools/reference.py from the code; change it there. -->\n"


def settings_page() -> str:
    """List every setting."""
    from thingward.runtime.config import describe_settings

    lines = [
        "# Settings",
        "",
        "Order: defaults, then the TOML file, then the environment, then flags. The file is `$THINGWARD_CONFIG`, else "
        "`thingward.toml` in the data folder. In the environment `server.port` is `THINGWARD_SERVER__PORT`; lists are "
        "separated by commas. An unknown name is an error that names its place.",
        "",
        "| setting | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, kind, default, meaning in describe_settings():
        lines.append(f"| `{name}` | {_cell(kind)} | `{_cell(default)}` | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """List every error code."""
    found = error_classes()
    lines = [
        "# Errors",
        "",
        "Codes are stable. REST answers carry them as `code` in problem+json; the command line exits with 2 where the input "
        "or the call cannot be used, with 3 where the same call may work later, else with 1.",
        "",
        "| code | HTTP | try again later | meaning |",
        "|---|---|---|---|",
    ]
    for code, (status, retryable, meaning) in sorted(found.items()):
        lines.append(f"| `{code}` | {status} | {'yes' if retryable else 'no'} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def events_page() -> str:
    """List every kind of event data with its fields, and every record kind."""
    from thingward.model import codec, observation

    lines = [
        "# Events and records",
        "",
        "Every record has `uid`, `tenant`, `time` (seconds since 1970, UTC), `source` and `parents`; the same uid is the same "
        "record. An event wraps one body of the kinds below, with `class_uid` and `severity` of OCSF.",
        "",
        "## Bodies of events",
        "",
    ]
    for kind in typing.get_args(observation.Data):
        lines += _struct_section(kind)
    lines += ["## Records", ""]
    for kind in typing.get_args(codec.AnyRecord):
        lines += _struct_section(kind)
    return "\n".join(lines).rstrip() + "\n"


def commands_page() -> str:
    """Give the help of every command."""
    import io

    from rich.console import Console

    from thingward.apps.cli.app import LAZY, app

    lines = [
        "# Commands",
        "",
        "`-o json` is there wherever something is printed; `--dry-run` wherever something changes.",
        "",
    ]
    for name in sorted(LAZY):
        target = app[name]
        lines += [f"## thingward {name}", ""]
        for tokens in [[name], *[[name, sub] for sub in sorted(target) if not sub.startswith("-")]]:
            text = io.StringIO()
            console = Console(file=text, width=100, no_color=True, force_terminal=False, legacy_windows=False)
            app.help_print(tokens, console=console)
            lines += ["```text", _strip(text.getvalue()), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def api_page() -> str:
    """List every operation of the REST API, from its OpenAPI document."""
    schema = _openapi()
    lines = [
        "# API",
        "",
        "All paths of `/api/v1`, from the OpenAPI 3.1 document that a running server gives at `/api/v1/openapi.json` (schemas, "
        "examples and parameters are there). Errors are problem+json with a `code` of [errors](errors.md). Every change takes "
        "`Idempotency-Key` and `dry_run=true`.",
        "",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, item in sorted(schema["paths"].items()):
        for method, operation in item.items():
            if "operationId" in operation:
                tag = (operation.get("tags") or ["system"])[0]
                by_tag.setdefault(tag, []).append(_operation_row(method, path, operation))
    for tag in schema["tags"]:
        if by_tag.get(tag["name"]):
            lines += [f"## {tag['name']}", "", tag["description"], "", *_OPERATIONS_HEAD, *by_tag.pop(tag["name"]), ""]
    for name, rows in by_tag.items():
        lines += [f"## {name}", "", *_OPERATIONS_HEAD, *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


_OPERATIONS_HEAD = ["| operation | what it does | role | scope |", "|---|---|---|---|"]


def _openapi() -> dict[str, typing.Any]:
    from unittest.mock import MagicMock

    from thingward.apps.server.api.openapi import document
    from thingward.apps.server.app import make_deps, make_litestar

    options = MagicMock()
    options.version = "0"
    return document(make_litestar(make_deps(MagicMock(), options)))


def _operation_row(method: str, path: str, operation: dict[str, typing.Any]) -> str:
    role, scope = operation.get("x-role", "-"), operation.get("x-scope", "-")
    return f"| `{method.upper()} {path}` | {_cell(operation['summary'])} | {role} | {scope} |"


def metrics_page() -> str:
    """List every metric that the server names itself, and core's."""
    from thingward.apps.server.metrics import HELP, PREFIX

    lines = [
        "# Metrics",
        "",
        "`GET /metrics` gives the Prometheus text format. Core's own counters follow as "
        f"`{PREFIX}core_<name>`; their names are those of its parts.",
        "",
        "| metric | type | meaning |",
        "|---|---|---|",
    ]
    for name, meaning in sorted(HELP.items()):
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"| `{PREFIX}{name}` | {kind} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "commands.md": commands_page,
    "api.md": api_page,
    "metrics.md": metrics_page,
}


def error_classes() -> dict[str, tuple[int, bool, str]]:
    """Find every error class by reading the source: code to (HTTP status, retryable, first sentence)."""
    nodes: dict[str, ast.ClassDef] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                nodes.setdefault(node.name, node)
    found: dict[str, tuple[int, bool, str]] = {}
    for name in nodes:
        line = _ancestry(name, nodes)
        if "ThingwardError" not in line or "code" not in _constants(nodes[name]):
            continue
        values = {key: value for kind in reversed(line) for key, value in _constants(nodes[kind]).items()}
        meaning = " ".join((ast.get_docstring(nodes[name]) or "").split("\n\n")[0].split())
        found.setdefault(str(values["code"]), (int(values["status"]), bool(values["retryable"]), meaning))
    return found


def _ancestry(name: str, nodes: dict[str, ast.ClassDef]) -> list[str]:
    line = []
    while name in nodes and name not in line:
        line.append(name)
        bases = [base.id for base in nodes[name].bases if isinstance(base, ast.Name)]
        name = bases[0] if bases else ""
    return line


def _constants(node: ast.ClassDef) -> dict[str, typing.Any]:
    return {
        statement.targets[0].id: statement.value.value
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant)
    }


def _struct_section(kind: type[msgspec.Struct]) -> list[str]:
    tag = kind.__struct_config__.tag
    lines = [f"### {tag}", "", _first_sentence(kind), "", "| field | type |", "|---|---|"]
    hints = typing.get_type_hints(kind)
    common = {"uid", "tenant", "time", "source", "parents"}
    for field in msgspec.structs.fields(kind):
        if field.name not in common:
            hint = hints[field.name]
            name = str(hint) if typing.get_origin(hint) else getattr(hint, "__name__", str(hint))
            short = name.replace("typing.", "").replace("thingward.model.", "")
            lines.append(f"| `{field.name}` | {_cell(short)} |")
    return [*lines, ""]


def _first_sentence(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _strip(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def main() -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="compare only; exit code 1 names pages that are out of date"
    )
    check = parser.parse_args().check
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, write in PAGES.items():
        text = NOTE + write()
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
