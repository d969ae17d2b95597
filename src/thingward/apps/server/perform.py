"""Every change that a person asks for goes through here: an intent to core, an answer or an error back."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import Final

import msgspec

from thingward.apps.server.backend import Backend, Options
from thingward.apps.server.callers import Caller
from thingward.apps.server.metrics import Metrics
from thingward.model.codec import AnyRecord, decode_batch
from thingward.model.errors import InvalidInput, ThingwardError
from thingward.model.ids import hashed_uid
from thingward.model.intent import Answer, Intent, IntentBody

KEY_LIMIT: Final = 200
REMEMBERED_KEYS: Final = 10_000


class RefusedByCore(ThingwardError):
    """Core refused; code, status and retryable are those that it gave."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message or "core refused without a reason.")
        self.code = answer.code or "internal"
        self.status = answer.status if answer.status >= 400 else 500
        self.retryable = answer.retryable


class KeyReused(InvalidInput):
    """The same Idempotency-Key came with another request."""

    code = "input.idempotency_key_reused"


class Done(msgspec.Struct, frozen=True):
    """What core answered, with its records decoded."""

    answer: Answer
    records: tuple[AnyRecord, ...]


class Performer:
    """Hands intents to core on behalf of callers."""

    def __init__(self, backend: Backend, options: Options, metrics: Metrics) -> None:
        self._backend = backend
        self._tenant = options.tenant
        self._metrics = metrics
        self._keys: OrderedDict[str, bytes] = OrderedDict()

    async def perform(self, caller: Caller, body: IntentBody, *, key: str = "") -> Done:
        """Ask core and give what it did.

        Args:
            key: the caller's Idempotency-Key; the same key is done once.
        Raises:
            RefusedByCore: core said no.
            KeyReused: the key came before with another body.
            Unavailable: core is away.
        """
        uid = self._uid(caller, body, key)
        intent = Intent(
            uid=uid,
            tenant=self._tenant,
            principal=caller.uid,
            role=caller.role,
            time=self._backend.now(),
            address=caller.address,
            body=body,
        )
        answer = await self._backend.ask(intent)
        self._metrics.count(
            "intents_total", kind=str(body.__struct_config__.tag), result="ok" if answer.ok else answer.code
        )
        if not answer.ok:
            raise RefusedByCore(answer)
        return Done(answer, tuple(decode_batch(answer.records)) if answer.records else ())

    def _uid(self, caller: Caller, body: IntentBody, key: str) -> str:
        if not key:
            return secrets.token_hex(16)
        if len(key) > KEY_LIMIT or not key.isprintable():
            raise InvalidInput(f"an Idempotency-Key has 1 to {KEY_LIMIT} printable characters.")
        uid = hashed_uid("intent", self._tenant, caller.uid, key)
        digest = hashlib.sha256(msgspec.msgpack.encode(body)).digest()
        if self._keys.setdefault(uid, digest) != digest:
            raise KeyReused("this Idempotency-Key came before with another request.", hint="Take a new key.")
        while len(self._keys) > REMEMBERED_KEYS:
            self._keys.popitem(last=False)
        return uid
