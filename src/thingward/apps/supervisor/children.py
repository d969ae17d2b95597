"""One child: started, watched, started again with growing pauses; ends when its pipe from here closes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from thingward.runtime.channels import ProcessStatus

BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S: Final = 20.0
GRACE_S: Final = 8.0
LOG_LIMIT_BYTES: Final = 8 << 20

State = Literal["running", "starting", "stopped", "failed"]


class ChildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is started and how.

    Attributes:
        module: run with `python -m`. needed: the platform is not ready without it.
        fds: open files that it inherits, for example the console's listener.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    needed: bool = True
    fds: tuple[int, ...] = ()
    detail: str = ""


class Child:
    """Runs one plan until stopped."""

    def __init__(self, plan: ChildPlan, *, log_folder: Path, environ: Mapping[str, str]) -> None:
        self.plan = plan
        self.state: State = "stopped"
        self.restarts = 0
        self.since = 0.0
        self.detail = plan.detail
        self._log = log_folder / f"{plan.name}.log"
        self._environ = dict(environ)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._pipe: tuple[int, int] | None = None

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def run(self) -> None:
        """Start it again and again until `stop` is called."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._once()
            if self._stopping.is_set():
                break
            failures = 1 if time.monotonic() - began > STEADY_S else failures + 1
            self.restarts += 1
            self.state = "failed"
            self.detail = f"ended with code {code}: {last_line(self._log)}"
            pause_s = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
        self.state = "stopped"

    async def stop(self) -> None:
        """Ask it to end, by its pipe and a signal; kill it when it takes too long."""
        self._stopping.set()
        self._close_pipe()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def status(self) -> ProcessStatus:
        """Tell how it is."""
        return ProcessStatus(
            name=self.plan.name,
            state=self.state,
            since=self.since,
            restarts=self.restarts,
            rss_bytes=resident_bytes(self.pid),
            detail=self.detail,
        )

    async def _once(self) -> int:
        self._pipe = os.pipe()
        reading = self._pipe[0]
        command = [sys.executable, "-m", self.plan.module, *self.plan.arguments, "--parent-fd", str(reading)]
        self.state, self.since = "starting", time.time()
        try:
            with self._open_log() as log:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(reading, *self.plan.fds),
                    env=self._environ,
                    start_new_session=True,
                )
        except OSError as error:
            self._close_pipe()
            self.detail = f"cannot be started: {error.strerror}"
            return -1
        os.close(reading)
        self._pipe = (-1, self._pipe[1])
        self.state, self.detail = "running", self.plan.detail
        code = await self._process.wait()
        self._close_pipe()
        return code

    @contextlib.contextmanager
    def _open_log(self) -> Iterator[int]:
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            for descriptor in self._pipe:
                if descriptor >= 0:
                    os.close(descriptor)
            self._pipe = None


async def run_children(children: Sequence[Child], stop: asyncio.Event) -> None:
    """Run all until told to stop; they are stopped in the reverse of their order, so that nothing is lost between them."""
    tasks = [asyncio.create_task(child.run(), name=child.plan.name) for child in children]
    await stop.wait()
    for child in reversed(children):
        await child.stop()
    await asyncio.gather(*tasks)


def resident_bytes(pid: int) -> int:
    """Give the resident memory of a process, 0 if it cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def last_line(path: Path) -> str:
    """Give the last line that a process wrote, at most 300 characters."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4096))
            lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
