"""Read a capture from an open file or pipe in bounded chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from thingward.model.columns import PacketBatch
from thingward.model.record import Malformed
from thingward.wire.capture import CaptureDecoder

CHUNK_BYTES = 4 << 20


class CaptureReader:
    """Iterates over the batches of one capture; ends at the end of the file or at the first thing it cannot pass.

    Attributes:
        packets, bytes: read so far; bytes as captured.
        position: bytes of the file consumed, for progress.
        complete: the end was reached without a problem.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        uid: str = "",
        chunk_bytes: int = CHUNK_BYTES,
        rows: int = 65536,
        is_pipe: bool = False,
    ) -> None:
        """Prepare to read.

        Args:
            stream: opened for reading bytes; only `read` (or `read1`) is used.
            uid: names the capture in the batches' `uid`.
            chunk_bytes: most bytes read at once.
            rows: most packets in a batch.
            is_pipe: take bytes as they come instead of waiting for full chunks.
        """
        self._read = getattr(stream, "read1", stream.read) if is_pipe else stream.read
        self._chunk_bytes = chunk_bytes
        self._decoder = CaptureDecoder(uid=uid, rows=rows, guess_variant=not is_pipe)
        self.packets = 0
        self.bytes = 0
        self.position = 0
        self.complete = False

    @property
    def format(self) -> str:
        """Name of the format, empty until known."""
        return self._decoder.format

    @property
    def problem(self) -> Malformed | None:
        """Why reading stopped before the end, None if it did not."""
        return self._decoder.problem

    def __iter__(self) -> Iterator[PacketBatch]:
        """Give batch after batch; raises NotACapture if it is none, OSError if the file cannot be read."""
        while not self._decoder.done:
            chunk = self._read(self._chunk_bytes)
            self.position += len(chunk)
            batches = self._decoder.feed(chunk) if chunk else self._decoder.finish()
            for batch in batches:
                self.packets += len(batch)
                self.bytes += int(batch.caplen.sum(dtype="int64"))
                yield batch
            if not chunk:
                self.complete = self._decoder.problem is None
                return
