"""The child that judges a dropped capture: `guard` on one file, its result written as MessagePack.

`python -m thingward.apps.server.judge CAPTURE OUTPUT SITE`: progress as JSON lines on standard output, at most ten a
second; exit code as of `guard`. Only this process imports the packet kernels, never the server.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import msgspec

_EVERY_S: Final = 0.1


class Progress(msgspec.Struct, frozen=True):
    """One line of progress: what is done, how much of how much; total 0 where it is not known."""

    label: str
    done: int
    total: int


class _Reporter:
    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY_S or done == total:
            self._last = now
            sys.stdout.buffer.write(msgspec.json.encode(Progress(label, done, total)) + b"\n")
            sys.stdout.buffer.flush()


def main(arguments: list[str]) -> int:
    """Judge one capture."""
    from thingward.model.errors import ThingwardError
    from thingward.runtime.guard import GuardOptions, run_guard

    capture, output, site = arguments
    try:
        result = run_guard((capture,), GuardOptions(site=site), _Reporter())
    except ThingwardError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except MemoryError:
        sys.stderr.write("it needs more memory than a dropped capture may use (server.capture_memory_mb).\n")
        return 2
    Path(output).write_bytes(msgspec.msgpack.encode(result))
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
