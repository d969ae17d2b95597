"""The supervisor: takes the data folder, binds the console's address, runs the children, greets the person."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from thingward.adapters.link.unix import UnixLinkClient, UnixLinkServer
from thingward.apps.supervisor.children import Child, ChildPlan, run_children
from thingward.apps.supervisor.greet import Greeter
from thingward.apps.supervisor.plan import PlatformPlan, plan_platform
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.ports.link import Frame, Handler
from thingward.runtime import channels
from thingward.runtime.config import ENV_PREFIX, Settings

READY_S: Final = 60.0
_POLL_S: Final = 0.05


def run_platform(settings: Settings, *, config: Path | None, listen_fd: int = -1, extra: str = "") -> int:
    """Run the platform until told to stop.

    Args:
        listen_fd: a listening socket that was bound elsewhere; -1 binds `server.host` and `server.port` here.
        extra: further children as a JSON list of `ChildPlan`.
    Raises:
        Unavailable: it runs already with this data folder, or the address is taken.
        InvalidInput: the folder cannot be used.
    """
    os.umask(0o077)
    with _owned_folder(settings):
        listener = socket.socket(fileno=listen_fd) if listen_fd >= 0 else bind_console(settings)
        with listener:
            more = msgspec.json.decode(extra, type=tuple[ChildPlan, ...]) if extra else ()
            plan = plan_platform(settings, listener.fileno(), more)
            return asyncio.run(_supervise(settings, plan, listener, child_environment(settings, config, os.environ)))


def bind_console(settings: Settings) -> socket.socket:
    """Bind the console's address; raises Unavailable with what to do if it is taken."""
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: a listener made with 0 costs 44 ms per connection here.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Unavailable(f"{host}:{port}: {error.strerror}.", hint="Set another with --port.") from error
    return listener


def child_environment(settings: Settings, config: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Give the children's environment: what flags said here, they read there."""
    said = {
        "DATA_DIR": str(settings.home),
        "SENSOR__INTERFACES": ",".join(settings.sensor.interfaces),
        "SERVER__HOST": settings.server.host,
        "SERVER__PORT": str(settings.server.port),
    }
    if config is not None:
        said["CONFIG"] = str(config.resolve())
    return {**environ, **{ENV_PREFIX + name: value for name, value in said.items() if value}}


@contextlib.contextmanager
def _owned_folder(settings: Settings) -> Iterator[None]:
    try:
        for folder in (settings.home, settings.run_dir, settings.home / "log"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.home.chmod(0o700)
        lock = os.open(settings.run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        hint = "Choose another with --data-dir."
        raise InvalidInput(f"the data folder {settings.home} cannot be used: {error.strerror}.", hint=hint) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            hint = "Stop it first, or choose another folder with --data-dir."
            raise Unavailable(f"a platform runs already with the data folder {settings.home}.", hint=hint) from error
        yield
    finally:
        os.close(lock)


async def _supervise(settings: Settings, plan: PlatformPlan, listener: socket.socket, environ: dict[str, str]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started = time.time()
    children = [Child(child, log_folder=settings.home / "log", environ=environ) for child in plan.children]
    server = UnixLinkServer(channels.socket_of(settings, "supervisor"), name="supervisor")
    server.serve(channels.STATUS, _status_handler(children, plan, started))
    await server.start()
    greeter = Greeter(settings)
    running = asyncio.create_task(run_children(children, stop))
    greeting = asyncio.create_task(_greet(settings, plan, listener, greeter, children, stop))
    try:
        await running
    finally:
        greeting.cancel()
        failed = (await asyncio.gather(greeting, return_exceptions=True))[0]
        await server.close()
    return 1 if isinstance(failed, ThingwardError) else 0


async def _greet(
    settings: Settings,
    plan: PlatformPlan,
    listener: socket.socket,
    greeter: Greeter,
    children: Sequence[Child],
    stop: asyncio.Event,
) -> None:
    try:
        await greeter.start()
        await _wait_ready(settings, greeter, listener, children)
        url, ca_file = console_url(settings, listener)
        path = await greeter.make_link()
        await greeter.open_local(url, ca_file)
        say(f"Console: {url}/")
        say(f"Sign in, once and within 15 minutes: {url}{path}")
        for line in plan.without:
            say(line)
        watched = ", ".join(settings.sensor.interfaces)
        say(
            f"Watching {watched}."
            if watched
            else "No interface is watched; drop a capture on the console, or use --interface."
        )
        say("Nothing is refused before you approve it. Stop with Ctrl-C.")
        await stop.wait()
    except ThingwardError as error:
        sys.stderr.write(f"thingward: {error}\n")
        stop.set()
        raise
    finally:
        await greeter.close()


async def _wait_ready(settings: Settings, greeter: Greeter, listener: socket.socket, children: Sequence[Child]) -> None:
    store = UnixLinkClient(channels.socket_of(settings, "store"), name="supervisor")
    await store.start()
    try:
        deadline = time.monotonic() + READY_S
        while not (await greeter.is_ready() and await _answers(store) and await _server_answers(listener)):
            for child in children:
                if child.plan.needed and child.restarts >= 3:
                    raise Unavailable(f"{child.plan.name} does not start: {child.detail}", hint="See thingward doctor.")
            if time.monotonic() > deadline:
                raise Unavailable("the platform is not ready after a minute.", hint=f"See {settings.home / 'log'}.")
            await asyncio.sleep(_POLL_S)
    finally:
        await store.close()


async def _answers(link: UnixLinkClient) -> bool:
    try:
        await link.call(channels.PING, b"", timeout_s=1.0)
    except ThingwardError:
        return False
    return True


async def _server_answers(listener: socket.socket) -> bool:
    """The listener is bound from the start; the server is there when it takes the connection and speaks or waits."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            await writer.drain()
            answer = await reader.read(1)
            writer.close()
    except (OSError, TimeoutError):
        return False
    return bool(answer)


def console_url(settings: Settings, listener: socket.socket) -> tuple[str, str]:
    """Give the console's address as a person types it, and the CA file that verifies it (empty on plain HTTP)."""
    host, port = listener.getsockname()[:2]
    loopback = host in ("127.0.0.1", "::1")
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    secure = not loopback or bool(settings.server.tls_certificate)
    ca_file = settings.home / "console-ca.pem"
    own = secure and not settings.server.tls_certificate
    return f"{'https' if secure else 'http'}://{shown}:{port}", str(ca_file) if own else ""


def _status_handler(children: Sequence[Child], plan: PlatformPlan, started: float) -> Handler:
    async def status(peer: str, frame: Frame) -> Frame:
        rows = tuple(child.status() for child in children)
        body = channels.SupervisorStatus(started=started, processes=rows, without=plan.without)
        return Frame(kind="answer", body=msgspec.msgpack.encode(body))

    return status


def say(line: str) -> None:
    """Tell the person in front of the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
