"""Have every kernel ready before the first packet."""

from __future__ import annotations

import gc
from functools import cache
from pathlib import Path

from thingward.wire.packets.compile import FOLDER

_COLLECT_AFTER = (200_000, 20, 50)


@cache
def warm() -> Path | None:
    """Compile or load all kernels; about half a minute the first time, half a second afterwards.

    What was imported by then is moved out of the garbage collector's sight: Numba alone is some hundred thousand
    objects that it would walk again and again while packets come. Only the first call does anything.

    Returns:
        The folder in which the machine code was kept, None if no folder could be written.
    """
    from thingward.wire.packets import flowtable, parse, payloads, scan  # noqa: F401

    gc.collect()
    gc.freeze()
    # Records are not tracked; what is lives for one batch and forms no cycles, so that looking often finds nothing.
    gc.set_threshold(*_COLLECT_AFTER)
    return FOLDER
