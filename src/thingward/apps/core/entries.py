"""What core writes into its journal: what the road was fed, what came of it that must not be lost, what was done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from thingward.model.action import Action, Approval, Outcome, ResponseRule
from thingward.model.codec import AnyRecord
from thingward.model.device import Correction, Site
from thingward.model.finding import Case, Suppression
from thingward.model.flow import Apply, Command, Enforce
from thingward.model.packed import unpack
from thingward.model.principal import AuditEntry, LedgerEntry, Principal, Session, SettingValue, Token
from thingward.model.record import Record

#: Records that are decisions: they are in the journal themselves before anything is done about them. All others come
#: out of the road again when the journal is replayed.
DECISIONS: Final[frozenset[type[Record]]] = frozenset(
    {
        Action,
        Approval,
        AuditEntry,
        Case,
        Correction,
        LedgerEntry,
        Outcome,
        Principal,
        ResponseRule,
        Session,
        SettingValue,
        Site,
        Suppression,
        Token,
    }
)


class Fed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="fed"):
    """A batch that went onto the road at `now`; stream and sequence are the sender's, empty if core made it."""

    now: float
    batch: bytes
    stream: str = ""
    sequence: int = 0


class Ticked(msgspec.Struct, frozen=True, kw_only=True, tag="tick"):
    """Time passed on the road."""

    now: float


class Decided(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="decided"):
    """What entry `of` led to: decisions for the control store, and commands to carry out."""

    of: int
    records: list[AnyRecord] = []
    commands: list[Command] = []


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """A command of the decision on entry `of` was carried out."""

    of: int
    command: str


Entry = Fed | Ticked | Decided | Done

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Pack an entry."""
    return _encoder.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """Unpack an entry; raises InvalidInput on anything else."""
    return unpack(_decoder, data, "a journal entry")


def command_uid(command: Command) -> str:
    """Name a command, so that it is done once: what it is about, and which version of that."""
    if isinstance(command, Apply):
        return f"apply:{command.action.uid}"
    if isinstance(command, Enforce):
        return f"enforce:{command.tenant}:{command.state.site}:{command.state.version}"
    return f"notify:{command.uid}"


def decisions_of(records: Iterable[Record]) -> list[Record]:
    """Give those records that are decisions."""
    return [record for record in records if type(record) in DECISIONS]


def with_decisions(records: Sequence[Record], decided: Sequence[Record]) -> list[Record]:
    """Give a replayed output with the decisions that the journal holds instead of those that came out again."""
    return [*(record for record in records if type(record) not in DECISIONS), *decided]
