"""What a sender keeps until the other side has it: bounded, telemetry dropped first, security events last."""

from __future__ import annotations

import bisect
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from thingward.adapters.journal.file import FileJournal
from thingward.adapters.journal.memory import MemoryJournal
from thingward.adapters.link.frames import LENGTH, decode_frame, encode_frame
from thingward.model.errors import InvalidInput, Unavailable
from thingward.ports.journal import Journal
from thingward.ports.link import Frame

PRIORITIES = 3
_RESERVE = 1 << 32


class Numbers:
    """Sequence numbers that never repeat: each start reserves a block of them in a small file beside the spool.

    Attributes:
        stream: name of this row of numbers. A new one when the file is lost or cannot be written: a number that came
            twice in one stream would be taken for a repeat and thrown away.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.stream, reserved = (_read_numbers(path) if path else None) or (secrets.token_hex(8), 0)
        self._next = reserved + 1
        if path and not _write_numbers(path, self.stream, reserved + _RESERVE):
            self.stream = secrets.token_hex(8)

    def skip_to(self, last: int) -> None:
        """Go on after `last`."""
        self._next = max(self._next, last + 1)

    def take(self) -> int:
        """Give the next number."""
        self._next += 1
        return self._next - 1


class Spool:
    """A queue per priority, each in a journal of its own, read together in the order of their numbers.

    Attributes:
        dropped: batches given up per priority, since the start.
        acknowledged: highest number that the other side has.
    """

    def __init__(
        self, journals: Sequence[Journal], numbers: Numbers, *, max_bytes: int, cache_bytes: int = 4 << 20
    ) -> None:
        if len(journals) != PRIORITIES:
            raise InvalidInput(f"a spool needs {PRIORITIES} journals.")
        self.dropped: Counter[int] = Counter()
        self.acknowledged = 0
        self._numbers = numbers
        self._queues = [_Queue(journal, cache_bytes // PRIORITIES) for journal in journals]
        self._max_bytes = max_bytes
        for queue in self._queues:
            numbers.skip_to(queue.last)

    @property
    def stream(self) -> str:
        """Name of the row of numbers."""
        return self._numbers.stream

    @property
    def pending_bytes(self) -> int:
        """Size of what was not acknowledged."""
        return sum(queue.pending_bytes for queue in self._queues)

    @property
    def pending(self) -> int:
        """Batches that were not acknowledged."""
        return sum(len(queue) for queue in self._queues)

    def put(self, channel: str, body: bytes, priority: int) -> int:
        """Keep a batch; returns its number. Above the bound the oldest of the least priority goes first."""
        if not 0 <= priority < PRIORITIES:
            raise InvalidInput(f"priority {priority} is not 0 to {PRIORITIES - 1}.")
        number = self._numbers.take()
        data = encode_frame(Frame(kind="batch", sequence=number, channel=channel, priority=priority, body=body))
        if not self._make_room(len(data), priority) or not self._queues[priority].put(number, data):
            self.dropped[priority] += 1
        return number

    def next(self, after: int) -> tuple[int, bytes] | None:
        """Give the batch with the least number above `after` as an encoded frame, None if there is none."""
        while True:
            found = [(n, queue) for queue in self._queues if (n := queue.first_above(after)) is not None]
            if not found:
                return None
            number, queue = min(found, key=lambda pair: pair[0])
            data = queue.get(number)
            if data is not None:
                return number, data
            after = number

    def acknowledge(self, upto: int) -> None:
        """Forget what the other side has."""
        if upto > self.acknowledged:
            self.acknowledged = upto
            for queue in self._queues:
                queue.forget(upto)

    def force(self) -> None:
        """Force everything that is kept to disk; raises Unavailable if the disk refuses."""
        for queue in self._queues:
            queue.journal.sync()
            queue.journal.force()

    def close(self) -> None:
        """Close the journals; idempotent."""
        for queue in self._queues:
            queue.journal.close()

    def _make_room(self, size: int, priority: int) -> bool:
        room = self._max_bytes - self.pending_bytes - size
        for least in range(priority + 1):
            while room < 0 and (freed := self._queues[least].drop_oldest()):
                self.dropped[least] += 1
                room += freed
        return room >= 0


class _Queue:
    """One priority's batches: numbers and places in memory, content in the journal, the newest content cached."""

    def __init__(self, journal: Journal, cache_bytes: int) -> None:
        self.journal = journal
        self.pending_bytes = 0
        self._cache_bytes = cache_bytes
        self._cached = 0
        self._cache: dict[int, bytes] = {}
        self._numbers: list[int] = []
        self._places: list[int] = []
        self._sizes: list[int] = []
        self._head = 0
        self._durable = 0
        self._reading: Iterator[tuple[int, bytes]] = iter(())
        self._position = 0
        for place, data in journal.read(0):
            self._remember(decode_frame(data[LENGTH.size :]).sequence, place, len(data))
            self._durable = place

    def __len__(self) -> int:
        return len(self._numbers) - self._head

    @property
    def last(self) -> int:
        """Highest number ever kept here, 0 if none is known."""
        return self._numbers[-1] if self._numbers else 0

    def put(self, number: int, data: bytes) -> bool:
        """Keep a batch; False if neither disk nor memory has room for it."""
        try:
            place = self.journal.append(data)
        except Unavailable:
            return False
        self._remember(number, place, len(data))
        self._cache[number] = data
        self._cached += len(data)
        try:
            self._durable = self.journal.sync()
        except Unavailable:
            pass  # stays in memory, and is written with the next one
        self._trim_cache()
        return True

    def first_above(self, after: int) -> int | None:
        """Give the least number above `after`."""
        index = bisect.bisect_right(self._numbers, after, lo=self._head)
        return self._numbers[index] if index < len(self._numbers) else None

    def get(self, number: int) -> bytes | None:
        """Give the content of a batch that is kept; None if the disk lost it."""
        cached = self._cache.get(number)
        if cached is not None:
            return cached
        place = self._places[bisect.bisect_left(self._numbers, number, lo=self._head)]
        found = self._read_on(place) if self._position < place else None
        if found is None:
            self._reading = self.journal.read(place - 1)
            found = self._read_on(place)
        return found

    def _read_on(self, place: int) -> bytes | None:
        for position, data in self._reading:
            self._position = position
            if position >= place:
                return data if position == place else None
        return None

    def forget(self, upto: int) -> None:
        """Forget batches up to this number."""
        index = bisect.bisect_right(self._numbers, upto, lo=self._head)
        if index > self._head:
            place = self._places[index - 1]
            for at in range(self._head, index):
                self._leave(at)
            self._head = index
            self._compact()
            self.journal.truncate(place)

    def drop_oldest(self) -> int:
        """Give up the oldest batch; returns its size, 0 if there is none."""
        if self._head == len(self._numbers):
            return 0
        size = self._sizes[self._head]
        self.forget(self._numbers[self._head])
        return size

    def _remember(self, number: int, place: int, size: int) -> None:
        self._numbers.append(number)
        self._places.append(place)
        self._sizes.append(size)
        self.pending_bytes += size

    def _leave(self, at: int) -> None:
        self.pending_bytes -= self._sizes[at]
        data = self._cache.pop(self._numbers[at], b"")
        self._cached -= len(data)

    def _compact(self) -> None:
        if self._head > 512 and self._head * 2 > len(self._numbers):
            for column in (self._numbers, self._places, self._sizes):
                del column[: self._head]
            self._head = 0

    def _trim_cache(self) -> None:
        while self._cached > self._cache_bytes:
            number = next(iter(self._cache))
            place = self._places[bisect.bisect_left(self._numbers, number, lo=self._head)]
            if place > self._durable:
                return
            self._cached -= len(self._cache.pop(number))


def file_spool(folder: Path, *, max_bytes: int) -> Spool:
    """Open a spool in a folder: it survives kill -9 of its process; a power cut may take what was just sent."""
    segment = max(max_bytes // 64, 64 << 10)
    journals = [
        FileJournal(folder / str(priority), segment_bytes=segment, max_bytes=2 * max_bytes, durable=False)
        for priority in range(PRIORITIES)
    ]
    return Spool(journals, Numbers(folder / "numbers.json"), max_bytes=max_bytes)


def memory_spool(max_bytes: int = 64 << 20) -> Spool:
    """Make a spool that ends with its process."""
    return Spool([MemoryJournal() for _ in range(PRIORITIES)], Numbers(), max_bytes=max_bytes)


def _read_numbers(path: Path) -> tuple[str, int] | None:
    try:
        value = json.loads(path.read_text())
        return str(value["stream"]), int(value["reserved"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_numbers(path: Path, stream: str, reserved: int) -> bool:
    draft = path.with_suffix(".new")
    try:
        draft.write_text(json.dumps({"stream": stream, "reserved": reserved}))
        os.replace(draft, path)
    except OSError:
        return False
    return True
