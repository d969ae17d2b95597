"""`python -m thingward.apps.logs`: run it alone, or as the supervisor's child."""

from __future__ import annotations

import sys

from thingward.apps.logs.process import serve
from thingward.runtime.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("logs", serve))
