"""The process: settings in, a listening server out, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import uvicorn

from thingward import __version__
from thingward.adapters.tls.self_made import ensure_certificate
from thingward.apps.server.app import create_app
from thingward.apps.server.backend import Options
from thingward.apps.server.platform import PlatformBackend
from thingward.model.errors import InvalidInput, Unavailable
from thingward.runtime.capabilities import keep_capabilities
from thingward.runtime.child import Serve
from thingward.runtime.compose import limits_of
from thingward.runtime.config import Settings, describe_settings

BACKLOG: Final = 128
CONNECTION_LIMIT: Final = 400
GRACE_S: Final = 3
#: Judges a dropped capture: `{capture}` and `{output}` are filled in.
GUARD_COMMAND: Final = (sys.executable, "-P", "-m", "thingward.apps.server.judge", "{capture}", "{output}")

_log = structlog.get_logger("server")


class Tls(msgspec.Struct, frozen=True):
    """Certificate chain and key; `note` says to people who made it, empty if it was given."""

    chain: str
    key: str
    note: str = ""


class _Server(uvicorn.Server):
    """Leaves signals alone: the process's own handlers stop it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


def serving(listen_fd: int) -> Serve:
    """Give the function that `run_child` runs.

    Args:
        listen_fd: an already bound socket; negative: bind by the settings.
    """
    return partial(_serve, listen_fd=listen_fd)


async def _serve(settings: Settings, stop: asyncio.Event, *, listen_fd: int) -> None:
    await run_server(settings, stop, listen_fd=listen_fd)


async def run_server(settings: Settings, stop: asyncio.Event, *, listen_fd: int = -1) -> None:
    """Serve API and console until told to stop.

    Raises:
        Unavailable: the address is taken. InvalidInput: a certificate without its key.
    """
    keep_capabilities(())
    listener = socket.socket(fileno=listen_fd) if listen_fd >= 0 else bind(settings.server.host, settings.server.port)
    host = str(listener.getsockname()[0])
    tls = choose_tls(settings, host)
    backend = PlatformBackend(settings)
    options = make_options(settings, is_local=is_loopback(host), tls=tls)
    server = _Server(make_config(create_app(backend, options), tls))
    await backend.start()
    _log.info("started", host=host, port=listener.getsockname()[1], tls=tls is not None)
    try:
        await _until(server, listener, stop)
    finally:
        await backend.close()
        listener.close()


async def _until(server: _Server, listener: socket.socket, stop: asyncio.Event) -> None:
    running = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await running
    if not stop.is_set():
        raise Unavailable("the server ended by itself.", hint="Its log says why.")


def make_config(app: Any, tls: Tls | None) -> uvicorn.Config:
    """Say how uvicorn runs: no access log (addresses hold secrets of links), no trust in proxies' headers."""
    return uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=CONNECTION_LIMIT,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=tls.chain if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address; raises Unavailable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}.", hint="Choose another port.") from error


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    return host == "::1" or host.startswith("127.")


def choose_tls(settings: Settings, host: str) -> Tls | None:
    """Give the certificate to use: the one that was given, else one of our own; None on loopback without one.

    Raises:
        InvalidInput: a certificate was given without its key, or a file is not there.
    """
    given = settings.server
    if given.tls_certificate or given.tls_key:
        for name, path in (("server.tls_certificate", given.tls_certificate), ("server.tls_key", given.tls_key)):
            if not path or not Path(path).is_file():
                raise InvalidInput(f"{name}: there is no file {path!r}.", hint="Give certificate and key, or neither.")
        return Tls(given.tls_certificate, given.tls_key)
    if is_loopback(host):
        return None
    made = ensure_certificate(settings.home / "tls", certificate_names(host), time.time())
    note = (
        "This console's certificate was made by this machine itself, so browsers warn at first. Compare the "
        f"fingerprint, or import {made.ca} as a trusted authority. SHA-256 {made.fingerprint}"
    )
    return Tls(str(made.chain), str(made.key), note)


def certificate_names(host: str) -> list[str]:
    """List under which names and addresses the console may be asked for."""
    name = socket.gethostname()
    names = {"localhost", "127.0.0.1", "::1", name, socket.getfqdn(), f"{name}.local"}
    if host in ("0.0.0.0", "::"):
        with contextlib.suppress(OSError):
            names |= {str(row[4][0]).partition("%")[0] for row in socket.getaddrinfo(name, None)}
    else:
        names.add(host)
    return [name for name in names if name and name.isascii()]


def make_options(settings: Settings, *, is_local: bool, tls: Tls | None) -> Options:
    """Tell the application what it needs of the settings."""
    server = settings.server
    return Options(
        data_dir=settings.home,
        version=__version__,
        site=settings.site.name,
        demo=settings.site.simulated,
        demo_note="Every device, name and address of it is made up." if settings.site.simulated else "",
        secure=tls is not None,
        certificate_note=tls.note if tls else "",
        metrics_open=is_local,
        interfaces=settings.sensor.interfaces,
        limits=limits_of(settings),
        file_settings=tuple((name, _value(settings, name), text) for name, _, _, text in describe_settings()),
        guard_command=(*GUARD_COMMAND, settings.site.name),
        upload_limit_bytes=server.upload_limit_mb * 2**20,
        capture_time_limit_s=server.capture_time_limit_s,
        capture_memory_bytes=server.capture_memory_mb * 2**20,
    )


def _value(settings: Settings, dotted: str) -> str:
    found: Any = settings
    for part in dotted.split("."):
        found = getattr(found, part)
    if isinstance(found, tuple):
        return ", ".join(str(part) for part in found)
    return str(found).lower() if isinstance(found, bool) else str(found)
