"""The data folder holds keys and the log of a home: only its owner may enter it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from thingward.model.errors import InvalidInput

#: What tells that a folder is a data folder; words that other folders have in them too are not among them.
_MARKS: Final = ("run/supervisor.lock", "control.db", "thingward.toml")
_OTHERS: Final = 0o077


def close_to_others(home: Path, say: Callable[[str], None]) -> None:
    """Take everybody else's rights from a data folder that is ours, and say so; one that is missing is left to be made.

    Raises:
        InvalidInput: others may enter it and it is not ours to change: another user's, or it holds other things.
    """
    if not home.is_dir() or not (mode := home.stat().st_mode & 0o777) & _OTHERS:
        return
    elsewhere = "or choose an empty folder with --data-dir or THINGWARD_DATA_DIR."
    if home.stat().st_uid != os.geteuid():
        raise InvalidInput(
            f"others may enter the data folder {home}, and it belongs to another user.",
            hint=f"Let its owner run: chmod 700 {home} and start thingward, {elsewhere}",
        )
    if any(home.iterdir()) and not any((home / mark).exists() for mark in _MARKS):
        raise InvalidInput(
            f"others may enter {home}, and it holds other things than thingward's.",
            hint=f"If nobody else needs it, run: chmod 700 {home}, {elsewhere}",
        )
    try:
        home.chmod(mode & ~_OTHERS)
    except OSError as error:
        raise InvalidInput(
            f"others may enter the data folder {home}, and that cannot be changed: {error.strerror}.",
            hint="Choose one on another file system with --data-dir or THINGWARD_DATA_DIR.",
        ) from error
    say(
        f"The data folder {home} could be entered by others (mode {mode:04o}); it is yours alone now ({mode & ~_OTHERS:04o})."
    )
