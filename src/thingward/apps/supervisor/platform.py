"""The platform as a whole: which processes there are, when it is ready, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from thingward.adapters.link.unix import UnixLinkClient
from thingward.apps.supervisor.greeting import Greeting
from thingward.model.errors import InvalidInput, Unavailable
from thingward.runtime import channels
from thingward.runtime.capabilities import NET_ADMIN, NET_RAW, held_capabilities
from thingward.runtime.config import Settings
from thingward.runtime.doctor import keeps_kernels, kernel_folder
from thingward.runtime.local_access import remove_local_access
from thingward.runtime.own_addresses import is_loopback, local_addresses
from thingward.runtime.platform_status import PlatformStatus, write_platform_status
from thingward.runtime.supervise import ChildSpec, Probe, Supervisor

READY_S: Final = 60.0
STATUS_S: Final = 1.0
PING_S: Final = 1.0
BACKLOG: Final = 128
#: How many further addresses of the console are told.
OTHERS: Final = 4
#: Where compiled packet kernels are kept in the data folder if they cannot be kept elsewhere; no part of a backup.
KERNELS: Final = ".cache"

#: Writes a line for the person in front of the terminal.
Say = Callable[[str], None]
#: Called once the platform is ready, with the console's address.
OnReady = Callable[[str], Awaitable[None]]

_log = structlog.get_logger("supervisor")


class Platform:
    """The children of one data folder.

    Args:
        environment: what children are told beside ours (flags become `THINGWARD_...` variables).
        config: the settings file, for children. listener: an already bound socket for the console.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        say: Say,
        environment: Mapping[str, str] | None = None,
        config: Path | None = None,
        listener: socket.socket | None = None,
        more: tuple[ChildSpec, ...] = (),
    ) -> None:
        self._settings = settings
        self._say = say
        self._config = config
        self._is_handed_in = listener is not None
        self._listener = listener or bind_console(settings)
        self._environment = dict(environment or {})
        self._started = time.time()
        host, port = self._listener.getsockname()[:2]
        self.address = console_address(settings, str(host), int(port))
        #: The same from this machine: the name of a host that listens on all addresses need not resolve here.
        self.local_address = self.address
        if not settings.server.tls_certificate:
            self.local_address = console_address(
                settings, loopback_of(str(host)), int(port), is_local=is_loopback(str(host))
            )
        self._other_addresses = other_addresses(settings, str(host), int(port))
        self._pings = {name: UnixLinkClient(channels.socket_of(settings, name), name="supervisor") for name in LINKED}
        self._supervisor = Supervisor((*self._specs(), *more), settings.home / "log")

    async def run(self, stop: asyncio.Event, on_ready: OnReady | None = None) -> None:
        """Start everything, greet, and keep it running until told to stop."""
        self._supervisor.start()
        greeting = Greeting(self._settings, self._pings["core"], self.address, self.local_address)
        telling = asyncio.create_task(self._tell_status())
        becoming = asyncio.create_task(self._become_ready(greeting, on_ready))
        try:
            await stop.wait()
        finally:
            becoming.cancel()
            await asyncio.gather(becoming, return_exceptions=True)
            await greeting.revoke()
            remove_local_access(self._settings.run_dir)
            await self._supervisor.stop()
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            for link in self._pings.values():
                await link.close()
            self._write_status()
            self._listener.close()

    async def _become_ready(self, greeting: Greeting, on_ready: OnReady | None) -> None:
        late = await self._supervisor.wait_ready(READY_S)
        if late:
            for status in self._supervisor.statuses():
                if status.name in late:
                    self._say(f"{status.name} is not ready: {status.detail or status.state}")
            self._say(f"See {self._settings.home / 'log'}, and `thingward doctor`.")
            await self._supervisor.wait_ready(None)
        for line in await greeting.lines():
            self._say(line)
        for line in self._missing():
            self._say(line)
        _log.info("ready", after_s=round(time.time() - self._started, 2))
        if on_ready is not None:
            await on_ready(self.address)

    def _missing(self) -> list[str]:
        """Say what this platform cannot do here, and how to mend it."""
        lines = []
        if self._other_addresses:
            lines.append(f"The console is also at {', '.join(self._other_addresses)}")
        lines += unwatched(self._settings.sensor.interfaces)
        if not self._has_warden():
            if self._settings.enforce.path == "off":
                lines.append("Enforcement is switched off (enforce.path = off): nothing on the network is changed.")
            else:
                told = "Without root nothing on the network is changed: profiles are learnt and judged, not enforced."
                lines.append(told)
        if not keeps_kernels(os.environ):
            place = kernel_folder(os.environ)
            why = f"{place} cannot be written" if place else "HOME is not set"
            where = self._settings.home / KERNELS
            lines.append(f"{why}: packet kernels are kept in {where}; the first capture waits for the compiler.")
        return lines

    def _has_warden(self) -> bool:
        return self._settings.enforce.path != "off" and NET_ADMIN in held_capabilities()

    def _specs(self) -> list[ChildSpec]:
        base: list[str] = ["--data-dir", str(self._settings.home.absolute())]
        if self._config is not None:
            base += ["--config", str(self._config.absolute())]
        environment = dict(self._environment)
        if not self._has_warden():
            environment["THINGWARD_ENFORCE__PATH"] = "off"
        if not keeps_kernels(os.environ):
            environment["THINGWARD_CACHE_DIR"] = str(self._settings.home.absolute() / KERNELS)

        def spec(name: str, *more: str, order: int, probe: Probe | None = None, fds: tuple[int, ...] = ()) -> ChildSpec:
            return ChildSpec(
                name=name,
                module=f"thingward.apps.{name.partition(':')[0]}",
                arguments=(*base, *more),
                environment=environment,
                pass_fds=fds,
                probe=probe,
                stop_order=order,
            )

        fd = self._listener.fileno()
        specs = [
            spec("core", order=2, probe=self._ping("core")),
            spec("store", order=3, probe=self._ping("store")),
            spec("server", "--listen-fd", str(fd), order=1, probe=self._ask_console, fds=(fd,)),
        ]
        if self._has_warden():
            specs.append(spec("warden", order=3))
        for interface in self._settings.sensor.interfaces:
            specs.append(spec(f"sensor:{interface}", "--interface", interface, order=0))
        if follows_logs(self._settings):
            specs.append(spec("logs", order=0))
        if self._settings.registrar.enabled:
            specs.append(spec("registrar", order=1))
        return specs

    def _ping(self, name: str) -> Probe:
        async def probe() -> bool:
            await self._pings[name].call(channels.PING, b"", timeout_s=PING_S)
            return True

        return probe

    async def _ask_console(self) -> bool:
        """Ask the server whether it lives and reaches core and store."""
        host, port = self._listener.getsockname()[:2]
        host = loopback_of(host)
        context = None
        if self.address.startswith("https"):
            context = ssl.create_default_context()  # it is asked over its own listener, which nobody else can answer
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        async with asyncio.timeout(PING_S):
            try:
                reader, writer = await asyncio.open_connection(host, port, ssl=context)
            except ConnectionRefusedError:
                if self._is_handed_in:
                    return True  # it listens in another network (the demo's): nobody in here can ask it
                raise
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()

    async def _tell_status(self) -> None:
        while True:
            self._write_status()
            await asyncio.sleep(STATUS_S)

    def _write_status(self) -> None:
        status = PlatformStatus(
            started=self._started, pid=os.getpid(), address=self.address, processes=self._supervisor.statuses()
        )
        with contextlib.suppress(OSError):
            write_platform_status(self._settings.run_dir, status)


LINKED: Final = ("core", "store")


def unwatched(interfaces: Sequence[str]) -> Iterator[str]:
    """Say which interfaces cannot be watched now, and why."""
    if interfaces and NET_RAW not in held_capabilities():
        yield f"Without root (CAP_NET_RAW) {', '.join(interfaces)} cannot be watched; captures and logs work."
        return
    for name in interfaces:
        try:
            socket.if_nametoindex(name)
        except OSError:
            yield f"There is no interface {name}: it is watched as soon as there is one (see `ip link`)."


def follows_logs(settings: Settings) -> bool:
    """Tell whether a sensor for logs is needed."""
    sensor = settings.sensor
    return bool(sensor.zeek_folders or sensor.eve_files or sensor.syslog_listen)


def bind_console(settings: Settings) -> socket.socket:
    """Bind the console's socket; it stays bound while the server is restarted."""
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror}.", hint="Choose another one with --port or --host."
        ) from error
    return sock


def loopback_of(host: str) -> str:
    """Give how this machine itself reaches a listener: over loopback if it listens on every address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def console_address(settings: Settings, host: str, port: int, *, is_local: bool | None = None) -> str:
    """Give the address that a browser needs; plain HTTP is spoken on loopback only.

    Args:
        is_local: nobody else can reach it; default: as the host tells.
    """
    if is_local is None:
        is_local = is_loopback(host)
    scheme = "https" if settings.server.tls_certificate or not is_local else "http"
    shown = socket.gethostname() if loopback_of(host) != host else host
    return f"{scheme}://[{shown}]:{port}/" if ":" in shown else f"{scheme}://{shown}:{port}/"


def other_addresses(settings: Settings, host: str, port: int) -> list[str]:
    """Give the addresses at which a console that listens on every one is reached from the network, a few of them."""
    if loopback_of(host) == host:
        return []
    found = sorted(map(ipaddress.ip_address, local_addresses()), key=lambda ip: (ip.version, int(ip)))
    outside = [str(ip) for ip in found if not ip.is_loopback and (ip.version == 4 or host == "::")]
    return [console_address(settings, address, port) for address in outside[:OTHERS]]


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the data folder; raises Unavailable if another platform does."""
    hint = "Choose another one with --data-dir or THINGWARD_DATA_DIR."
    try:
        settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidInput(f"the data folder {settings.home} cannot be made: {error.strerror}.", hint=hint) from error
    if settings.home.stat().st_uid != os.geteuid():
        raise InvalidInput(f"{settings.home} belongs to another user.", hint=hint)
    try:
        fd = os.open(settings.run_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(
            f"the data folder {settings.home} cannot be written: {error.strerror}.", hint=hint
        ) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(
                f"the platform runs already with {settings.home}.", hint="Stop it, or choose another --data-dir."
            ) from None
        yield
    finally:
        os.close(fd)
