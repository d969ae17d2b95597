"""Numbers out of bytes, for kernels. Callers have checked that the bytes are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from thingward.wire.packets.compile import inlined

whole = cast("Callable[[Any], int]", np.int64)
"""Make a signed 64-bit number: arithmetic on an array's own unsigned type would mix signs."""


@inlined
def u8(data: Any, at: int) -> int:
    """Read one byte as a signed number."""
    return whole(data[at])


@inlined
def u16(data: Any, at: int) -> int:
    """Read two bytes in network order."""
    return (whole(data[at]) << 8) | whole(data[at + 1])


@inlined
def u16_le(data: Any, at: int) -> int:
    """Read two bytes, least significant first."""
    return (whole(data[at + 1]) << 8) | whole(data[at])


@inlined
def u32(data: Any, at: int) -> int:
    """Read four bytes in network order."""
    return (whole(data[at]) << 24) | (whole(data[at + 1]) << 16) | (whole(data[at + 2]) << 8) | whole(data[at + 3])


@inlined
def u32_le(data: Any, at: int) -> int:
    """Read four bytes, least significant first."""
    return (whole(data[at + 3]) << 24) | (whole(data[at + 2]) << 16) | (whole(data[at + 1]) << 8) | whole(data[at])


@inlined
def u64(data: Any, at: int) -> Any:
    """Read eight bytes in network order as an unsigned number."""
    return (np.uint64(u32(data, at)) << np.uint64(32)) | np.uint64(u32(data, at + 4))


@inlined
def mac(data: Any, at: int) -> Any:
    """Read six bytes in network order as an unsigned number."""
    return (np.uint64(u16(data, at)) << np.uint64(32)) | np.uint64(u32(data, at + 2))
