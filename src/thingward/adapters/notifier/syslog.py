"""Syslog (RFC 5424) over UDP, TCP or TLS: findings, cases, actions and their outcomes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from thingward.model.action import Action, Outcome
from thingward.model.errors import InvalidInput, Unavailable
from thingward.model.finding import Case, Finding
from thingward.model.flow import Notify
from thingward.model.principal import AuditEntry
from thingward.model.record import Record
from thingward.wire.syslog_encode import encode_syslog, frame_octets

TIMEOUT_S = 5.0
_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}


class SyslogNotifier:
    """Sends one line per record; over TCP and TLS it keeps one connection and opens it again after a failure."""

    name = "syslog"

    def __init__(self, address: str, clock: Callable[[], float], *, tls_ca: str = "") -> None:
        self._clock = clock
        parts = urlsplit(address)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise InvalidInput(
                f"notify.syslog.address cannot be {address!r}.", hint="Use udp://, tcp:// or tls://host:port."
            )
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
        self._context = ssl.create_default_context(cafile=tls_ca or None) if parts.scheme == "tls" else None
        self._writer: asyncio.StreamWriter | None = None
        self._own_name = socket.gethostname()

    async def notify(self, tenant: str, message: Notify) -> None:
        """Send a message for people as a line, so that the test button reaches this channel too."""
        fields = {"tenant": tenant, "uid": message.uid, "case": message.case, "device": message.device}
        await self._send("notice", message.urgency, message.title, fields)

    async def export(self, tenant: str, record: Record) -> None:
        """Send one record; kinds that are not security events are left out."""
        described = _describe(record)
        if described is not None:
            kind, severity, text, fields = described
            await self._send(kind, severity, text, {"tenant": tenant, "uid": record.uid, **fields}, record.time)

    async def _send(
        self, kind: str, severity: int, text: str, fields: dict[str, str], time: float | None = None
    ) -> None:
        line = encode_syslog(
            time=self._clock() if time is None else time,
            host=self._own_name,
            kind=kind,
            severity=severity,
            text=text,
            fields=fields,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await (self._send_datagram(line) if self._scheme == "udp" else self._send_stream(line))
        except (OSError, TimeoutError) as error:
            self._writer = None
            raise Unavailable(f"syslog failed: {type(error).__name__}.", hint="Check notify.syslog.address.") from error

    async def _send_datagram(self, line: bytes) -> None:
        loop = asyncio.get_running_loop()
        where = (await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM))[0]
        with socket.socket(where[0], socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            await loop.sock_sendto(sender, line, where[4])

    async def _send_stream(self, line: bytes) -> None:
        if self._writer is None or self._writer.is_closing():
            _, self._writer = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        self._writer.write(frame_octets(line))
        await self._writer.drain()


def _describe(record: Record) -> tuple[str, int, str, dict[str, str]] | None:
    match record:
        case Finding():
            fields = {"rule": record.rule, "device": record.device, "case": record.case, "reason": record.reason}
            return "finding", record.severity, record.title, fields
        case Case():
            return "case", record.severity, f"case {record.state}: {record.title}", {"device": record.device}
        case Action():
            fields = {"device": record.device, "state": record.state, "by": record.requested_by, "case": record.case}
            return "action", 3, f"{record.kind} {record.state}: {record.reason}", fields
        case Outcome():
            return "outcome", 3, f"{record.status} by {record.enforcer}", {"action": record.action}
        case AuditEntry():
            fields = {"principal": record.principal, "target": record.target, "result": record.result}
            return "audit", 1, f"{record.action}: {record.result}", fields
    return None
