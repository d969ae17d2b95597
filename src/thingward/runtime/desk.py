"""The desk where every intent of a person is decided: role checked again, audited, answered once per uid.

Handlers are pure towards the world: they read the control store and return records; core journals these, feeds them
to the road, and only then answers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from thingward.identity.access import verify_allowed
from thingward.model.codec import encode_batch
from thingward.model.errors import InvalidInput, ThingwardError, UnsupportedHere
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import Answer, CreateSession, EndSession, Intent
from thingward.model.principal import AuditEntry
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore

B = TypeVar("B")
REMEMBERED_ANSWERS = 10_000
#: A repeat of an intent that made more than this is answered without the records.
REMEMBERED_BYTES = 65_536


class DeskContext(msgspec.Struct, frozen=True):
    """What a handler may use: the store to read, a source of randomness, the time, settings of the desk."""

    control: ControlStore
    random: Callable[[int], bytes]
    now: float
    session_ttl_s: float = 12 * 3600.0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler decided: records for the road (none on dry run), plan lines, a secret shown once.

    Attributes:
        is_told: the answer carries the records; not those that whoever asked has sent.
    """

    records: tuple[Record, ...] = ()
    plan: tuple[str, ...] = ()
    secret: str = ""
    path: str = ""
    target: str = ""
    detail: str = ""
    is_told: bool = True


Handler = Callable[[Intent, DeskContext], Decision]


class Desk:
    """Takes intents in, gives answers and records out; remembers answers so that a repeat is done once."""

    def __init__(self, handlers: Mapping[type, Handler], *, session_ttl_s: float = 12 * 3600.0) -> None:
        self._handlers = dict(handlers)
        self._session_ttl_s = session_ttl_s
        self._answers: OrderedDict[tuple[str, str, str], Answer] = OrderedDict()

    def handle(
        self, intent: Intent, control: ControlStore, *, random: Callable[[int], bytes], now: float
    ) -> tuple[Answer, tuple[Record, ...]]:
        """Decide one intent.

        Returns:
            The answer, and the records to journal and feed to the road before the answer goes out. Refusals are
            audited too.
        """
        key = (intent.tenant, intent.principal, intent.uid)
        known = self._answers.get(key)
        if known is not None:
            return known, ()
        context = DeskContext(control, random, now, self._session_ttl_s)
        try:
            verify_allowed(intent)
            handler = self._handlers.get(type(intent.body))
            if handler is None:
                raise UnsupportedHere(f"{_name(intent)} is not available on this platform.")
            decision = handler(intent, context)
        except ThingwardError as error:
            answer = Answer(
                ok=False, code=error.code, message=str(error), status=error.status, retryable=error.retryable
            )
            audit = _audit(intent, now, result=error.code, detail=str(error))
            return answer, (audit,)
        answer = Answer(
            ok=True,
            records=encode_batch(decision.records) if decision.is_told else b"",  # type: ignore[arg-type]
            plan=decision.plan,
            secret=decision.secret,
            path=decision.path,
        )
        if intent.body.dry_run:
            return answer, ()
        if not decision.secret:
            self._remember(key, answer)
        audit = _audit(intent, now, target=decision.target, detail=decision.detail or "; ".join(decision.plan)[:500])
        return answer, (*decision.records, audit)

    def _remember(self, key: tuple[str, str, str], answer: Answer) -> None:
        if len(answer.records) > REMEMBERED_BYTES:
            answer = msgspec.structs.replace(answer, records=b"")
        self._answers[key] = answer
        while len(self._answers) > REMEMBERED_ANSWERS:
            self._answers.popitem(last=False)


def body_of(intent: Intent, kind: type[B]) -> B:
    """Give the intent's body as what its handler expects; raises InvalidInput for another."""
    if not isinstance(intent.body, kind):
        raise InvalidInput(f"{kind.__name__} expected.")
    return intent.body


def _name(intent: Intent) -> str:
    return str(intent.body.__struct_config__.tag)


def _audit(intent: Intent, now: float, *, result: str = "ok", target: str = "", detail: str = "") -> AuditEntry:
    body = intent.body
    who = intent.principal
    if isinstance(body, CreateSession | EndSession) and not who:
        who = getattr(body, "user", "") or "login link"
    return AuditEntry(
        uid=Uid("a-" + hashed_uid("audit", intent.tenant, who, intent.uid, f"{now:.6f}")[:24]),
        tenant=Tenant(intent.tenant),
        time=now,
        source="core",
        parents=(intent.uid,),
        principal=who,
        action=_name(intent),
        target=target or _target(intent),
        result=result,
        detail=detail[:1000],
        address=intent.address,
        request=intent.uid,
    )


def _target(intent: Intent) -> str:
    for field in ("device", "case", "target", "approval", "rule", "name", "token", "session", "channel", "source"):
        value = getattr(intent.body, field, "")
        if isinstance(value, str) and value:
            return value
    return ""
