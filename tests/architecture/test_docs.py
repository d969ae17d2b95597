"""The documentation is complete: what the code has, a page names; what a page names, exists."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
import pytest

from tests.architecture.checks import ROOT
from thingward.apps.cli import lines
from thingward.model.device import Device
from thingward.model.finding import Finding
from thingward.model.observation import CaptureData
from thingward.model.profile import MudProfile, Preview
from thingward.runtime.guard_result import SourceReport

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OURS = {"uid": "u", "tenant": "default", "time": 1.0, "source": "t"}


def links_of(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link for link in LINK.findall(text) if "://" not in link and not link.startswith(("#", "mailto:"))]


def anchors_of(path):
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_reference_is_what_the_code_says():
    """Every setting, command, error code, endpoint, metric, event and record kind comes from the code."""
    done = subprocess.run(
        [sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_resolves(path):
    for link in links_of(path):
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), f"{path.name}: {link}"


def test_every_page_is_linked_from_the_index():
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links_of(DOCS / "index.md")}
    missing = [str(path.relative_to(DOCS)) for path in PAGES if path.parent.name != "adr" and path not in linked]
    assert [name for name in missing if name != "index.md"] == []


def test_make_targets_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for line in re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE):
        targets |= set(line.split())
    for path in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        named = re.findall(r"(?:^|`)(?:sudo )?make ([a-z-]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(named) <= targets, path.name


def test_every_gate_names_a_test_that_exists():
    rows = [line for line in (DOCS / "failing.md").read_text().splitlines() if line.startswith("| ")][1:]
    untested = 0
    for row in rows:
        named = re.search(r"\| `([^`]+)::([^`]+)` \|$", row)
        if named is None:
            assert row.endswith("| - |"), row
            untested += 1
            continue
        path, name = named.groups()
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), row
    assert len(rows) >= 20
    assert untested <= 1


GUARD_LINES = {
    "capture": lines.capture_line(SourceReport(source="f", data=CaptureData(file="f"))),
    "device": lines.device_line(Device(**OURS)),
    "profile": lines.profile_line(MudProfile(**OURS, device="d")),
    "preview": lines.preview_line(Preview(**OURS, device="d", profile="p")),
    "finding": lines.finding_line(Finding(**OURS, rule="r", title="t", reason="r")),
}


@pytest.mark.parametrize("kind", GUARD_LINES)
def test_the_page_on_guards_output_names_what_the_lines_hold(kind):
    text = (DOCS / "reference" / "guard-output.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert section is not None
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", section.group(1), flags=re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    line = msgspec.to_builtins(GUARD_LINES[kind])
    assert line["kind"] == kind
    records = {"profile": MudProfile, "finding": Finding, "device": Device, "preview": Preview}
    known = set(line) | (set(records[kind].__struct_fields__) if kind in records else set())
    assert named <= known, "the page names fields that no line has"
    if kind == "capture":
        assert set(line) - {"kind"} == named
