"""Which kinds of records are control data, by which fields they are found, and how pages go on."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import msgspec

from thingward.model.action import Action, Approval, Outcome, ResponseRule
from thingward.model.certificate import Certificate, Claim, Enrolment
from thingward.model.device import Correction, Device, Site
from thingward.model.errors import InvalidInput
from thingward.model.finding import Case, Finding, Suppression
from thingward.model.principal import AuditEntry, LedgerEntry, Principal, Session, SettingValue, Token
from thingward.model.profile import MudProfile, Preview
from thingward.model.record import Record

#: Fields that `where` may name. A new one needs a migration.
INDEXED: Final[dict[type[Record], tuple[str, ...]]] = {
    Device: ("site", "mode", "kind", "identified", "group", "merged_into", "maker", "device_class"),
    Correction: ("device",),
    Site: ("name",),
    MudProfile: ("device", "site", "origin"),
    Preview: ("device", "profile", "site"),
    Finding: ("device", "rule", "severity", "is_alert", "case", "site", "key", "class_uid", "suppressed"),
    Suppression: ("device", "rule", "removed"),
    Case: ("device", "state", "severity", "site", "assignee"),
    Action: ("device", "state", "kind", "case", "site"),
    Outcome: ("action", "status"),
    Approval: ("device", "state", "scope", "target", "site"),
    ResponseRule: ("enabled", "site"),
    Principal: ("name", "role", "disabled"),
    Token: ("digest", "principal", "revoked"),
    Session: ("digest", "principal", "link"),
    AuditEntry: ("principal", "action", "target", "result", "request"),
    LedgerEntry: ("kind", "record", "sequence"),
    SettingValue: ("name",),
    Claim: ("digest", "device", "name", "state"),
    Enrolment: ("claim", "device", "key", "state"),
    Certificate: ("device", "enrolment", "identity", "key", "state"),
}

#: Fields whose text `search` looks through; never a secret or the digest of one.
SEARCHED: Final[dict[type[Record], tuple[str, ...]]] = {
    Device: ("uid", "label", "names", "macs", "addresses", "maker", "model", "kind", "role"),
    Correction: ("label", "kind", "maker", "model"),
    Site: ("name", "networks", "description"),
    MudProfile: ("device", "systeminfo", "mud_url"),
    Preview: ("device",),
    Finding: ("uid", "rule", "title", "reason", "attack", "device", "target"),
    Suppression: ("uid", "rule", "device", "key", "reason", "by"),
    Case: ("uid", "title", "rules", "device", "assignee", "resolution"),
    Action: ("uid", "device", "reason", "requested_by", "macs", "addresses", "refused"),
    Outcome: ("action", "detail", "enforcer"),
    Approval: ("target", "device", "by", "comment"),
    ResponseRule: ("name", "rules", "kinds", "by"),
    Principal: ("name", "email"),
    Token: ("name", "principal", "scopes"),
    Session: ("principal",),
    AuditEntry: ("principal", "action", "target", "result", "detail", "address"),
    LedgerEntry: ("kind", "record"),
    SettingValue: ("name", "value"),
    Claim: ("uid", "name", "serial", "kind", "device", "by"),
    Enrolment: ("uid", "name", "identity", "serial", "kind", "device", "address"),
    Certificate: ("uid", "name", "identity", "device", "kind"),
}

#: Fields that are compared without regard to case.
FOLDED: Final[frozenset[tuple[type[Record], str]]] = frozenset({(Device, "maker")})

SEARCH_LIMIT: Final = 2000
LIMIT_MAX: Final = 1000


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended, and the question that it answered."""

    question: bytes
    time: float
    uid: str


_cursors = msgspec.msgpack.Decoder(_Cursor)


def tag_of(kind: type[Record]) -> str:
    """Give the table's name of a kind; raises InvalidInput if it is no control data."""
    if kind not in INDEXED:
        raise InvalidInput(f"{kind.__name__} is not kept in the control store.")
    return str(kind.__struct_config__.tag)


def index_value(record: Record, field: str) -> str:
    """Give a field as the text that `where` compares with: true, false, 3, open ..."""
    value = getattr(record, field)
    if isinstance(value, bool):
        return "true" if value else "false"
    return wanted_value(type(record), field, str(value.value if isinstance(value, Enum) else value))


def wanted_value(kind: type[Record], field: str, value: str) -> str:
    """Give what `where` asks for in the form that a field's values are kept in."""
    return plain(value.lower() if (kind, field) in FOLDED else value)


def search_text(record: Record) -> str:
    """Give what `search` looks through, in lower case and bounded."""
    parts: list[str] = []
    for field in SEARCHED[type(record)]:
        value: Any = getattr(record, field)
        parts += value if isinstance(value, tuple) else [value or ""]
    return plain(" ".join(filter(None, parts)).lower()[:SEARCH_LIMIT])


def plain(text: str) -> str:
    """Take out what no SQL engine keeps: zero bytes, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def verify_question(kind: type[Record], where: Mapping[str, str], limit: int = 1) -> None:
    """Raise InvalidInput for a field that cannot be asked for, or a limit out of bounds."""
    unknown = set(where) - set(INDEXED[kind])
    if unknown:
        raise InvalidInput(
            f"{kind.__name__} cannot be filtered by {', '.join(sorted(unknown))}.",
            hint=f"These can: {', '.join(INDEXED[kind])}.",
        )
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidInput(f"limit {limit} is not 1 to {LIMIT_MAX}.")


def question_digest(
    tenant: str, kind: type[Record], where: Mapping[str, str], search: str, *, newest_first: bool
) -> bytes:
    """Name a question, so that a cursor is only used with its own."""
    text = msgspec.json.encode([tenant, tag_of(kind), sorted(where.items()), search, newest_first])
    return hashlib.blake2b(text, digest_size=6).digest()


def encode_cursor(question: bytes, last: Record) -> str:
    """Say where a page ended, opaquely."""
    data = msgspec.msgpack.encode(_Cursor(question, last.time, last.uid))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_cursor(question: bytes, cursor: str) -> tuple[float, str]:
    """Give (time, uid) of the last record; raises InvalidInput if it belongs to another question."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = _cursors.decode(data)
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidInput("this is no cursor.", hint="Use the one that the page before gave.") from error
    if found.question != question:
        raise InvalidInput("the cursor belongs to another question.", hint="Begin without a cursor.")
    return found.time, found.uid


def verify_owner(tenant: str, record: Record) -> None:
    """Raise InvalidInput if a record of one tenant is put into another's data."""
    if record.tenant != tenant:
        raise InvalidInput(f"a record of tenant {record.tenant} cannot be kept as {tenant}'s.")
