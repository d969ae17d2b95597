"""The process: adapters are opened, what a crash left is brought in, then the engine runs until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from thingward.adapters.clock.system import SystemClock
from thingward.adapters.control_store.tables import INDEXED
from thingward.adapters.enforcer.warden import WardenEnforcer
from thingward.adapters.event_store.link import Prune, encode_question
from thingward.adapters.link.spool import file_spool
from thingward.adapters.link.unix import UnixLinkClient, UnixLinkServer
from thingward.apps.core.commits import Commits
from thingward.apps.core.desired import Desired
from thingward.apps.core.effects import Effects
from thingward.apps.core.engine import Engine, Parts
from thingward.apps.core.intake import Intake
from thingward.apps.core.outbox import EventOutbox
from thingward.apps.core.own import OwnStatus
from thingward.apps.core.previews import Previews
from thingward.apps.core.recover import Recovered, Recovery, adopt_safely
from thingward.apps.core.retention import Ages, outdated
from thingward.apps.core.shelf import PackShelf
from thingward.model.action import Action, Approval, EnforcementState, Outcome
from thingward.model.certificate import Claim
from thingward.model.codec import encode_batch
from thingward.model.errors import ThingwardError
from thingward.model.finding import Case, Finding
from thingward.model.flow import Command, Notify
from thingward.model.ids import DEFAULT_TENANT, hashed_uid
from thingward.model.intent import ImportPack, Intent, LoadPacks, RemovePack, StartAttack, TestNotification
from thingward.model.observation import Observation
from thingward.model.principal import AuditEntry, LedgerEntry, Principal, Session, SettingValue, Token
from thingward.model.profile import Learnt, Preview
from thingward.model.record import Record
from thingward.ports.control_store import ControlStore
from thingward.ports.link import Frame
from thingward.runtime import channels
from thingward.runtime.adopt import adopt_control
from thingward.runtime.capabilities import keep_capabilities
from thingward.runtime.compose import (
    SPOOL_LIMIT_BYTES,
    build_desk,
    build_notifiers,
    compose_core,
    limits_of,
    open_control,
    open_journal,
)
from thingward.runtime.config import Settings
from thingward.runtime.derived import preview_of, state_of
from thingward.runtime.notify import Dispatcher, NotifySettings, Outbox, OutboxFile

#: Kinds that never leave core through the live stream.
PRIVATE: Final = (Observation, Learnt, Principal, Token, Session, Claim, SettingValue, AuditEntry, LedgerEntry)
#: Kinds that ways out for records get (syslog, OCSF lines).
EXPORTED: Final = (Finding, Case, Action, Outcome, Approval, AuditEntry)
LIVE_BATCH: Final = 500
HOUSEKEEPING_S: Final = 3600.0
CHORE_S: Final = 0.1
#: What was sent to people is kept at most this often.
PEOPLE_S: Final = 1.0

_log = structlog.get_logger("core")


class Core:
    """Everything that core is made of, and what connects it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.started = self.clock.now()
        self.own = OwnStatus(settings.site.name, self.started)
        self.control: ControlStore = open_control(settings)
        self.journal = open_journal(settings)
        self.packs = PackShelf(settings.home)
        self.road, self.stages = compose_core(settings, self.packs.load())
        self.commits = Commits(self.control, INDEXED)
        spool = file_spool(settings.home / "spool" / "store", max_bytes=SPOOL_LIMIT_BYTES)
        self.store_link = UnixLinkClient(channels.socket_of(settings, "store"), name="core", spool=spool)
        self.outbox = EventOutbox(self.store_link, spool)
        self.server = UnixLinkServer(channels.socket_of(settings, "core"), name="core")
        self.warden_link: UnixLinkClient | None = None
        if settings.enforce.path != "off":
            self.warden_link = UnixLinkClient(channels.socket_of(settings, "warden"), name="core")
        self.people_trouble = ""
        self.people_file = OutboxFile(settings.home / "people")
        told = {name: getattr(settings.notify, name) for name in NotifySettings.__struct_fields__}
        self.people = Outbox(NotifySettings(**told), self.people_file.load())
        self.teller = Dispatcher(build_notifiers(settings.notify), self.people, lambda: self.engine.time.now())
        self.desired = Desired(self._state_of, {DEFAULT_TENANT, *self.control.tenants()})
        self.previews = Previews(lambda profile, now: preview_of(self.stages, profile, now))
        self.ages = Ages(**{name: getattr(settings.store, name) for name in Ages.__struct_fields__})
        self.engine: Engine
        self.effects: Effects
        self.intake: Intake

    async def start(self) -> None:
        """Recover, then open the doors."""
        recovered = await self._recover()
        parts = Parts(
            road=self.road,
            journal=self.journal,
            commits=self.commits,
            outbox=self.outbox,
            clock=self.clock,
            checkpoint_path=self.settings.home / "checkpoint",
            show=self._show,
            tell_jump=self._tell_jump,
            marks=recovered.marks,
            fed=recovered.fed,
            commands=recovered.commands,
        )
        self.engine = Engine(parts)
        enforcer = WardenEnforcer(self.warden_link) if self.warden_link else None
        self.effects = Effects(self.clock, self._finish, enforcer=enforcer, teller=self.teller)
        self.engine.connect(self.effects.dispatch, self._on_safe)
        self.intake = Intake(self.engine, build_desk(self.settings, self.stages), self.control, self._perform)
        self._apply_settings(self.control.page(DEFAULT_TENANT, SettingValue, limit=1000).items)
        self.teller.start()
        self._tell_start(recovered)
        self.server.serve(channels.OBSERVATIONS, self.intake.take_observations)
        self.server.serve(channels.INTENT, self.intake.take_intent)
        self.server.serve(channels.STATUS, self._status)
        self.server.serve(channels.PING, _pong)
        await self.store_link.start()
        await self.server.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop."""
        chores = [asyncio.create_task(self._chores()), asyncio.create_task(self._keep_house())]
        try:
            await self.engine.run(stop)
        finally:
            for task in chores:
                task.cancel()
            await asyncio.gather(*chores, return_exceptions=True)

    async def close(self) -> None:
        """Close everything; what waits for store and warden is on disk."""
        await self.server.close()
        await self.effects.close()
        await self.teller.close()
        self._keep_people()
        for link in (self.store_link, self.warden_link):
            if link is not None:
                await link.close()
        self.journal.close()
        self.control.close()

    async def _recover(self) -> Recovered:
        def adopt(empty: Sequence[str]) -> None:
            adopt_safely(lambda: adopt_control(self.stages, self.control, empty), "all")

        path = self.settings.home / "checkpoint"
        recovery = Recovery(self.road, self.journal, self.commits, self.outbox, path, adopt)
        return await recovery.run()

    def _tell_start(self, recovered: Recovered) -> None:
        counts = {"replayed": recovered.replayed, "unreadable": recovered.unreadable}
        self._tell("started", recovered.lost_checkpoint, counts={k: n for k, n in counts.items() if n})
        _log.info("started", replayed=recovered.replayed, commands=len(recovered.commands))

    def _tell(self, status: str, detail: str = "", *, gap_s: float = 0.0, counts: dict[str, int] | None = None) -> None:
        """Put an observation about core itself onto the road."""
        now = self.engine.time.now()
        self.engine.submit([self.own.observe(status, now, detail, gap_s=gap_s, counts=counts)])

    def _tell_jump(self, seconds: float) -> None:
        _log.warning("the clock was set", by_s=round(seconds, 1))
        self._tell("clock_jump", f"the clock was set by {seconds:+.1f} s", gap_s=abs(seconds))

    def _on_safe(self, seconds: float) -> None:
        for peer in self.intake.seen:
            self.server.cut(peer)
        self.intake.seen.clear()
        self._tell(
            "journal_back", "the journal could not be written; nothing was acknowledged meanwhile", gap_s=seconds
        )

    async def _finish(self, of: int, command: Command, records: Sequence[Record]) -> None:
        """Take a command's outcome; commands that core made itself (`of` 0) are in no journal."""
        if of == 0:
            if records:
                await self.engine.submit(records)
            return
        await self.engine.submit(records, finishes=(of, command))

    async def _perform(self, intent: Intent) -> None:
        """Carry out what only the shell can do, after the decision is on disk."""
        body = intent.body
        if isinstance(body, TestNotification):
            text = "This is a test message. If you can read it, this way out works."
            uid = hashed_uid("test", intent.uid)
            message = Notify(uid=uid, tenant=intent.tenant, key=uid, title="Test message", text=text, urgency=1)
            await self.teller.test(body.channel, message)
        elif isinstance(body, StartAttack):
            await self.server.push(channels.DEMO, msgspec.msgpack.encode(body.device))
        elif isinstance(body, ImportPack | RemovePack | LoadPacks):
            await self.packs.perform(body, self.stages.detection, self.clock.now())

    async def _show(self, records: Sequence[Record]) -> None:
        """Hand on what passed: to watchers, ways out, and what is worked out from it."""
        self.desired.watch(records)
        self.previews.watch(records)
        self._apply_settings(records)
        if exported := [record for record in records if isinstance(record, EXPORTED)]:
            self.teller.export(DEFAULT_TENANT, exported)
        if self.server.has_subscribers(channels.LIVE):
            public = [record for record in records if not isinstance(record, PRIVATE)]
            for start in range(0, len(public), LIVE_BATCH):
                await self.server.push(channels.LIVE, encode_batch(public[start : start + LIVE_BATCH]))  # type: ignore[arg-type]

    def _apply_settings(self, records: Sequence[Record]) -> None:
        for record in records:
            if not isinstance(record, SettingValue):
                continue
            section, _, name = record.name.partition(".")
            if section == "notify" and name in NotifySettings.__struct_fields__:
                changed = msgspec.json.decode(record.value)
                self.people.settings = msgspec.structs.replace(self.people.settings, **{name: changed})
            elif section == "store" and name in Ages.__struct_fields__:
                self.ages = msgspec.structs.replace(self.ages, **{name: float(msgspec.json.decode(record.value))})

    def _state_of(self, tenant: str, version: int) -> EnforcementState | None:
        settings = self.settings
        return state_of(
            self.stages,
            self.control,
            tenant,
            site=settings.site.name,
            networks=settings.site.networks,
            limits=limits_of(settings),
            version=version,
        )

    async def _chores(self) -> None:
        """What is worked out beside the road, and watching the store."""
        kept = self.clock.monotonic()
        while True:
            await self.clock.sleep(CHORE_S)
            now, monotonic = self.engine.time.now(), self.clock.monotonic()
            try:
                if self.warden_link is not None and not self.commits.waiting:
                    for command in self.desired.take(now, monotonic):
                        self.effects.dispatch(0, [command])
                if (preview := self.previews.take(now, monotonic)) is not None:
                    await self._keep_preview(preview)
            except ThingwardError as error:
                _log.warning("chore failed", reason=str(error))
            self.teller.tick()
            if monotonic >= kept + PEOPLE_S:
                self._keep_people()
                kept = monotonic
            self._watch_store(monotonic)

    def _keep_people(self) -> None:
        """Keep what was sent to people today; a disk that refuses costs the memory of it after a restart."""
        try:
            self.people_file.save(self.people)
        except ThingwardError as error:
            if not self.people_trouble:
                _log.warning("outbox not kept", reason=str(error))
            self.people_trouble = str(error)
        else:
            self.people_trouble = ""

    async def _keep_preview(self, preview: Preview) -> None:
        old = self.control.page(preview.tenant, Preview, where={"device": preview.device}).items
        for record in old:
            if record.uid != preview.uid:
                self.commits.delete(record.tenant, Preview, record.uid)
        self.commits.add([preview])
        await self._show([preview])

    def _watch_store(self, monotonic: float) -> None:
        change = self.outbox.watch(monotonic)
        if change is not None:
            status, seconds = change
            _log.warning(status, after_s=round(seconds, 1))
            self._tell(status, "events wait in the spool" if status == "store_away" else "", gap_s=seconds)
        if dropped := self.outbox.take_dropped():
            self._tell(
                "drops", "the spool for the store is full", counts={f"priority_{p}": n for p, n in dropped.items()}
            )

    async def _keep_house(self) -> None:
        """Forget what is older than its time, once an hour."""
        while True:
            try:
                await self._forget_old(self.clock.now())
            except ThingwardError as error:
                _log.warning("housekeeping", reason=str(error))
            await self.clock.sleep(HOUSEKEEPING_S)

    async def _forget_old(self, now: float) -> None:
        before = now - self.ages.retention_days * 86400.0
        for tenant in self.control.tenants():
            for kind, uid in await asyncio.to_thread(outdated, self.control, tenant, now, self.ages):
                self.commits.delete(tenant, kind, uid)
            question = encode_question(Prune(tenant, before))
            await self.store_link.call(channels.QUERY, question, timeout_s=300.0)

    async def _status(self, peer: str, frame: Frame) -> Frame:
        return Frame(kind="answer", body=msgspec.msgpack.encode(self.status()))

    def status(self) -> channels.CoreStatus:
        """Tell how core is."""
        engine, monotonic = self.engine, self.clock.monotonic()
        away_since = self.outbox.away_since
        away_s = monotonic - away_since if away_since is not None else 0.0
        problems = list(self.packs.problems)
        if engine.unsafe_since:
            problems.append("The journal cannot be written: nothing is acknowledged. Free some space on the disk.")
        if self.commits.trouble:
            problems.append(f"The control store refuses: {self.commits.trouble}")
        if away_s:
            problems.append(f"The event store does not answer for {away_s:.0f} s; events wait on disk.")
        counters = {name: float(value) for name, value in msgspec.structs.asdict(engine.counters).items()}
        counters |= {
            "journal_bytes": float(self.journal.size_bytes()),
            "spool_bytes": float(self.outbox.pending_bytes),
            "commits_waiting": float(self.commits.waiting),
            "commits_dropped": float(self.commits.dropped),
            "commands_open": float(sum(map(len, engine.commands.values()))),
            "commands_failed": float(self.effects.failed),
            "batches_refused": float(self.intake.refused),
            "link_hostile": float(self.server.hostile),
            "live_missed": float(self.server.missed),
        }
        return channels.CoreStatus(
            started=self.started,
            unsafe_since=engine.unsafe_since,
            store_away_since=self.clock.now() - away_s if away_s else 0.0,
            peers=self.server.peers,
            counters=counters,
            stages=self.road.metrics,
            problems=tuple(problems),
            packs=self.packs.infos,
        )


async def _pong(peer: str, frame: Frame) -> None:
    """Answer a ping with nothing."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run core until told to stop."""
    keep_capabilities(())
    core = Core(settings)
    try:
        await core.start()
        await core.run(stop)
    finally:
        await core.close()
