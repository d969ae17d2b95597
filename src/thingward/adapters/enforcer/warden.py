"""The enforcer as others see it: calls to the warden process over a link."""

from __future__ import annotations

from typing import Final

import msgspec

from thingward.model.action import Action, EnforcementState, Outcome
from thingward.model.errors import Unavailable
from thingward.model.packed import unpack
from thingward.ports.enforcer import EnforcerStatus
from thingward.ports.link import LinkClient, Question

CHANNEL: Final = "enforce"
TIMEOUT_S: Final = 40.0


class Hold(Question, frozen=True, tag="hold"):
    """Put a state in force."""

    state: EnforcementState


class Quarantine(Question, frozen=True, tag="quarantine"):
    """Shut out."""

    action: Action


class Release(Question, frozen=True, tag="release"):
    """Let back in."""

    action: Action


class AskStatus(Question, frozen=True, tag="status"):
    """Tell what is in force."""


class RemoveAll(Question, frozen=True, tag="remove_all"):
    """Remove everything and stay off."""


class Resume(Question, frozen=True, tag="resume"):
    """Take up enforcement again."""


Request = Hold | Quarantine | Release | AskStatus | RemoveAll | Resume
Reply = Outcome | EnforcerStatus


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the warden answers: exactly one of both."""

    outcome: Outcome | None = None
    status: EnforcerStatus | None = None


_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(Answered)


def encode_request(request: Request) -> bytes:
    """Pack a request."""
    return msgspec.msgpack.encode(request)


def decode_request(body: bytes) -> Request:
    """Unpack a request; raises InvalidInput on anything else."""
    return unpack(_requests, body, "a request to the warden")


def encode_answer(reply: Reply) -> bytes:
    """Pack an answer."""
    answered = Answered(outcome=reply) if isinstance(reply, Outcome) else Answered(status=reply)
    return msgspec.msgpack.encode(answered)


def decode_outcome(body: bytes) -> Outcome:
    """Unpack an outcome; raises Unavailable on anything else."""
    outcome = _answer(body).outcome
    if outcome is None:
        raise Unavailable("the warden answered something else")
    return outcome


def decode_status(body: bytes) -> EnforcerStatus:
    """Unpack a status; raises Unavailable on anything else."""
    status = _answer(body).status
    if status is None:
        raise Unavailable("the warden answered something else")
    return status


def _answer(body: bytes) -> Answered:
    return unpack(_answers, body, "an answer of the warden", Unavailable)


class WardenEnforcer:
    """The Enforcer port over a link to the warden."""

    def __init__(self, link: LinkClient, *, timeout_s: float = TIMEOUT_S) -> None:
        self._link = link
        self._timeout_s = timeout_s

    async def hold(self, tenant: str, state: EnforcementState) -> Outcome:
        """Put a state in force."""
        return decode_outcome(await self._call(Hold(tenant, state)))

    async def quarantine(self, tenant: str, action: Action) -> Outcome:
        """Shut out."""
        return decode_outcome(await self._call(Quarantine(tenant, action)))

    async def release(self, tenant: str, action: Action) -> Outcome:
        """Let back in."""
        return decode_outcome(await self._call(Release(tenant, action)))

    async def status(self, tenant: str) -> EnforcerStatus:
        """Tell what is in force."""
        return decode_status(await self._call(AskStatus(tenant)))

    async def remove_all(self, tenant: str) -> Outcome:
        """Remove everything and stay off until `resume`."""
        return decode_outcome(await self._call(RemoveAll(tenant)))

    async def resume(self, tenant: str) -> Outcome:
        """Take up enforcement again after `remove_all`."""
        return decode_outcome(await self._call(Resume(tenant)))

    async def _call(self, request: Request) -> bytes:
        return await self._link.call(CHANNEL, encode_request(request), timeout_s=self._timeout_s)
