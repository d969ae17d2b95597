"""The server process: a listener from the supervisor, the platform's backend, the application on uvicorn."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager

import structlog
import uvicorn

from thingward._version import __version__
from thingward.apps.server.app import create_app
from thingward.apps.server.backend import Options
from thingward.apps.server.platform import connect
from thingward.model.errors import ThingwardError
from thingward.model.ids import DEFAULT_TENANT
from thingward.runtime.capabilities import keep_capabilities
from thingward.runtime.compose import limits_of
from thingward.runtime.config import Settings, describe_settings
from thingward.runtime.console_tls import console_certificate
from thingward.runtime.own_addresses import is_loopback

DEMO_NOTE = "Every device is simulated and lives in network namespaces of this machine; nothing real is touched."
GRACE_S = 3
CONNECTION_LIMIT = 400
#: How often the console's certificate is looked at: a given one may have been replaced, our own made anew.
RENEW_S = 300.0

_log = structlog.get_logger("server")


async def serve(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve API and console until told to stop."""
    keep_capabilities(())
    host = str(listener.getsockname()[0])
    secure = bool(settings.server.tls_certificate) or not is_loopback(host)
    certificate = console_certificate(settings, host) if secure else None
    backend = await connect(settings)
    config = uvicorn.Config(
        create_app(backend, server_options(settings, secure=secure, note=certificate.note if certificate else "")),
        loop="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # else anybody on this machine could name another address, past the lock-out of sign-ins
        ws="none",
        limit_concurrency=CONNECTION_LIMIT,
        date_header=True,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=certificate.chain_file if certificate else None,
        ssl_keyfile=certificate.key_file if certificate else None,
    )
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    renewing = asyncio.create_task(_renew(config, settings, host)) if secure else None
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        stopping.cancel()
        if renewing is not None:
            renewing.cancel()
        await backend.close()


async def _renew(config: uvicorn.Config, settings: Settings, host: str) -> None:
    """Look every few minutes whether the certificate still fits; new connections get the new one."""
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            certificate = await asyncio.to_thread(console_certificate, settings, host)
            if config.ssl is not None:
                config.ssl.load_cert_chain(certificate.chain_file, certificate.key_file)
        except (ThingwardError, OSError) as error:
            _log.warning("certificate not renewed", reason=str(error))


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the process's own shell."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Do nothing: `runtime.child` has them."""
        yield


def server_options(settings: Settings, *, secure: bool, note: str) -> Options:
    """Say what the application is told."""
    values = {name: value for name, _, value, _ in settings_table(settings)}
    rows = tuple((name, values[name], text) for name, _, _, text in describe_settings() if name in values)
    return Options(
        data_dir=settings.home,
        version=__version__,
        tenant=DEFAULT_TENANT,
        site=settings.site.name,
        demo=settings.site.simulated,
        demo_note=DEMO_NOTE if settings.site.simulated else "",
        secure=secure,
        certificate_note=note,
        metrics_open=not secure,
        interfaces=settings.sensor.interfaces,
        networks=settings.site.networks,
        limits=limits_of(settings),
        file_settings=rows,
        guard_command=(
            sys.executable,
            "-P",
            "-m",
            "thingward.apps.server.judge",
            "{capture}",
            "{output}",
            settings.site.name,
        ),
        upload_limit_bytes=settings.server.upload_limit_mb << 20,
        capture_time_limit_s=settings.server.capture_time_limit_s,
        capture_memory_bytes=settings.server.capture_memory_mb << 20,
    )


def settings_table(settings: Settings) -> list[tuple[str, str, str, str]]:
    """List settings with the values in force; paths of secrets stay, secrets are never in settings."""
    rows = []
    for name, kind, _, text in describe_settings():
        value: object = settings
        for part in name.split("."):
            value = getattr(value, part)
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        rows.append((name, kind, shown, text))
    return rows
