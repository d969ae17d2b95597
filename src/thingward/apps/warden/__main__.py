"""`python -m thingward.apps.warden`: run the warden alone, or as the supervisor's child."""

from __future__ import annotations

import sys

import thingward.runtime.lean  # noqa: F401 - first: it keeps rich out
from thingward.apps.warden.process import serve
from thingward.runtime.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("warden", serve))
