"""Answers to changes: plan and records, never a secret that slipped in with a record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thingward.apps.server.api.schemas import Result, claim_view, session_view, token_view, user_view
from thingward.apps.server.deps import Ask
from thingward.apps.server.present import explicit
from thingward.model.certificate import Claim
from thingward.model.intent import IntentBody
from thingward.model.principal import Principal, Session, Token


def public(record: object) -> Any:
    """Turn a record into plain data, those with secrets into their views."""
    if isinstance(record, Principal):
        return explicit(user_view(record))
    if isinstance(record, Token):
        return explicit(token_view(record))
    if isinstance(record, Session):
        return explicit(session_view(record))
    if isinstance(record, Claim):
        return explicit(claim_view(record))
    return explicit(record)


def public_all(records: Iterable[object]) -> tuple[Any, ...]:
    """Turn records into plain data."""
    return tuple(public(record) for record in records)


async def result_of(ask: Ask, body: IntentBody) -> Result:
    """Ask core and tell what came of it."""
    done = await ask(body)
    return Result(dry_run=ask.dry_run, plan=done.answer.plan, records=public_all(done.records))
