"""What others send to core: observations of sensors, and intents of people through the server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog

from thingward.apps.core.engine import Engine
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.model.intent import Answer, CreateSession, Intent, PutUser, SetPassword
from thingward.model.observation import Observation
from thingward.model.packed import unpack
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore
from thingward.ports.link import Frame
from thingward.runtime.channels import decode_intent, encode_answer
from thingward.runtime.desk import Desk

#: Intents that hash a password, which takes a tenth of a second: they are decided beside the road, one at a time.
SLOW: Final = (CreateSession, PutUser, SetPassword)
MAX_BATCH: Final = 100_000

#: Carries out what an intent asks of the shell itself; raises if it cannot.
Perform = Callable[[Intent], Awaitable[None]]

_observations = msgspec.msgpack.Decoder(list[Observation])
_log = structlog.get_logger("core")


class Intake:
    """The handlers of the channels `observations` and `intent`.

    Attributes:
        refused: batches that could not be read.
        seen: peers that sent something which is in memory only: they are cut off when the disk is well again.
    """

    def __init__(self, engine: Engine, desk: Desk, control: ControlStore, perform: Perform) -> None:
        self.refused = 0
        self.seen: set[str] = set()
        self._engine = engine
        self._desk = desk
        self._control = control
        self._perform = perform
        self._slow = asyncio.Lock()

    async def take_observations(self, peer: str, frame: Frame) -> Frame | None:
        """Acknowledge when durable; sensors may send observations and nothing else."""
        if self._engine.is_durable(peer, frame.sequence):
            return None
        observations = self._decode(peer, frame.body)
        if await self._engine.submit(observations, stream=peer, sequence=frame.sequence):
            return None
        self.seen.add(peer)
        return Frame(kind="seen")

    async def take_intent(self, peer: str, frame: Frame) -> Frame:
        """Decide, keep, and only then answer."""
        intent = decode_intent(frame.body)
        try:
            answer = await (self._decide_slowly(intent) if isinstance(intent.body, SLOW) else self._decide(intent))
            if answer.ok and not intent.body.dry_run:
                await self._perform(intent)
        except ThingwardError as error:
            answer = refusal(error)
        return Frame(kind="answer", body=encode_answer(answer))

    def _decode(self, peer: str, body: bytes) -> list[Observation]:
        try:
            observations = unpack(_observations, body, "a batch of observations")
        except InvalidInput as error:
            self.refused += 1
            _log.warning("batch refused", peer=peer, reason=str(error))
            raise
        if len(observations) > MAX_BATCH:
            self.refused += 1
            raise InvalidInput(f"a batch holds at most {MAX_BATCH} observations.")
        return observations

    async def _decide(self, intent: Intent) -> Answer:
        answers: list[Answer] = []

        def prepare(now: float) -> Sequence[Record]:
            answer, records = self._handle(intent, now)
            answers.append(answer)
            return records

        return _kept(answers, durable=await self._engine.submit_prepared(prepare))

    async def _decide_slowly(self, intent: Intent) -> Answer:
        async with self._slow:
            now = self._engine.time.now()
            answer, records = await asyncio.to_thread(self._handle, intent, now)
            return _kept([answer], durable=await self._engine.submit_prepared(lambda _: records))

    def _handle(self, intent: Intent, now: float) -> tuple[Answer, tuple[Record, ...]]:
        return self._desk.handle(intent, self._control, random=os.urandom, now=now)


def refusal(error: ThingwardError) -> Answer:
    """Give the answer that carries an error."""
    return Answer(ok=False, code=error.code, message=str(error), status=error.status, retryable=error.retryable)


def _kept(answers: Sequence[Answer], *, durable: bool) -> Answer:
    if not durable:
        raise Unavailable("it was done, but could not be written to disk.", hint="Free some space and look again.")
    return answers[0]
