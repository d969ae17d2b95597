"""Findings, alerts and cases: what looks wrong, what a person should look at, what is done about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from thingward.model.ids import DEFAULT_SITE
from thingward.model.observation import Endpoint
from thingward.model.record import Record


class FindingArtifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece that supports a finding: name, value, and the record it came from."""

    name: str
    value: str
    record: str = ""


class Finding(Record, frozen=True, kw_only=True, tag="finding"):
    """Something that looks wrong or risky.

    Attributes:
        rule: stable rule id, for example `scan.ports`, `login.bruteforce`, `policy.violation`.
        title: one line for people. reason: why this was raised, with the figures.
        class_uid: OCSF 2004 detection, 2002 vulnerability, 2003 compliance.
        severity: 1 to 5 (OCSF severity_id). confidence: 0 to 1.
        device: uid of the device it is about (the offender), `target`: of the one attacked, if ours.
        key: findings with the same key are the same matter (for suppression and grouping).
        attack: MITRE ATT&CK technique ids.
        is_alert: passed suppression: worth a person's look.
        suppressed: a person said that it is expected: no alert, and no rule acts on it.
        count, first, last: repeats folded into this one.
        suggested: actions proposed, e.g. `quarantine`.
    """

    rule: str
    title: str
    reason: str = ""
    site: str = DEFAULT_SITE
    class_uid: int = 2004
    severity: int = 3
    confidence: float = 0.8
    device: str = ""
    target: str = ""
    src: Endpoint | None = None
    dst: Endpoint | None = None
    key: str = ""
    artifacts: tuple[FindingArtifact, ...] = ()
    attack: tuple[str, ...] = ()
    is_alert: bool = False
    suppressed: bool = False
    count: int = 1
    first: float = 0.0
    last: float = 0.0
    suggested: tuple[str, ...] = ()
    case: str = ""
    simulated: bool = False


class Suppression(Record, frozen=True, kw_only=True, tag="suppression"):
    """A person's word that such findings are expected: kept and marked, no alert, and no rule acts on them.

    All fields that are set must match.

    Attributes:
        rule: rule id, or a prefix ending in `*`. device: uid, empty for every device. key: the finding's key.
        until: end, seconds since 1970; 0 means until it is removed.
        by: principal who said it; `removed_by` who took it back.
    """

    rule: str = "*"
    device: str = ""
    key: str = ""
    until: float = 0.0
    reason: str = ""
    by: str = ""
    removed: bool = False
    removed_by: str = ""


class CaseState(StrEnum):
    """Life of a case."""

    OPEN = "open"
    CONTAINED = "contained"
    CLOSED = "closed"


class CaseNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a case's timeline: what happened, by whom (`system` or a principal), linked record."""

    time: float
    by: str
    text: str
    record: str = ""
    kind: Literal["finding", "action", "outcome", "note", "state", "notification"] = "note"


class Case(Record, frozen=True, kw_only=True, tag="case"):
    """One matter under investigation: findings of one device that belong together, and what was done."""

    title: str
    site: str = DEFAULT_SITE
    device: str = ""
    state: CaseState = CaseState.OPEN
    severity: int = 3
    opened: float = 0.0
    updated: float = 0.0
    closed: float = 0.0
    findings: tuple[str, ...] = ()
    finding_count: int = 0
    rules: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    timeline: tuple[CaseNote, ...] = ()
    assignee: str = ""
    resolution: str = ""
    simulated: bool = False
