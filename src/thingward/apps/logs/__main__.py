"""`python -m thingward.apps.logs`: run it alone, or as the supervisor's child."""

from __future__ import annotations

import sys

import thingward.runtime.lean  # noqa: F401 - first: it keeps rich out
from thingward.apps.logs.process import serve
from thingward.runtime.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("logs", serve))
