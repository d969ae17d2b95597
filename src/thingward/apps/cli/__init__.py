"""The command line: `thingward COMMAND`; every command is loaded when it is called, so that starting is quick."""

from __future__ import annotations

from thingward.apps.cli.app import main

__all__ = ["main"]
