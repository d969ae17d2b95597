"""The simulated internet: servers of every protocol that the devices speak, on every address of the cloud."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from thingward.apps.simulator.messages import (
    A,
    dns_answer,
    dns_question,
    http_answer,
    mqtt_answer,
    ntp_packet,
)
from thingward.apps.simulator.site import CLOUD, SampleSite
from thingward.runtime.netns import NetworkNamespace

_PKTINFO: Final = struct.Struct("=I4s4s")
_IP_PKTINFO: Final = 8
MAX_BYTES: Final = 1 << 20
IDLE_S: Final = 600.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Reply = Callable[[bytes], bytes]


class UdpServer:
    """Answers datagrams from the address that they were sent to.

    Attributes:
        packets, last: how many came, and when the last one did (seconds since 1970).
    """

    def __init__(self, namespace: NetworkNamespace, host: str, port: int, reply: Reply) -> None:
        self.packets = 0
        self.last = 0.0
        self._reply = reply
        self._sock = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._sock.bind((host, port))
        asyncio.get_running_loop().add_reader(self._sock, self._read)

    def _read(self) -> None:
        for _ in range(64):
            try:
                data, extra, _, sender = self._sock.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except OSError:
                continue
            self.packets += 1
            self.last = time.time()
            answer = self._reply(data)
            if answer:
                _, _, to = _PKTINFO.unpack(extra[0][2]) if extra else (0, bytes(4), bytes(4))
                back = _PKTINFO.pack(0, to, bytes(4))
                with contextlib.suppress(OSError):
                    self._sock.sendmsg([answer], [(socket.IPPROTO_IP, _IP_PKTINFO, back)], 0, sender)

    def close(self) -> None:
        """Stop."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


class Cloud:
    """All servers of the cloud.

    Attributes:
        sink: a port that answers nothing and remembers when something came.
    """

    def __init__(self, site: SampleSite, namespace: NetworkNamespace) -> None:
        self.authority, self._context = _certificates(site)
        self._site = site
        self._namespace = namespace
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[UdpServer] = []
        self._turn = 0
        self.sink: UdpServer

    async def start(self) -> None:
        """Listen."""
        calls = [(talk.way, talk.port) for device in self._site.devices for talk in device.talks]
        serves: dict[str, tuple[Serve, bool]] = {
            "tls": (serve_sized, True),
            "mqtts": (serve_mqtt, True),
            "mqtt": (serve_mqtt, False),
            "http": (serve_http("cloud"), False),
        }
        for way, port in sorted({call for call in calls if call[0] in serves}):
            serve, is_tls = serves[way]
            self._servers.append(await listen(self._namespace, port, serve, self._context if is_tls else None))
        for port in sorted({port for way, port in calls if way == "udp"}):
            self._datagrams.append(UdpServer(self._namespace, "0.0.0.0", port, lambda data: data[:44]))
        self._datagrams.append(UdpServer(self._namespace, "0.0.0.0", 123, _tell_time))
        self._datagrams.append(UdpServer(self._namespace, CLOUD, 53, self._resolve))
        self.sink = UdpServer(self._namespace, "0.0.0.0", 9, lambda _: b"")
        self._datagrams.append(self.sink)

    async def close(self) -> None:
        """Stop."""
        for server in self._servers:
            server.close()
        for datagrams in self._datagrams:
            datagrams.close()

    def _resolve(self, data: bytes) -> bytes:
        question = dns_question(data)
        if question is None:
            return b""
        number, name, kind = question
        addresses = self._site.names.get(name, ())
        self._turn += 1
        start = self._turn % len(addresses) if addresses else 0
        given = (*addresses[start:], *addresses[:start]) if kind == A else ()
        return dns_answer(number, name, kind, given, known=name in self._site.names)


async def listen(
    namespace: NetworkNamespace, port: int, serve: Serve, context: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Listen on all addresses of a namespace."""
    sock = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(IDLE_S):
                await serve(reader, writer)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            pass  # the other side went away, or was shut out: that is what this site is for
        finally:
            writer.close()

    return await asyncio.start_server(guarded, sock=sock, ssl=context, ssl_handshake_timeout=8.0 if context else None)


async def serve_sized(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take `<up> <down>` and that many bytes, give that many back."""
    while line := await reader.readline():
        up, down = (min(int(word), MAX_BYTES) for word in line.split())
        await reader.readexactly(up)
        writer.write(bytes(down))
        await writer.drain()


async def serve_mqtt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a broker that takes everything and tells nobody."""
    while True:
        first = (await reader.readexactly(1))[0]
        size = shift = 0
        while shift < 28:
            byte = (await reader.readexactly(1))[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        await reader.readexactly(min(size, MAX_BYTES))
        writer.write(mqtt_answer(first))
        await writer.drain()


def serve_http(server: str) -> Serve:
    """Answer every request with a small page."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http_answer(b"simulated\n" * 40, server))
        await writer.drain()

    return serve


def _tell_time(data: bytes) -> bytes:
    return ntp_packet(time.time(), answer=True, origin=data[40:48]) if len(data) == 48 else b""


def _certificates(site: SampleSite) -> tuple[str, ssl.SSLContext]:
    """Make an authority and one server certificate for all names; gives the authority's PEM and the server's context."""
    now = datetime.datetime.now(datetime.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Simulated authority")])
    root = _sign(issuer, issuer, root_key, root_key, now, x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in sorted(site.names)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Simulated cloud")])
    leaf = _sign(subject, issuer, key, root_key, now, names)
    pem = leaf.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.pem"
        path.write_bytes(pem)
        context.load_cert_chain(path)
    return root.public_bytes(serialization.Encoding.PEM).decode(), context


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(signer, hashes.SHA256())
    )
