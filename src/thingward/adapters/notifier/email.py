"""E-mail by SMTP: plain text, one message per notification."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal

from thingward.model.errors import Unavailable
from thingward.model.flow import Notify
from thingward.model.record import Record

TIMEOUT_S = 15.0


class EmailNotifier:
    """Sends through one server. TLS is verified against the system's CAs; a password never goes out in clear.

    Args:
        console: address of the console, for a link to the case; empty for none.
    """

    name = "email"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sender: str,
        to: tuple[str, ...],
        security: Literal["starttls", "tls", "none"] = "starttls",
        user: str = "",
        password: str = "",
        context: ssl.SSLContext | None = None,
        console: str = "",
    ) -> None:
        self._host, self._port = host, port
        self._sender, self._to = sender, to
        self._security = security
        self._user, self._password = user, password
        self._context = context
        self._console = console.rstrip("/")

    async def notify(self, tenant: str, message: Notify) -> None:
        """Send one message; raises Unavailable if the server is away or refuses."""
        try:
            await asyncio.to_thread(self._send, _letter(message, self._sender, self._to, self._console))
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable(f"e-mail failed: {type(error).__name__}.", hint="Check notify.email.") from error

    async def export(self, tenant: str, record: Record) -> None:
        """Records are not for people."""

    def _send(self, letter: EmailMessage) -> None:
        context = self._context or ssl.create_default_context()
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
        with server:
            if self._security == "starttls":
                server.starttls(context=context)
            if self._user and self._security != "none":
                server.login(self._user, self._password)
            server.send_message(letter)


def _letter(message: Notify, sender: str, to: tuple[str, ...], console: str) -> EmailMessage:
    letter = EmailMessage()
    # A title comes partly from the network: no line break may reach a header.
    letter["Subject"] = " ".join(f"[thingward] {message.title}".split())[:200]
    letter["From"] = sender
    letter["To"] = ", ".join(to)
    letter["Date"] = formatdate(usegmt=True)
    # The uid stays the same when it is tried again: mail servers drop the second copy.
    letter["Message-ID"] = f"<{message.uid}@thingward.invalid>"
    letter["Auto-Submitted"] = "auto-generated"
    where = f"\n\nCase {message.case}" if message.case else ""
    if console:
        where += f"\n\n{console}/cases/{message.case}" if message.case else f"\n\n{console}"
    letter.set_content(f"{message.text}{where}\n")
    return letter
