"""What a person sees first: the console's address and a one-time login link; and how the command line gets in."""

from __future__ import annotations

import os
import secrets
import time
from typing import Final

from thingward.model.codec import decode_batch
from thingward.model.errors import ThingwardError
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, CreateLoginLink, CreateToken, Intent, IntentBody, RevokeToken
from thingward.model.principal import Role, Session, Token
from thingward.ports.control_store import ControlStore
from thingward.ports.link import LinkClient
from thingward.runtime.channels import INTENT, decode_answer, encode_intent
from thingward.runtime.compose import open_control_reader
from thingward.runtime.config import Settings
from thingward.runtime.local_access import LocalAccess, write_local_access

#: Who asks in the audit log.
PRINCIPAL: Final = "supervisor"
ACCESS_NAME: Final = "command line on this machine"
TOKEN_S: Final = 365 * 86400.0
ASK_S: Final = 10.0


class Greeting:
    """Asks core for a login link, and for a token that the command line finds in the run folder.

    Args:
        address: what people are told. local_address: how programs on this machine reach it, if by another one.
    """

    def __init__(self, settings: Settings, core: LinkClient, address: str, local_address: str = "") -> None:
        self._settings = settings
        self._core = core
        self._address = address
        self._local_address = local_address or address
        self._token = ""

    async def lines(self) -> list[str]:
        """Give what is printed, the console's address first."""
        lines = [f"Console: {self._address}"]
        try:
            link = await self._ask(CreateLoginLink())
            owner = next(record for record in decode_batch(link.records) if isinstance(record, Session)).principal
            lines.append(f"Log in once with: {self._address}login/{link.secret}")
            await self._grant(owner)
        except (ThingwardError, StopIteration) as error:
            lines.append(f"No login link: {error}")
        return lines

    async def revoke(self) -> None:
        """Take the command line's token back."""
        if self._token:
            token, self._token = self._token, ""
            try:
                await self._ask(RevokeToken(token=token))
            except ThingwardError:
                pass  # core is gone: the next start revokes it

    async def _grant(self, owner: str) -> None:
        await self._revoke_old()
        answer = await self._ask(CreateToken(principal=owner, name=ACCESS_NAME, scopes=("*",), ttl_s=TOKEN_S))
        self._token = next(record.uid for record in decode_batch(answer.records) if isinstance(record, Token))
        ca_file = self._settings.home / "tls" / "ca.pem"
        has_own = self._address.startswith("https") and not self._settings.server.tls_certificate and ca_file.exists()
        access = LocalAccess(
            url=self._local_address,
            token=answer.secret,
            ca_file=str(ca_file) if has_own else "",
            pid=os.getpid(),
        )
        write_local_access(self._settings.run_dir, access)

    async def _revoke_old(self) -> None:
        """Revoke what a supervisor that was killed could not."""
        control: ControlStore = open_control_reader(self._settings)
        try:
            held = control.page(DEFAULT_TENANT, Token, where={"revoked": "false"}, search=ACCESS_NAME).items
        finally:
            control.close()
        for token in held:
            if token.name == ACCESS_NAME:
                await self._ask(RevokeToken(token=token.uid))

    async def _ask(self, body: IntentBody) -> Answer:
        intent = Intent(
            uid=secrets.token_hex(16),
            tenant=DEFAULT_TENANT,
            principal=PRINCIPAL,
            role=Role.ADMIN,
            time=time.time(),
            body=body,
        )
        answer = decode_answer(await self._core.call(INTENT, encode_intent(intent), timeout_s=ASK_S))
        if not answer.ok:
            raise ThingwardError(answer.message)
        return answer
