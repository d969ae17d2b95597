"""The hash-chained ledger: every step of the road leaves a link, and nothing can be taken out or changed unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import msgspec

from thingward.model.action import Action, Approval, Outcome, ResponseRule
from thingward.model.codec import AnyRecord, encode_json
from thingward.model.device import Correction
from thingward.model.errors import ThingwardError
from thingward.model.finding import Case, Finding, Suppression
from thingward.model.flow import Output
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.packed import unpack
from thingward.model.principal import AuditEntry, LedgerEntry, SettingValue
from thingward.model.record import Record

GENESIS = "0" * 64
MAX_KNOWN = 20_000
#: What is recorded, and the kind that its links carry.
KINDS: dict[type, str] = {
    Finding: "finding",
    Case: "case",
    Approval: "approval",
    Action: "action",
    Outcome: "outcome",
    ResponseRule: "rule",
    Suppression: "suppression",
    SettingValue: "setting",
    Correction: "correction",
    AuditEntry: "audit",
}


class LedgerBroken(ThingwardError):
    """A ledger does not hold together: a link was changed, left out, or put in."""

    code = "ledger.broken"
    status = 409


def digest_of(body: bytes) -> str:
    """Digest a record's canonical JSON."""
    return hashlib.sha256(body).hexdigest()


def head_of(previous: str, sequence: int, time: float, kind: str, record: str, digest: str) -> str:
    """Give the head of a link: SHA-256 of the JSON list of its six parts as text, the time with six decimals."""
    parts = [previous, str(sequence), f"{time:.6f}", kind, record, digest]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("ascii")).hexdigest()


def verify_chain(entries: Iterable[LedgerEntry], *, previous: str = "", sequence: int = 0) -> tuple[int, str]:
    """Check links in order; gives sequence and head of the last one.

    Args:
        entries: oldest first, of one tenant.
        previous, sequence: head and number of the link before the first one; empty believes the first one's word.

    Raises:
        LedgerBroken: names the first link that does not fit, and why.
    """
    for entry in entries:
        if previous and entry.previous != previous:
            raise LedgerBroken(f"link {entry.sequence} does not follow the one before it.")
        if sequence and entry.sequence != sequence + 1:
            raise LedgerBroken(f"link {sequence + 1} is missing: {entry.sequence} comes after {sequence}.")
        if entry.sequence == 1 and entry.previous != GENESIS:
            raise LedgerBroken("link 1 claims to follow another one.")
        head = head_of(entry.previous, entry.sequence, entry.time, entry.kind, entry.record, entry.digest)
        if entry.head != head:
            raise LedgerBroken(f"link {entry.sequence} was changed: its head is not that of its content.")
        if entry.body and digest_of(entry.body.encode()) != entry.digest:
            raise LedgerBroken(f"the {entry.kind} {entry.record} of link {entry.sequence} was changed.")
        previous, sequence = entry.head, entry.sequence
    return sequence, previous


class _Chain(msgspec.Struct):
    """One tenant's tip, and what was recorded lately: record uid to digest (cases: to what matters of them)."""

    sequence: int = 0
    head: str = GENESIS
    known: dict[str, str] = {}


_states = msgspec.msgpack.Decoder(dict[str, _Chain])


class LedgerStage:
    """Appends a link for every finding, case, approval, action, outcome, rule, setting, correction and audit entry.

    The same record with the same content is recorded once. A case is recorded when its state, severity, assignee,
    resolution or actions change; the findings between have links of their own.
    """

    name = "ledger"

    def __init__(self) -> None:
        self._chains: dict[str, _Chain] = {}

    def adopt(self, entries: Sequence[LedgerEntry]) -> None:
        """Continue after links that the control store holds: those newer than the snapshot, oldest first.

        Call it once, after `restore` and before the journal is replayed: what the replay brings again is then not
        recorded again.

        Raises:
            LedgerBroken: they do not fit the snapshot, or each other.
        """
        for entry in entries:
            chain = self._chain(entry.tenant)
            if entry.sequence <= chain.sequence:
                continue
            is_first = not chain.sequence
            verify_chain([entry], previous="" if is_first else chain.head, sequence=0 if is_first else chain.sequence)
            chain.sequence, chain.head = entry.sequence, entry.head
            _remember(chain, entry.record, _mark_of_body(entry))

    def tip(self, tenant: str) -> tuple[int, str]:
        """Give sequence and head of the last link."""
        chain = self._chain(tenant)
        return chain.sequence, chain.head

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Append to the chains; the links follow the records."""
        links: list[Record] = []
        for record in batch:
            kind = KINDS.get(type(record))
            if kind is not None:
                link = self._append(record, kind, now)
                if link is not None:
                    links.append(link)
        return Output(records=[*batch, *links])

    def tick(self, now: float) -> Output:
        """Do nothing."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the tips."""
        return msgspec.msgpack.encode(self._chains)

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave; raises InvalidInput for anything else."""
        self._chains = unpack(_states, state, "a state of the ledger stage")

    def _chain(self, tenant: str) -> _Chain:
        chain = self._chains.get(tenant)
        if chain is None:
            chain = self._chains[tenant] = _Chain()
        return chain

    def _append(self, record: Record, kind: str, now: float) -> LedgerEntry | None:
        chain = self._chain(record.tenant)
        body = encode_json(_as_any(record))
        digest = digest_of(body)
        mark = _mark_of_case(record) if isinstance(record, Case) else digest
        if chain.known.get(record.uid) == mark:
            return None
        _remember(chain, record.uid, mark)
        sequence = chain.sequence + 1
        head = head_of(chain.head, sequence, now, kind, record.uid, digest)
        entry = LedgerEntry(
            uid=Uid("l-" + hashed_uid("ledger", record.tenant, str(sequence))[:30]),
            tenant=Tenant(record.tenant),
            time=now,
            source="ledger",
            parents=(record.uid,),
            sequence=sequence,
            kind=kind,
            record=record.uid,
            digest=digest,
            previous=chain.head,
            head=head,
            body=body.decode(),
        )
        chain.sequence, chain.head = sequence, head
        return entry


def _remember(chain: _Chain, record: str, mark: str) -> None:
    chain.known.pop(record, None)
    chain.known[record] = mark
    if len(chain.known) > MAX_KNOWN:
        del chain.known[next(iter(chain.known))]


def _mark_of_case(case: Case) -> str:
    people = sum(1 for note in case.timeline if note.kind in ("note", "state"))
    parts = [case.state.value, str(case.severity), case.assignee, case.resolution, str(people), *case.actions]
    return digest_of(json.dumps(parts).encode())


def _mark_of_body(entry: LedgerEntry) -> str:
    if entry.kind != "case" or not entry.body:
        return entry.digest
    return _mark_of_case(msgspec.json.decode(entry.body, type=Case))


def _as_any(record: Record) -> AnyRecord:
    assert type(record) in KINDS
    return record  # type: ignore[return-value]
