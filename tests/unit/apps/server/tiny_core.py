"""A platform in one object for the server's tests: real desk and response stage, stores in memory, no network."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from thingward.adapters.control_store.memory import MemoryControlStore
from thingward.adapters.event_store.memory import MemoryEventStore
from thingward.apps.server.backend import Health, ProcessHealth
from thingward.model.action import Outcome
from thingward.model.codec import decode_batch
from thingward.model.device import Correction, Device, Mode
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.flow import Apply
from thingward.model.ids import DEFAULT_TENANT, Uid, hashed_uid
from thingward.model.intent import (
    Answer,
    ExportEvidence,
    ImportFlowLog,
    ImportPack,
    ImportRecords,
    Intent,
    LoadPacks,
    RemovePack,
    StartAttack,
    TestNotification,
)
from thingward.model.principal import AuditEntry
from thingward.model.record import Record
from thingward.ports.control_store import Put
from thingward.ports.enforcer import EnforcerStatus
from thingward.response.stage import ResponseStage
from thingward.runtime.desk import Decision, Desk, DeskContext
from thingward.runtime.desk_identity import identity_handlers
from thingward.runtime.desk_packs import import_list
from thingward.runtime.desk_records import import_observations
from thingward.runtime.desk_response import response_handlers
from thingward.runtime.pack_info import PackInfo
from thingward.runtime.packs import pack_of


class TinyCore:
    """Implements the server's Backend; `clock` is moved by the test."""

    def __init__(self, now: float, attack: Callable[[TinyCore], Sequence[Record]] | None = None) -> None:
        self.control = MemoryControlStore()
        self.events = MemoryEventStore()
        self.time = now
        self.health_now = Health(
            core=True,
            store=True,
            started=now - 3 * 86400,
            processes=tuple(
                ProcessHealth(name=name, state="running", since=now - 3 * 86400, rss_bytes=rss)
                for name, rss in (
                    ("supervisor", 28_000_000),
                    ("core", 96_000_000),
                    ("store", 141_000_000),
                    ("server", 88_000_000),
                    ("sensor", 120_000_000),
                    ("warden", 31_000_000),
                )
            ),
            enforcer=EnforcerStatus(name="nftables", available=True, version=7, digest="9f2c41d07be35a68"),
            store_bytes=184_000_000,
            counters={"events_total": 812_345, "journal_bytes": 4_194_304},
        )
        self.response = ResponseStage()
        self.fails_with: Exception | None = None
        self._attack = attack
        self.pushed: list[Record] = []
        self.listening: set[asyncio.Queue[Record]] = set()
        handlers = identity_handlers() | response_handlers(self.response.situation)
        handlers |= {
            StartAttack: self._start_attack,
            TestNotification: _test,
            ImportRecords: _import,
            ImportFlowLog: self._push,
            ExportEvidence: _evidence,
            ImportPack: lambda intent, context: import_list(intent),
            RemovePack: lambda intent, context: Decision(target=intent.body.name),  # type: ignore[union-attr]
            LoadPacks: lambda intent, context: Decision(plan=("load all packs of the data folder",)),
        }
        self.desk = Desk(handlers)

    def now(self) -> float:
        return self.time

    async def ask(self, intent: Intent) -> Answer:
        if self.fails_with is not None:
            raise self.fails_with
        return self.decide(intent)

    def decide(self, intent: Intent) -> Answer:
        answer, records = self.desk.handle(intent, self.control, random=secrets.token_bytes, now=self.time)
        self.take(records)
        if answer.ok and not intent.body.dry_run:
            self._shelve(intent.body)
        return answer

    def _shelve(self, body: object) -> None:
        """Keep packs as core does: only what is known of them."""
        packs = {info.name: info for info in self.health_now.packs}
        if isinstance(body, RemovePack):
            packs.pop(body.name, None)
        elif isinstance(body, ImportPack):
            pack = pack_of(body.name, body.text, confidence=body.confidence)
            digest = hashlib.sha256(body.text).hexdigest()
            packs[body.name] = PackInfo(
                name=body.name,
                digest=digest,
                imported=self.time,
                count=len(pack.indicators),
                refused=pack.refused_count,
            )
        self.health_now = msgspec.structs.replace(self.health_now, packs=tuple(packs.values()))

    def take(self, records: Sequence[Record]) -> None:
        """Journal, road and store in one: what comes out is kept and passed on."""
        output = self.response.feed([r for r in records if not isinstance(r, Event)], self.time)
        kept = [*output.records, *(r for r in records if isinstance(r, Event))]
        outcomes = [self._apply(command) for command in output.commands if isinstance(command, Apply)]
        if outcomes:
            kept += self.response.feed(outcomes, self.time).records
        kept += [self._corrected(row) for row in kept if isinstance(row, Correction)]
        kept += self._modes()
        self.events.append(DEFAULT_TENANT, [r for r in kept if isinstance(r, Event | Finding)])
        self.control.commit(DEFAULT_TENANT, [Put(r) for r in kept if not isinstance(r, Event)])
        for record in kept:
            for queue in self.listening:
                queue.put_nowait(record)

    def _apply(self, command: Apply) -> Outcome:
        action = command.action
        self.time += 0.001
        return Outcome(
            uid=Uid("o-" + hashed_uid("outcome", action.uid, str(action.kind), f"{self.time}")[:20]),
            tenant=action.tenant,
            time=self.time,
            source="warden",
            parents=(action.uid,),
            action=action.uid,
            status="undone" if action.kind == "release" else "applied",
            enforcer="nftables",
            took_s=0.031,
            state_before="9f2c41d07be35a68",
            state_after="9f2c41d07be35a68" if action.kind == "release" else "51ab0c9e7713fd20",
        )

    def _corrected(self, row: Correction) -> Device:
        device = self.control.get(DEFAULT_TENANT, Device, row.device)
        assert device is not None
        said = {name: getattr(row, name) for name in ("label", "kind", "maker", "model")}
        return msgspec.structs.replace(
            device, identified=True, **{name: value for name, value in said.items() if value is not None}
        )

    def _modes(self) -> list[Device]:
        situation = self.response.situation(DEFAULT_TENANT)
        changed = []
        for device in self.control.page(DEFAULT_TENANT, Device, limit=1000).items:
            held = device.uid in situation.quarantines
            mode = Mode.QUARANTINE if held else self._resting_mode(device.uid)
            if mode is not device.mode:
                changed.append(msgspec.structs.replace(device, mode=mode))
        return changed

    def _resting_mode(self, uid: str) -> Mode:
        from thingward.model.action import Approval

        held = self.control.count(DEFAULT_TENANT, Approval, where={"device": uid, "state": "in_force"})
        return Mode.ENFORCE if held else Mode.OBSERVE

    async def live(self) -> AsyncIterator[Record]:
        queue: asyncio.Queue[Record] = asyncio.Queue()
        self.listening.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.listening.discard(queue)

    @property
    def listened(self) -> bool:
        return bool(self.listening)

    async def health(self) -> Health:
        return self.health_now

    def audit(self) -> tuple[AuditEntry, ...]:
        return self.control.page(DEFAULT_TENANT, AuditEntry, limit=1000).items

    def _start_attack(self, intent: Intent, context: DeskContext) -> Decision:
        records = tuple(self._attack(self)) if self._attack and not intent.body.dry_run else ()
        return Decision(records=records, plan=("one simulated device turns Mirai-like",), target="demo")

    def _push(self, intent: Intent, context: DeskContext) -> Decision:
        decision = import_observations(intent, context)
        if not intent.body.dry_run:
            self.pushed += decision.records
        return msgspec.structs.replace(decision, records=())


def _test(intent: Intent, context: DeskContext) -> Decision:
    return Decision(plan=(f"a test message by {intent.body.channel}",), target=intent.body.channel)


def _import(intent: Intent, context: DeskContext) -> Decision:
    records = tuple(decode_batch(intent.body.batch))
    return Decision(records=records, plan=(f"import {len(records)} records",), target=intent.body.source)


def _evidence(intent: Intent, context: DeskContext) -> Decision:
    return Decision(plan=("bundle evidence.zip",), path="/folder/evidence.zip", target=intent.body.target)
