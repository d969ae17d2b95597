"""Child processes kept running: started, watched, restarted with growing pauses, stopped in order.

A child ends when the pipe that only the supervisor holds open closes, so none is left behind whatever kills the
supervisor. Children write to files of bounded size in the log folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

BACKOFF_S: Final = (0.1, 10.0)
#: A child that ran this long starts again with the shortest pause, in seconds.
STEADY_S: Final = 30.0
STOP_S: Final = 15.0
PROBE_S: Final = 5.0
#: A child that was ready and then answers no probe for this long is killed, in seconds.
HANG_S: Final = 60.0
LOG_BYTES: Final = 4 << 20
TAIL_LINES: Final = 5

State = Literal["starting", "running", "stopped", "failed"]
#: Tells whether a child works; may raise anything.
Probe = Callable[[], Awaitable[bool]]

_log = structlog.get_logger("supervisor")


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process to keep running.

    Attributes:
        module: run as `python -m <module>`; `environment` is added to ours.
        pass_fds: descriptors that it gets under the same numbers.
        probe: readiness; without one a child that lives is ready.
        stop_order: children with a smaller number are stopped first.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    pass_fds: tuple[int, ...] = ()
    probe: Probe | None = None
    stop_order: int = 0


class ChildStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a child is; `since` in seconds since 1970, `detail` its last words if it failed."""

    name: str
    state: State
    pid: int = 0
    since: float = 0.0
    restarts: int = 0
    rss_bytes: int = 0
    detail: str = ""


class Child:
    """One process and what is known of it."""

    def __init__(self, spec: ChildSpec, lifeline: int, log_dir: Path) -> None:
        self.spec = spec
        self.state: State = "starting"
        self.since = time.time()
        self.restarts = 0
        self.ready = asyncio.Event()
        self._lifeline = lifeline
        self._log_path = log_dir / f"{spec.name}.log"
        self._tail: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """Process id, 0 while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    def status(self) -> ChildStatus:
        """Tell how it is."""
        return ChildStatus(
            name=self.spec.name,
            state=self.state,
            pid=self.pid,
            since=self.since,
            restarts=self.restarts,
            rss_bytes=_resident_bytes(self.pid),
            detail=" | ".join(self._tail) if self.state == "failed" else "",
        )

    async def keep_running(self) -> None:
        """Start it again whenever it ends, until `stop`."""
        pause_s = BACKOFF_S[0]
        while True:
            started = time.monotonic()
            await self._run_once()
            if self._stopping:
                break
            if time.monotonic() - started > STEADY_S:
                pause_s = BACKOFF_S[0]
            self._become("failed")
            code = self._process.returncode if self._process else None
            _log.warning("child ended", child=self.spec.name, code=code, again_in_s=pause_s, last=self._tail[-1:])
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, BACKOFF_S[1])
            self.restarts += 1
        self._become("stopped")

    async def stop(self) -> None:
        """Ask it to end; after fifteen seconds it is killed."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            _log.warning("child killed", child=self.spec.name)
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """Kill it at once; it is started again unless it was told to stop."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def _run_once(self) -> None:
        spec = self.spec
        self._become("starting")
        self.ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            spec.module,
            *spec.arguments,
            "--parent-fd",
            str(self._lifeline),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **spec.environment},
            pass_fds=(self._lifeline, *spec.pass_fds),
            start_new_session=True,
        )
        writing = asyncio.create_task(self._write_log(self._process))
        probing = asyncio.create_task(self._watch_health())
        await self._process.wait()
        probing.cancel()
        await asyncio.gather(writing, probing, return_exceptions=True)

    async def _watch_health(self) -> None:
        probe = self.spec.probe
        answered = 0.0
        while True:
            is_well = True
            if probe is not None:
                try:
                    is_well = await probe()
                except Exception:  # noqa: BLE001 - whatever a probe raises: it did not answer
                    is_well = False
            if is_well:
                answered = time.monotonic()
                if not self.ready.is_set():
                    self._become("running")
                    self.ready.set()
            elif answered and time.monotonic() - answered > HANG_S:
                _log.error("child hangs", child=self.spec.name)
                self.kill()
                return
            await asyncio.sleep(PROBE_S if self.ready.is_set() else 0.05)

    async def _write_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self._tail.clear()
        with _LogFile(self._log_path) as file:
            while True:
                try:
                    line = await process.stdout.readline()
                except ValueError:  # longer than the reader's bound: the rest of it comes next
                    continue
                if not line:
                    return
                file.write(line)
                self._tail.append(line.decode("utf-8", "replace").rstrip()[:300])
                del self._tail[:-TAIL_LINES]

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()


class Supervisor:
    """Keeps children running until told to stop."""

    def __init__(self, specs: Sequence[ChildSpec], log_dir: Path) -> None:
        log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._reading, self._writing = os.pipe()
        self.children = {spec.name: Child(spec, self._reading, log_dir) for spec in specs}
        self._tasks: list[asyncio.Task[None]] = []

    def statuses(self) -> tuple[ChildStatus, ...]:
        """Tell how all children are."""
        return tuple(child.status() for child in self.children.values())

    def start(self) -> None:
        """Start all children."""
        for child in self.children.values():
            self._tasks.append(asyncio.create_task(child.keep_running(), name=child.spec.name))

    async def wait_ready(self, timeout_s: float | None) -> tuple[str, ...]:
        """Wait until all children with a probe are ready (for ever with None); gives the names of those that are not in time."""
        waiting = [child for child in self.children.values() if child.spec.probe is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(child.ready.wait() for child in waiting))
        return tuple(child.spec.name for child in waiting if not child.ready.is_set())

    async def stop(self) -> None:
        """Stop all children, group by group."""
        orders = sorted({child.spec.stop_order for child in self.children.values()})
        for order in orders:
            group = [child for child in self.children.values() if child.spec.stop_order == order]
            await asyncio.gather(*(child.stop() for child in group))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for fd in (self._writing, self._reading):
            os.close(fd)


class _LogFile:
    """A file that begins anew at a bound; the one before it is kept as `.1`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size if path.exists() else 0
        self._file = self._open()

    def __enter__(self) -> _LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: bytes) -> None:
        """Write a line; a full disk loses it."""
        if self._size > LOG_BYTES:
            self._file.close()
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_suffix(".log.1"))
            self._file, self._size = self._open(), 0
        self._size += len(line)
        with contextlib.suppress(OSError):
            self._file.write(line)

    def _open(self) -> io.FileIO:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return io.FileIO(fd, "ab")


def _resident_bytes(pid: int) -> int:
    if not pid:
        return 0
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
