"""Where compiled kernels are kept, and that nothing breaks where they cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thingward.wire.packets import compile as kernels

SCRIPT = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from thingward.wire.packets.read import u16
print(u16(bytearray([1, 2]), 0))
"""


def test_folder_is_named_after_sources_and_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, lasts = kernels.cache_folder({"THINGWARD_CACHE_DIR": str(tmp_path)})
    assert folder == tmp_path / f"kernels-{kernels.sources_digest()}" and lasts and folder.is_dir()
    before = kernels.sources_digest()
    monkeypatch.setattr(kernels.metadata, "version", lambda name: "999")
    assert kernels.sources_digest() != before


def test_order_of_places(tmp_path: Path) -> None:
    xdg, home = tmp_path / "xdg", tmp_path / "home"
    assert kernels.cache_folder({"XDG_CACHE_HOME": str(xdg), "HOME": str(home)})[0].parent == xdg / "thingward"
    assert kernels.cache_folder({"HOME": str(home)})[0].parent == home / ".cache" / "thingward"


def test_without_a_writable_place_a_temporary_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kernels.tempfile, "tempdir", str(tmp_path))
    folder, lasts = kernels.cache_folder({"THINGWARD_CACHE_DIR": str(tmp_path / "file")})
    assert folder is not None and folder.parent == tmp_path and not lasts
    monkeypatch.setattr(kernels.tempfile, "tempdir", str(tmp_path / "file"))
    assert kernels.cache_folder({"THINGWARD_CACHE_DIR": str(tmp_path / "file")}) == (None, False)


@pytest.mark.slow
def test_kernels_work_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "file")],
        env={**os.environ, "THINGWARD_CACHE_DIR": str(tmp_path / "file" / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "258"), done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
