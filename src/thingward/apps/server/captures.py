"""Captures dropped on the console: taken in as a stream, judged one at a time by a bounded child, results kept."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import structlog
from msgspec import Meta

from thingward.apps.server.backend import Options
from thingward.apps.server.judge import Progress
from thingward.apps.server.metrics import Metrics
from thingward.model.errors import InvalidInput, LimitExceeded, NotFound, ThingwardError, Unavailable, UnsupportedHere
from thingward.runtime.guard_result import GuardResult

KEEP_LIMIT: Final = 20
WAIT_LIMIT: Final = 8
RESULT_LIMIT_BYTES: Final = 512 * 2**20
LINE_LIMIT_BYTES: Final = 64 * 1024
NAME_LIMIT: Final = 120
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", "THINGWARD_CACHE_DIR", "NUMBA_CACHE_DIR")

_log = structlog.get_logger("server")

CaptureState = Literal["waiting", "running", "done", "failed"]


class TooLarge(ThingwardError):
    """The capture is larger than the server takes."""

    code = "input.too_large"
    status = 413


class CaptureSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a capture, in figures."""

    packets: int = 0
    bytes: int = 0
    first: float = 0.0
    last: float = 0.0
    malformed: int = 0
    devices: int = 0
    unknown: int = 0
    profiles: int = 0
    findings: int = 0


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """One dropped capture and what came of it."""

    uid: Annotated[str, Meta(description="Names the capture.", examples=["c-0000000001a2b3c4"])]
    name: Annotated[str, Meta(description="As the sender called it.", examples=["home.pcapng"])]
    by: Annotated[str, Meta(description="Uid of whoever sent it.")] = ""
    time: Annotated[float, Meta(description="When it came, seconds since 1970.")] = 0.0
    size_bytes: int = 0
    state: CaptureState = "waiting"
    started: float = 0.0
    ended: float = 0.0
    step: Annotated[str, Meta(description="What is being done now.")] = ""
    share: Annotated[float, Meta(description="How much of this step is done, 0 to 1; 0 if not known.")] = 0.0
    error: Annotated[str, Meta(description="Why it failed; empty if it did not.")] = ""
    imported: Annotated[bool, Meta(description="Its result was handed to the platform.")] = False
    summary: CaptureSummary | None = None


class CaptureDesk:
    """Takes captures in and has them judged, one after the other."""

    def __init__(self, options: Options, metrics: Metrics, now: Callable[[], float]) -> None:
        self._options = options
        self._metrics = metrics
        self._now = now
        self._folder = options.data_dir / "captures"
        self._rows: OrderedDict[str, Capture] = OrderedDict()
        self._waiting: asyncio.Queue[str] = asyncio.Queue(WAIT_LIMIT)
        self._task: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """Whether captures can be judged here."""
        return bool(self._options.guard_command)

    async def start(self) -> None:
        """Read what was kept and begin to judge."""
        await asyncio.to_thread(self._load)
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop judging; the child is ended, its capture stays waiting for nobody and is forgotten at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def list(self) -> tuple[Capture, ...]:
        """Give all captures, newest first."""
        return tuple(reversed(self._rows.values()))

    def get(self, uid: str) -> Capture:
        """Give one capture; raises NotFound."""
        if uid not in self._rows:
            raise NotFound(f"there is no capture {uid!r}.")
        return self._rows[uid]

    async def receive(self, stream: AsyncIterator[bytes], name: str, by: str) -> Capture:
        """Take one capture in, piece by piece, and put it in line.

        Raises:
            TooLarge: larger than the limit; nothing is kept.
            LimitExceeded: too many are waiting.
            UnsupportedHere, Unavailable: captures are off, or the disk refused.
        """
        if not self.available:
            raise UnsupportedHere("captures cannot be judged here.", hint="Run: thingward guard FILE")
        if self._waiting.full():
            raise LimitExceeded(f"{WAIT_LIMIT} captures are waiting.", hint="Come back when one is done.")
        now = self._now()
        uid = f"c-{int(now * 1000):016x}{os.urandom(4).hex()}"
        folder = self._folder / uid
        try:
            size = await self._store(stream, folder)
            capture = Capture(uid=uid, name=_clean(name), by=by, time=now, size_bytes=size)
            self._keep(capture)
            self._waiting.put_nowait(uid)
        except BaseException as error:
            self._rows.pop(uid, None)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise Unavailable(f"the capture could not be kept: {error.strerror}.") from error
            if isinstance(error, asyncio.QueueFull):
                raise LimitExceeded(f"{WAIT_LIMIT} captures are waiting.") from error
            raise
        return capture

    async def _store(self, stream: AsyncIterator[bytes], folder: Path) -> int:
        await asyncio.to_thread(folder.mkdir, parents=True, mode=0o700)
        size = 0
        with (folder / "capture").open("wb") as file:
            async for chunk in stream:
                size += len(chunk)
                if size > self._options.upload_limit_bytes:
                    raise TooLarge(
                        f"captures larger than {self._options.upload_limit_bytes // 2**20} MiB are not taken here.",
                        hint="Raise server.upload_limit_mb, or run: thingward guard FILE --save",
                    )
                file.write(chunk)
        if not size:
            raise InvalidInput("the capture is empty.")
        return size

    def result(self, uid: str) -> GuardResult:
        """Give the whole result of a capture that is done; raises NotFound."""
        file = self._folder / self.get(uid).uid / "result.msgpack"
        if not file.is_file() or file.stat().st_size > RESULT_LIMIT_BYTES:
            raise NotFound(f"capture {uid!r} has no result.")
        return msgspec.msgpack.decode(file.read_bytes(), type=GuardResult)

    def delete(self, uid: str) -> None:
        """Forget a capture that does not run now; raises NotFound or InvalidInput."""
        if self.get(uid).state in ("running", "waiting"):
            raise InvalidInput("the capture is being judged.", hint="Wait until it is done.")
        del self._rows[uid]
        shutil.rmtree(self._folder / uid, ignore_errors=True)

    def mark_imported(self, uid: str) -> Capture:
        """Note that the result was handed to the platform."""
        return self._update(uid, imported=True)

    def _keep(self, capture: Capture) -> None:
        self._rows[capture.uid] = capture
        ended = [uid for uid, row in self._rows.items() if row.state in ("done", "failed")]
        for uid in ended[: max(0, len(self._rows) - KEEP_LIMIT)]:
            self.delete(uid)

    def _update(self, uid: str, *, save: bool = True, **changes: object) -> Capture:
        row = self._rows[uid] = msgspec.structs.replace(self._rows[uid], **changes)
        if save:
            (self._folder / uid / "capture.json").write_bytes(msgspec.json.encode(row))
        return row

    def _load(self) -> None:
        for folder in sorted(self._folder.glob("c-*"))[-KEEP_LIMIT:]:
            try:
                row = msgspec.json.decode((folder / "capture.json").read_bytes(), type=Capture)
                if row.state not in ("done", "failed"):
                    raise ValueError("the server ended while it ran")
                self._rows[row.uid] = row
            except (OSError, ValueError, msgspec.MsgspecError):
                shutil.rmtree(folder, ignore_errors=True)

    async def _work(self) -> None:
        while True:
            uid = await self._waiting.get()
            try:
                await self._judge(uid)
            except (OSError, msgspec.MsgspecError) as error:
                _log.warning("capture not judged", capture=uid, reason=str(error))
                self._update(uid, state="failed", ended=self._now(), error=f"it could not be judged: {error}")
            self._metrics.count("captures_total", result=self._rows[uid].state)

    async def _judge(self, uid: str) -> None:
        folder = self._folder / uid
        self._update(uid, state="running", started=self._now(), step="starting")
        try:
            code, said = await self._run(uid, folder)
        finally:
            (folder / "capture").unlink(missing_ok=True)
        result = self.result(uid) if (folder / "result.msgpack").is_file() else None
        if result is None or (code != 0 and not result.views):
            reason = next((r.data.error for r in result.sources if r.data.error), "") if result else ""
            reason = reason or (said if code >= 0 else "")
            self._update(uid, state="failed", ended=self._now(), error=reason or _ended(code))
            return
        self._update(uid, state="done", ended=self._now(), step="", share=1.0, summary=summarise(result))

    async def _run(self, uid: str, folder: Path) -> tuple[int, str]:
        options = self._options
        words = {"{capture}": str(folder / "capture"), "{output}": str(folder / "result.msgpack")}
        command = [words.get(part, part) for part in options.guard_command]
        child = await asyncio.create_subprocess_exec(
            *bound_command(command, options),
            cwd=folder,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(options.capture_time_limit_s):
                said, _ = await asyncio.gather(_last_line(child.stderr), self._follow(uid, child.stdout))
                return await child.wait(), said
        except TimeoutError:
            return 1, f"it took longer than the {options.capture_time_limit_s} s that a dropped capture may take."
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # it leads a group of its own
                await child.wait()

    async def _follow(self, uid: str, lines: asyncio.StreamReader | None) -> None:
        while lines is not None and (line := await _line(lines)):
            with suppress(msgspec.MsgspecError):
                step = msgspec.json.decode(line, type=Progress)
                share = min(1.0, step.done / step.total) if step.total > 0 else 0.0
                self._update(uid, save=False, step=step.label[:NAME_LIMIT], share=share)


def bound_command(command: list[str], options: Options) -> list[str]:
    """Put the bounds in front of a command."""
    return [
        sys.executable,
        "-P",
        "-m",
        "thingward.apps.server.bounded",
        f"--cpu-s={options.capture_time_limit_s}",
        f"--memory-bytes={options.capture_memory_bytes}",
        f"--file-bytes={RESULT_LIMIT_BYTES}",
        "--",
        *command,
    ]


def summarise(result: GuardResult) -> CaptureSummary:
    """Give the figures of a result."""
    data = [report.data for report in result.sources]
    firsts = [part.first for part in data if part.first]
    return CaptureSummary(
        packets=sum(part.packets for part in data),
        bytes=sum(part.bytes for part in data),
        first=min(firsts, default=0.0),
        last=max((part.last for part in data), default=0.0),
        malformed=sum(sum(part.malformed.values()) for part in data),
        devices=sum(not view.device.group for view in result.views),
        unknown=sum(not view.device.group and not view.device.identified for view in result.views),
        profiles=sum(view.profile is not None for view in result.views),
        findings=len(result.findings),
    )


def _clean(name: str) -> str:
    base = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in base if char.isprintable())[:NAME_LIMIT] or "capture"


def _ended(code: int) -> str:
    if code < 0:
        return "it was ended: it needed more time or memory than a dropped capture may use; try `thingward guard FILE`."
    return f"it could not be judged (exit code {code})."


async def _line(lines: asyncio.StreamReader) -> bytes:
    try:
        return await lines.readline()
    except ValueError:
        return b"{}\n"


async def _last_line(lines: asyncio.StreamReader | None) -> str:
    last = ""
    while lines is not None and (line := await _line(lines)):
        last = line.decode("utf-8", "replace").strip()[:500] or last
    return last
