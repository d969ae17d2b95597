"""Import this before anything else in a process that shows nothing in colour.

structlog takes rich along where that is installed, for tracebacks in colour: 5 MB and a tenth of a second for each
process, for nothing. Whoever wants rich later, imports it as ever.
"""

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
