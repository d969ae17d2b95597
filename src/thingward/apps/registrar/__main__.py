"""`python -m thingward.apps.registrar`: run it alone, or as the supervisor's child."""

from __future__ import annotations

import sys

from thingward.apps.registrar.process import serve
from thingward.runtime.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("registrar", serve))
