"""Where live packets come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from thingward.model.columns import PacketBatch


class SourceLosses(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the engine below saw since the last call: packets it counted, packets it had no room for."""

    packets: int = 0
    dropped: int = 0


BlockWalker = Callable[[Any, int, int, Any, Any, Any, Any, Any], tuple[int, int, int]]
"""Finds the frames in one block of a TPACKET_V3 ring: `wire.packets.scan.scan_ring` documents the arguments."""


class PacketSource(Protocol):
    """An open source of live packets; it holds what the packets needed to get here, and nothing of what they say."""

    def fileno(self) -> int:
        """Give what becomes readable when packets wait, for a selector; -1 where there is none."""
        ...

    def read(self, timeout_s: float) -> PacketBatch | None:
        """Give the next packets; None if none came within the time.

        Raises:
            Unavailable: the source went away; closing and opening it again may help.
        """
        ...

    def losses(self) -> SourceLosses:
        """Tell what was seen and lost since the last call."""
        ...

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        ...
