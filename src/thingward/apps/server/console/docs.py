"""The documentation, served from this machine: docs/*.md of the package or of the checkout."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_HERE: Final = Path(__file__).resolve()
#: Where the pages are: shipped in the package, or beside the sources.
FOLDERS: Final = (_HERE.parents[1] / "docs", _HERE.parents[3] / "docs", _HERE.parents[5] / "docs")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,100}")
_FIRST: Final = ("index", "quick-start", "quickstart", "console", "api")


class Rendered(msgspec.Struct, frozen=True):
    """A page as HTML."""

    title: str
    html: Markup


class PageLink(msgspec.Struct, frozen=True):
    """A page in the list: its name in the address, its title, its group."""

    name: str
    title: str
    group: str


@cache
def folder() -> Path | None:
    """Find the documentation, None if it was not shipped."""
    return next((path for path in FOLDERS if path.is_dir()), None)


def list_pages() -> list[PageLink]:
    """List all pages: tasks first, then reference, then decisions."""
    root = folder()
    if root is None:
        return []
    pages = [_link(path, root) for path in sorted(root.rglob("*.md"))]
    order = {"Guide": 0, "Reference": 1, "Decisions": 2}
    return sorted(pages, key=lambda page: (order.get(page.group, 3), _rank(page.name), page.title))


def _rank(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _link(path: Path, root: Path) -> PageLink:
    name = path.relative_to(root).with_suffix("").as_posix()
    group = {"reference": "Reference", "adr": "Decisions"}.get(name.partition("/")[0], "Guide")
    return PageLink(name, _title(path), group)


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("# "):
                return line[2:].strip()
    return path.stem


def find_page(name: str) -> Path | None:
    """Find a page by its name; None for anything that is no page of ours."""
    root = folder()
    if root is None or not _NAME.fullmatch(name) or ".." in name:
        return None
    path = (root / f"{name}.md").resolve()
    return path if path.is_file() and path.is_relative_to(root.resolve()) else None


def render_markdown(text: str) -> Rendered:
    """Turn Markdown into HTML: no raw HTML, no pictures from elsewhere, headings that can be linked to."""
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").enable("strikethrough")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    tokens = parser.parse(text)
    title = ""
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            words = tokens[index + 1].content
            token.attrSet("id", _anchor(words))
            title = title or words
        for child in token.children or ():
            _mend(child)
    return Rendered(title or "Documentation", Markup(parser.renderer.render(tokens, parser.options, {})))  # noqa: S704 - html is off: the parser escapes


def _mend(token: Token) -> None:
    if token.type == "link_open":
        href = str(token.attrGet("href") or "")
        if re.match(r"^[\w./-]+\.md(#.*)?$", href):
            token.attrSet("href", href.replace(".md", "", 1))
    elif token.type == "image":
        token.type, token.tag, token.nesting = "text", "", 0
        token.content = ""


def _anchor(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
