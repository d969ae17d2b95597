"""Which revisions of the control database's tables this version knows, read from the migrations without running them."""

from __future__ import annotations

import ast
from importlib import resources


def known_revisions() -> dict[str, str]:
    """Give revision to what its step does in one line, oldest first."""
    found: dict[str, str] = {}
    folder = resources.files("thingward.adapters.control_store") / "migrations" / "versions"
    for path in sorted(folder.iterdir(), key=lambda item: item.name):
        if not path.name.startswith("r") or not path.name.endswith(".py"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                name = node.targets[0]
                if isinstance(name, ast.Name) and name.id == "revision":
                    found[str(node.value.value)] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


def steps_after(revision: str) -> list[str]:
    """Give what a start would do to tables of this revision (empty: none yet), one line a step."""
    known = known_revisions()
    names = list(known)
    start = names.index(revision) + 1 if revision in known else 0
    return [f"{name}: {known[name]}" for name in names[start:]]
