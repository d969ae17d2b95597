"""One wire form for every record: tagged MessagePack between processes and on disk, tagged JSON for people."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from thingward.model.action import Action, Approval, Outcome, ResponseRule
from thingward.model.certificate import Certificate, Claim, Enrolment
from thingward.model.device import Correction, Device, Site
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.finding import Case, Finding, Suppression
from thingward.model.observation import Observation
from thingward.model.packed import UNREADABLE, unpack
from thingward.model.principal import AuditEntry, LedgerEntry, Principal, Session, SettingValue, Token
from thingward.model.profile import Learnt, MudProfile, Preview

AnyRecord = (
    Observation
    | Event
    | Device
    | Correction
    | Site
    | MudProfile
    | Preview
    | Finding
    | Case
    | Action
    | Outcome
    | Approval
    | ResponseRule
    | Principal
    | Token
    | Session
    | AuditEntry
    | LedgerEntry
    | SettingValue
    | Learnt
    | Suppression
    | Claim
    | Enrolment
    | Certificate
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[AnyRecord]] = msgspec.msgpack.Decoder(list[AnyRecord])
_json_encoder = msgspec.json.Encoder(order="deterministic")
_json_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


def encode_batch(records: Sequence[AnyRecord]) -> bytes:
    """Pack a batch for a link, a journal or a snapshot."""
    return _encoder.encode(records)


def decode_batch(data: bytes | memoryview) -> list[AnyRecord]:
    """Unpack what `encode_batch` made; raises InvalidInput on anything else."""
    return unpack(_decoder, data, "a batch of records")


def encode_json(record: AnyRecord) -> bytes:
    """Give a record's canonical JSON (sorted keys): the form that the ledger digests."""
    return _json_encoder.encode(record)


def decode_json(data: bytes | str) -> AnyRecord:
    """Read what `encode_json` made; raises InvalidInput on anything else."""
    try:
        return _json_decoder.decode(data)
    except UNREADABLE as error:
        raise InvalidInput(f"not a record: {error}") from error
