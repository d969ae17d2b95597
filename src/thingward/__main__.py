"""`python -m thingward` is the command line."""

import sys

from thingward.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
