"""People and programs that ask for things: users, tokens, sessions, roles, and their audit trail."""

from __future__ import annotations

from enum import StrEnum

from thingward.model.record import Record


class Role(StrEnum):
    """Each role includes those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


class Principal(Record, frozen=True, kw_only=True, tag="principal"):
    """A user or a program; `password` is a salted scrypt or Argon2id hash, empty if none was set."""

    name: str
    role: Role = Role.VIEWER
    password: str = ""
    disabled: bool = False
    email: str = ""
    last_seen: float = 0.0


class Token(Record, frozen=True, kw_only=True, tag="token"):
    """A personal access token; only a keyed digest of it is kept.

    Attributes:
        scopes: e.g. `devices:read`, `actions:write`, `*`.
        expires: seconds since 1970; tokens without an end are not made.
    """

    principal: str
    name: str
    digest: str
    scopes: tuple[str, ...] = ()
    expires: float = 0.0
    last_used: float = 0.0
    revoked: bool = False


class Session(Record, frozen=True, kw_only=True, tag="session"):
    """A signed-in browser; `digest` of its cookie. One-time login links are sessions with `link` set."""

    principal: str
    digest: str
    expires: float
    link: bool = False
    used: bool = False
    csrf: str = ""


class AuditEntry(Record, frozen=True, kw_only=True, tag="audit"):
    """One operator action: who, what, on what, with what result; never a secret."""

    principal: str
    action: str
    target: str = ""
    result: str = "ok"
    detail: str = ""
    address: str = ""
    request: str = ""


class LedgerEntry(Record, frozen=True, kw_only=True, tag="ledger"):
    """One link of the hash-chained ledger of ControlEvidence.

    Attributes:
        sequence: 1, 2, 3 ... without gaps per tenant.
        kind: `finding`, `case`, `approval`, `action`, `outcome`, `audit`, `profile`, `device`.
        record: uid of what it is about; `digest` of its canonical JSON.
        previous, head: hex SHA-256; head = H(previous, sequence, time, kind, record, digest).
    """

    sequence: int
    kind: str
    record: str
    digest: str
    previous: str
    head: str
    body: str = ""


class SettingValue(Record, frozen=True, kw_only=True, tag="setting"):
    """A setting that was changed at run time: `name` as in docs/reference/settings.md, `value` as JSON text.

    uid is the name, so that there is one per tenant; `limits` holds `action.Limits` as a whole.
    """

    name: str
    value: str
    by: str = ""
