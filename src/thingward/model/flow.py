"""The shape of a stage of the one road: pure, batch in, batch and commands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from thingward.model.action import Action, EnforcementState
from thingward.model.record import Record


class Notify(msgspec.Struct, frozen=True, kw_only=True, tag="notify"):
    """Ask the shell to tell people; `urgency` 1 to 5, `key` for deduplication."""

    uid: str
    tenant: str
    key: str
    title: str
    text: str
    urgency: int = 3
    case: str = ""
    device: str = ""


class Apply(msgspec.Struct, frozen=True, kw_only=True, tag="apply"):
    """Ask the shell to have an action carried out by the enforcer; its Outcome comes back as a record."""

    action: Action


class Enforce(msgspec.Struct, frozen=True, kw_only=True, tag="enforce"):
    """Ask the shell to make the enforcer hold this state."""

    tenant: str
    state: EnforcementState


Command = Notify | Apply | Enforce


class Output(msgspec.Struct, kw_only=True):
    """What a stage hands on: the batch for the next stage, and commands for the shell."""

    records: list[Record] = []
    commands: list[Command] = []


class Stage(Protocol):
    """One step of the road. Everything it knows it can snapshot and restore; it never does I/O."""

    name: str

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Take a batch, return it enriched and followed by new records; unknown records pass through."""
        ...

    def tick(self, now: float) -> Output:
        """Let time pass: timeouts, end of windows."""
        ...

    def snapshot(self) -> bytes:
        """Give the whole state as MessagePack."""
        ...

    def restore(self, state: bytes) -> None:
        """Take a state that `snapshot` gave; raises InvalidInput if it cannot be read."""
        ...
