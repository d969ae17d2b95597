"""Beginnings of connections that are known already: segments that say nothing new never leave the kernel.

The steps of a tree are numbered rows: each is what one side sent after the step before it. A connection whose
segments come in order walks from step to step, its bytes compared in full; where it leaves the tree, new steps are
added, to be decoded once. Where a segment comes too early, the connection is given away to be put in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thingward.wire.packets.compile import array_type, inlined, record_type
from thingward.wire.packets.flowtable import mixed
from thingward.wire.packets.read import whole

STEP = np.dtype(
    [
        ("key", "u8"),  # of a root: twice the responder's port, plus 1 if the beginning was missed
        ("at", "i8"),  # where its bytes lie among the known ones
        ("size", "i4"),
        ("before", "i4"),
        ("from_initiator", "u1"),
        ("flags", "u1"),
    ],
    align=True,
)
WALK = np.dtype(
    [
        ("flow", "i8"),  # -1 for none
        ("step", "i4"),
        ("out_bytes", "i4"),  # taken from the initiator so far, -1 before its first segment
        ("back_bytes", "i4"),
        ("out_next", "u4"),  # sequence number of the initiator's next byte
        ("back_next", "u4"),
        ("state", "u1"),
    ],
    align=True,
)

WALKING = 0
GIVEN = 1
"""Somebody else puts this connection's segments in order."""
OUT_FULL = 2
BACK_FULL = 3
"""As GIVEN, and nothing more of this side is wanted."""

F_FOUND = 1
"""It found something; or it is new, and nobody knows yet."""
F_OVER = 2
F_QUIET = 4
"""A connection that ends here leaves nothing unanswered."""

C_STEPS = 0
"""Steps in use."""
C_BYTES = 1
"""Bytes of steps in use."""
C_LOST = 2
"""Connections whose place was taken by another's."""
C_NO_ROOM = 3
"""Steps that were not kept."""
COUNTERS = 4

TO_ORDER = -1
SAYS_NOTHING = -2
ENDS_QUIETLY = -3
"""What becomes of a segment that did not arrive at a step that found something."""

PROBES = 8
HASHED_BYTES = 2048
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_WRAP = 1 << 32


@inlined
def word_at(part: Any, i: int) -> Any:
    """Read the i-th eight bytes, least significant first."""
    word = np.uint64(0)
    for k in range(8):
        word |= np.uint64(part[8 * i + k]) << np.uint64(8 * k)
    return word


@inlined
def payload_hash(data: Any, at: int, size: int) -> Any:
    """Hash the first HASHED_BYTES of a payload, and its length."""
    value = np.uint64(size) * _MULTIPLIER
    part = data[at : at + min(size, HASHED_BYTES)]
    words = len(part) // 8
    for i in range(words):
        value = (value ^ word_at(part, i)) * _MULTIPLIER
        value ^= value >> np.uint64(29)
    tail = np.uint64(0)
    for i in range(8 * words, len(part)):
        tail = (tail << np.uint64(8)) | np.uint64(part[i])
    return mixed(value ^ (tail * _MULTIPLIER))


@inlined
def step_key(data: Any, at: int, size: int, before: int, out: bool) -> Any:
    """Name a step by what came before, who sends, and the bytes; equal keys are compared in full."""
    way = np.uint64(2 * before + (1 if out else 0)) * _MULTIPLIER
    return mixed(payload_hash(data, at, size) ^ way)


@inlined
def is_same(data: Any, at: int, known: Any, known_at: int, size: int) -> bool:
    """Compare bytes."""
    ours = data[at : at + size]
    theirs = known[known_at : known_at + size]
    differs = np.uint8(0)
    for i in range(len(ours)):
        differs |= ours[i] ^ theirs[i]
    return bool(differs == 0)


@inlined
def find_step(data: Any, at: int, size: int, before: int, out: bool, steps: Any, places: Any, known: Any) -> int:
    """Give the number of the step that these bytes lead to, -1 if it is not known."""
    key = step_key(data, at, size, before, out)
    for probe in range(PROBES):
        number = whole(places[whole((key + np.uint64(probe)) & np.uint64(len(places) - 1))]) - 1
        if number < 0:
            return -1
        step = steps[number]
        if step.key != key or step.before != before or (step.from_initiator != 0) != out or step.size != size:
            continue
        if is_same(data, at, known, step.at, size):
            return number
    return -1


@inlined
def new_step(steps: Any, counters: Any, room: int, size: int) -> int:
    """Give the number of a step that was not used yet, -1 if there is no room."""
    number = counters[C_STEPS]
    if number >= len(steps) or counters[C_BYTES] + size > room:
        counters[C_NO_ROOM] += 1
        return -1
    counters[C_STEPS] += 1
    step = steps[number]
    step.at = counters[C_BYTES]
    step.size = size
    step.flags = F_FOUND
    counters[C_BYTES] += size
    return number  # type: ignore[no-any-return]


@inlined
def add_step(
    data: Any, at: int, size: int, before: int, out: bool, steps: Any, places: Any, known: Any, counters: Any
) -> int:
    """Add what leads on from the step before; gives its number, -1 if there is no room."""
    key = step_key(data, at, size, before, out)
    for probe in range(PROBES):
        place = whole((key + np.uint64(probe)) & np.uint64(len(places) - 1))
        if places[place] != 0:
            continue
        number = new_step(steps, counters, len(known), size)
        if number < 0:
            return -1
        places[place] = number + 1
        step = steps[number]
        step.key = key
        step.before = before
        step.from_initiator = 1 if out else 0
        known[step.at : step.at + size] = data[at : at + size]
        return number
    counters[C_NO_ROOM] += 1
    return -1


@inlined
def begin_walk(
    walk: Any, row: Any, number: int, start: int, out: bool, steps: Any, roots: Any, known: Any, counters: Any
) -> None:
    """Put a connection at the beginning; whose place it takes is given up."""
    if walk.flow >= 0 and walk.state == WALKING:
        counters[C_LOST] += 1
    walk.flow = number
    walk.out_bytes = walk.back_bytes = -1
    way = 2 * whole(row.dport if out else row.sport) + (1 if start < 0 else 0)
    walk.step = roots[way] - 1
    if walk.step < 0:
        root = new_step(steps, counters, len(known), 0)
        if root >= 0:
            steps[root].key = np.uint64(way)
            steps[root].before = -1
            steps[root].flags = F_QUIET
            roots[way] = root + 1
        walk.step = root
    walk.state = WALKING if walk.step >= 0 else GIVEN


@inlined
def take_step(
    data: Any,
    row: Any,
    start: int,
    out: bool,
    walk: Any,
    steps: Any,
    places: Any,
    known: Any,
    counters: Any,
    head_bytes: int,
) -> int:
    """Take a segment of a connection that walks; gives the step's number, or what becomes of the segment."""
    size = whole(row.payload_len)
    sequence = whole(row.tcp_seq)
    taken = whole(walk.out_bytes if out else walk.back_bytes)
    expected = start if start >= 0 else sequence
    if taken >= 0:
        expected = whole(walk.out_next if out else walk.back_next)
    ahead = (sequence - expected) & (_WRAP - 1)
    if ahead >= _WRAP // 2 and _WRAP - ahead >= size:
        return SAYS_NOTHING
    taken = max(taken, 0) + size
    number = -1
    if ahead == 0 and taken <= head_bytes:
        number = find_step(data, row.payload, size, walk.step, out, steps, places, known)
        if number < 0:
            number = add_step(data, row.payload, size, walk.step, out, steps, places, known, counters)
    if number < 0:
        walk.state = GIVEN
        return TO_ORDER
    walk.step = number
    if out:
        walk.out_bytes = taken
        walk.out_next = (sequence + size) & (_WRAP - 1)
    else:
        walk.back_bytes = taken
        walk.back_next = (sequence + size) & (_WRAP - 1)
    return number


@inlined
def walk_segment(
    data: Any,
    row: Any,
    number: int,
    start: int,
    out: bool,
    walks: Any,
    steps: Any,
    places: Any,
    roots: Any,
    known: Any,
    counters: Any,
    head_bytes: int,
) -> int:
    """Take a segment with data; gives the number of a step that found something, or what becomes of the segment."""
    walk = walks[number & (len(walks) - 1)]
    if walk.flow != number:
        begin_walk(walk, row, number, start, out, steps, roots, known, counters)
    if walk.state != WALKING:
        return SAYS_NOTHING if walk.state == (OUT_FULL if out else BACK_FULL) else TO_ORDER
    step = take_step(data, row, start, out, walk, steps, places, known, counters, head_bytes)
    if step < 0:
        return step
    flags = steps[step].flags
    if flags & F_OVER:
        walk.flow = -1
    if flags & F_FOUND:
        return step
    return ENDS_QUIETLY if flags & F_OVER else SAYS_NOTHING


@inlined
def give_away(walks: Any, number: int) -> int:
    """Stop walking a connection whose flow has no entry any more."""
    walk = walks[number & (len(walks) - 1)]
    if walk.flow == number:
        walk.state = GIVEN
    return TO_ORDER


STEPS = array_type(record_type(STEP))
WALKS = array_type(record_type(WALK))
