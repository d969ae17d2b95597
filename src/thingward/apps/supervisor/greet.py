"""What a person needs to begin: a one-time login link, and a token for the command line of the same user."""

from __future__ import annotations

import os
import time
import uuid
from typing import Final

from thingward.adapters.link.unix import UnixLinkClient
from thingward.model.codec import decode_batch
from thingward.model.errors import ThingwardError, Unavailable
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, CreateLoginLink, CreateToken, Intent, IntentBody, RevokeToken
from thingward.model.principal import Role, Token
from thingward.runtime import channels
from thingward.runtime.config import Settings
from thingward.runtime.desk_identity import user_uid
from thingward.runtime.local_access import LocalAccess, read_local_access, remove_local_access, write_local_access

TOKEN_TTL_S: Final = 366 * 86400.0
ADMIN: Final = "admin"


class Greeter:
    """Speaks to core as the supervisor: whoever may start the platform owns its data folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._core = UnixLinkClient(channels.socket_of(settings, "core"), name="supervisor")
        self._token = ""

    async def start(self) -> None:
        """Begin to connect."""
        await self._core.start()

    async def is_ready(self) -> bool:
        """Tell whether core answers."""
        try:
            await self._core.call(channels.PING, b"", timeout_s=1.0)
        except ThingwardError:
            return False
        return True

    async def make_link(self) -> str:
        """Give the path of a new one-time login link; the first one makes the admin."""
        answer = await self._ask(CreateLoginLink(user=ADMIN))
        return f"/login/{answer.secret}"

    async def open_local(self, url: str, ca_file: str) -> None:
        """Leave address and token for the command line, in place of those of an earlier run."""
        old = read_local_access(self._settings.run_dir)
        if old is not None and old.token_uid:
            await self._revoke(old.token_uid)
        owner = user_uid(DEFAULT_TENANT, ADMIN)
        answer = await self._ask(
            CreateToken(principal=owner, name="local command line", scopes=("*",), ttl_s=TOKEN_TTL_S)
        )
        token = next(record for record in decode_batch(answer.records) if isinstance(record, Token))
        self._token = token.uid
        access = LocalAccess(url=url, token=answer.secret, token_uid=token.uid, ca_file=ca_file, pid=os.getpid())
        write_local_access(self._settings.run_dir, access)

    async def close(self) -> None:
        """Revoke the local token and stop."""
        remove_local_access(self._settings.run_dir)
        if self._token:
            await self._revoke(self._token)
        await self._core.close()

    async def _revoke(self, token: str) -> None:
        try:
            await self._ask(RevokeToken(token=token))
        except ThingwardError:
            return

    async def _ask(self, body: IntentBody) -> Answer:
        intent = Intent(
            uid=uuid.uuid4().hex,
            tenant=DEFAULT_TENANT,
            principal=user_uid(DEFAULT_TENANT, ADMIN),
            role=Role.ADMIN,
            time=time.time(),
            address="supervisor",
            body=body,
        )
        raw = await self._core.call(channels.INTENT, channels.encode_intent(intent), timeout_s=5.0)
        answer = channels.decode_answer(raw)
        if not answer.ok:
            raise Unavailable(f"core refused: {answer.message}")
        return answer
