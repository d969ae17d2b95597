"""Who may enter the data folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from thingward.model.errors import InvalidInput
from thingward.runtime.data_folder import close_to_others


def mode_of(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.mark.parametrize("mark", ["", "run/supervisor.lock", "control.db", "thingward.toml"])
def test_a_folder_of_ours_is_closed_to_others_and_that_is_said(tmp_path: Path, mark: str) -> None:
    home = tmp_path / "data"
    home.mkdir()
    home.chmod(0o755)
    if mark:
        (home / mark).parent.mkdir(exist_ok=True)
        (home / mark).touch()
    said: list[str] = []
    close_to_others(home, said.append)
    assert mode_of(home) == 0o700
    assert len(said) == 1 and "0755" in said[0] and "0700" in said[0]
    close_to_others(home, said.append)
    assert len(said) == 1


def test_a_folder_with_other_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()  # as in / and /var
    tmp_path.chmod(0o755)
    with pytest.raises(InvalidInput, match="holds other things") as caught:
        close_to_others(tmp_path, pytest.fail)
    assert f"chmod 700 {tmp_path}" in str(caught.value) and "--data-dir" in str(caught.value)
    assert mode_of(tmp_path) == 0o755


def test_another_users_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InvalidInput, match="belongs to another user"):
        close_to_others(tmp_path, pytest.fail)
    assert mode_of(tmp_path) == 0o755


def test_a_file_system_that_keeps_no_rights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    tmp_path.chmod(0o755)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(InvalidInput, match="cannot be changed: Operation not permitted"):
        close_to_others(tmp_path, pytest.fail)


def test_a_missing_folder_is_left_to_be_made(tmp_path: Path) -> None:
    close_to_others(tmp_path / "none", pytest.fail)
    assert not (tmp_path / "none").exists()
