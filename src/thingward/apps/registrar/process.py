"""The process: opens the CA and the log, serves EST by TLS and OCSP and CRL by HTTP, tells core what it issued."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from thingward.adapters.link.unix import UnixLinkClient
from thingward.apps.registrar.issued import IssuedLog
from thingward.apps.registrar.office import Office
from thingward.apps.registrar.web import Counter, server_context
from thingward.model.certificate import Template
from thingward.model.errors import ThingwardError, Unavailable
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, Intent
from thingward.ports.authority import Authority
from thingward.runtime import channels
from thingward.runtime.capabilities import keep_capabilities
from thingward.runtime.compose import open_authority, open_control_reader
from thingward.runtime.config import Settings
from thingward.runtime.own_addresses import local_addresses

SERVER_DAYS: Final = 90.0
RENEW_S: Final = 86_400.0
CHORE_S: Final = 2.0
BACKLOG: Final = 128
KEEPALIVE_S: Final = 5.0
CALL_S: Final = 10.0
#: Most addresses of this host that its certificate names.
MAX_ADDRESSES: Final = 32

_log = structlog.get_logger("registrar")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until told to stop."""
    folder = settings.home / "registrar"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    link = UnixLinkClient(channels.socket_of(settings, "core"), name="registrar")

    async def ask(intent: Intent) -> Answer:
        return channels.decode_answer(
            await link.call(channels.INTENT, channels.encode_intent(intent), timeout_s=CALL_S)
        )

    authority = open_authority(settings, time.time())
    office = Office(
        authority,
        IssuedLog(folder / "issued.db"),
        ask,
        lambda: open_control_reader(settings),
        tenant=DEFAULT_TENANT,
        url=status_url(settings),
        clock=time.time,
    )
    certify_server(authority, settings, folder, time.time())
    context = server_context(authority.chain(), str(folder / "server.pem"), str(folder / "server.key"))
    counter = Counter(office, time.monotonic)
    est, status = settings.registrar.port, settings.registrar.status_port
    runners = [
        await _listen(counter.est(), settings.registrar.host, est, context),
        await _listen(counter.status(), settings.registrar.host, status, None),
    ]
    keep_capabilities(())
    await link.start()
    _log.info("started", est=est, status=status)
    chores = asyncio.create_task(_chores(office, authority, settings, context))
    try:
        await stop.wait()
    finally:
        chores.cancel()
        await asyncio.gather(chores, return_exceptions=True)
        for runner in runners:
            await runner.cleanup()
        await link.close()
        office.close()


async def _chores(office: Office, authority: Authority, settings: Settings, context: ssl.SSLContext) -> None:
    """Tell core what it does not know, learn of revocations, renew our own certificate."""
    certified = time.monotonic()
    while True:
        with contextlib.suppress(ThingwardError):
            await office.tell()
        office.refresh()
        if time.monotonic() - certified > RENEW_S:
            folder = settings.home / "registrar"
            certify_server(authority, settings, folder, time.time())
            context.load_cert_chain(folder / "server.pem", folder / "server.key")
            certified = time.monotonic()
        await asyncio.sleep(CHORE_S)


async def _listen(app: web.Application, host: str, port: int, context: ssl.SSLContext | None) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE_S)
    await runner.setup()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        await web.SockSite(runner, sock, ssl_context=context, backlog=BACKLOG).start()
    except OSError as error:
        sock.close()
        await runner.cleanup()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror}.", hint="Set registrar.host, port and status_port."
        ) from error
    return runner


def public_name(settings: Settings) -> str:
    """Give the name by which devices reach this host."""
    given = settings.registrar
    if given.name:
        return given.name
    return socket.gethostname() if _is_any(given.host) else given.host


def status_url(settings: Settings) -> str:
    """Give where OCSP and CRL are."""
    name = public_name(settings)
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{settings.registrar.status_port}"


def certify_server(authority: Authority, settings: Settings, folder: Path, now: float) -> None:
    """Give EST a certificate of the CA, with the names and addresses of this host."""
    key = _server_key(folder / "server.key")
    names, addresses = _names(settings)
    template = Template(
        use="server",
        name=public_name(settings)[:64],
        public_key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        not_before=now - 3600.0,
        not_after=now + SERVER_DAYS * 86_400.0,
        dns_names=names,
        addresses=addresses,
    )
    leaf = ssl.DER_cert_to_PEM_cert(authority.issue(template))
    _write(folder / "server.pem", (leaf + ssl.DER_cert_to_PEM_cert(authority.chain()[0])).encode())


def _names(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    host = settings.registrar.host
    names, addresses = {"localhost", socket.gethostname().lower()}, {"127.0.0.1", "::1"}
    wanted = set(local_addresses()) if _is_any(host) else {host}
    for text in (settings.registrar.name, *sorted(wanted)[:MAX_ADDRESSES]):
        try:
            addresses.add(str(ipaddress.ip_address(text)))
        except ValueError:
            if text:
                names.add(text.lower())
    return tuple(sorted(names)), tuple(sorted(addresses))


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _server_key(path: Path) -> ec.EllipticCurvePrivateKey:
    with contextlib.suppress(OSError, ValueError, TypeError):
        key = load_pem_private_key(path.read_bytes(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
    made = ec.generate_private_key(ec.SECP256R1())
    _write(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(path.suffix + ".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)
    draft.replace(path)
