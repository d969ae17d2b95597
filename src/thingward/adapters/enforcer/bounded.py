"""One enforcer over any kind of rules: checks, remembers, measures, and leaves the rules themselves to an engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

import msgspec

from thingward.adapters.enforcer.limits import Block, Guardrail, Recent
from thingward.model.action import Action, EnforcementState, Limits, Outcome
from thingward.model.errors import InvalidInput, ThingwardError
from thingward.model.ids import Tenant, hashed_uid
from thingward.ports.clock import Clock
from thingward.ports.enforcer import EnforcerStatus
from thingward.wire.nft import Elements, NameBinding, Ruleset, digest_state, quarantine_elements

MAX_BLOCKS = 4096

Status = Literal["applied", "undone", "refused", "failed", "expired"]
#: Told the names that the resolver must watch after every new state; gives a plain line if something went wrong.
TellResolver = Callable[[Sequence[NameBinding]], Awaitable[str]]


class Rules(Protocol):
    """The engine: it holds rules, and raises ThingwardError when it cannot."""

    name: str

    def unusable(self) -> str:
        """Give the reason why it cannot act here, empty if it can."""
        ...

    def own(self) -> frozenset[str]:
        """Give this machine's own addresses."""
        ...

    def hold(self, states: Mapping[str, EnforcementState]) -> Ruleset:
        """Replace everything but quarantines and learnt addresses."""
        ...

    def add(self, elements: Elements, ttl_s: float) -> None:
        """Shut out."""
        ...

    def withdraw(self, elements: Elements) -> None:
        """Let back in."""
        ...

    def elements(self) -> dict[str, dict[str, float]]:
        """Give the quarantined elements: set to element to seconds left."""
        ...

    def rules_digest(self) -> str:
        """Digest everything else, without counters and learnt addresses."""
        ...

    def refused(self) -> dict[str, int]:
        """Count refused packets by counter."""
        ...

    def remove(self) -> None:
        """Remove everything."""
        ...


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must survive a restart."""

    states: dict[str, EnforcementState] = {}
    blocks: tuple[Block, ...] = ()
    recent: tuple[Recent, ...] = ()
    off_since: float = 0.0


class Keeper(Protocol):
    """Where `Kept` is kept."""

    def load(self) -> bytes:
        """Give what was saved last, empty if nothing."""
        ...

    def save(self, data: bytes) -> None:
        """Replace it as one; raises OSError."""
        ...


class BoundedEnforcer:
    """The Enforcer port over an engine; `limits` are this machine's own, see `Guardrail`."""

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        *,
        limits: Limits | None = None,
        keeper: Keeper | None = None,
        tell_resolver: TellResolver | None = None,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._guard = Guardrail(limits or Limits())
        self._keeper = keeper
        self._tell_resolver = tell_resolver
        self._states: dict[str, EnforcementState] = {}
        self._blocks: dict[tuple[str, str], Block] = {}
        self._ruleset = Ruleset(tables=())
        self._expected = ""
        self._off_since = 0.0
        self._trouble = ""
        self._lock = asyncio.Lock()

    async def recall(self) -> None:
        """Read what was held before, and touch nothing."""
        async with self._lock:
            self._recall()

    async def start(self) -> str:
        """Put in force again what was held before (fail static); gives a plain line about what could not be."""
        async with self._lock:
            self._recall()
            why = self._unusable()
            if why:
                return why
            self._put_back()
            names = self._ruleset.names
        return "; ".join(line for line in (self._trouble, await self._resolve(names)) if line)

    async def mend(self) -> str:
        """Put back what somebody else removed or changed (a firewall that was restarted); says so in a plain line."""
        async with self._lock:
            if self._unusable() or not self._ruleset.tables or self._rules.rules_digest() == self._expected:
                return ""
            try:
                self._put_back()
            except ThingwardError as error:
                return f"the rules were changed by somebody else and cannot be put back: {error}"
            return "the rules were changed by somebody else and have been put back"

    async def resume(self, tenant: str) -> Outcome:
        """Take up enforcement again after `remove_all`: core's state is put in force, quarantines start anew."""
        now = self._clock.now()
        report = self._report(tenant, f"resume:{now:.6f}", "resume")
        async with self._lock:
            why = self._rules.unusable()
            if why:
                return report("failed", detail=why)
            self._off_since = 0.0
            try:
                self._put_back()
                digest = self._digest()
            except ThingwardError as error:
                return report("failed", detail=str(error))
            self._save()
            names = self._ruleset.names
        return report("applied", detail=await self._resolve(names) or self._trouble, after=digest)

    async def hold(self, tenant: str, state: EnforcementState) -> Outcome:
        """Make this state be in force; on any failure the one before stays."""
        report = self._report(tenant, f"hold:{state.site}:{state.version}", "hold")
        async with self._lock:
            before = self._states.get(tenant)
            if before == state and self._ruleset.tables and not self._unusable():
                return report("applied", detail=f"version {state.version} was in force already")
            self._states[tenant] = state
            if why := self._unusable():
                self._save()  # known, for the time when it can be
                return report("refused", detail=why)
            try:
                left_out = self._apply_states()
                digest = self._digest()
            except ThingwardError as error:
                self._forget(tenant, before)
                return report("refused" if isinstance(error, InvalidInput) else "failed", detail=str(error))
            self._save()
            names = self._ruleset.names
        notes = [*left_out, *self._ruleset.skipped, await self._resolve(names), self._trouble]
        return report("applied", detail="; ".join(line for line in notes if line)[:4000], after=digest)

    async def quarantine(self, tenant: str, action: Action) -> Outcome:
        """Shut the action's macs and addresses out; a device that is shut out already is moved to these."""
        report = self._report(tenant, action.uid, "quarantine")
        async with self._lock:
            now = self._clock.now()
            self._guard.own = self._rules.own()
            key = (tenant, action.device or action.uid)
            old = self._blocks.get(key)
            repeated = old is not None and old.action == action.uid and old.expires > now
            ttl_s = _left_of(old, now) if old is not None and repeated else action.ttl_s
            why = self._refusal(tenant, action, now, repeated=repeated)
            if why or action.dry_run:
                return (
                    report("refused", detail=why) if why else report("applied", detail="dry run: nothing was changed")
                )
            try:
                elements = quarantine_elements(action.macs, action.addresses)
                before, after = self._move(old, elements, ttl_s)
            except ThingwardError as error:
                return report("refused" if isinstance(error, InvalidInput) else "failed", detail=str(error))
            self._blocks[key] = _block(tenant, action, old.began if old and repeated else now, now + ttl_s)
            if not repeated:
                self._guard.record(tenant, action, now)
            self._save()
            return report("applied", detail=self._trouble, before=before, after=after)

    async def release(self, tenant: str, action: Action) -> Outcome:
        """Undo a device's quarantine; what the kernel has ended by itself already is no error."""
        report = self._report(tenant, action.uid, "release")
        async with self._lock:
            block = self._find(tenant, action)
            macs = (*action.macs, *(block.macs if block else ()))
            addresses = (*action.addresses, *(block.addresses if block else ()))
            if action.tenant != tenant or not (macs or addresses) or self._off_since:
                return report("refused", detail=self._unusable() or "there is no such quarantine")
            if action.dry_run:
                return report("undone", detail="dry run: nothing was changed")
            try:
                before, after = self._let_in(block, macs, addresses)
            except ThingwardError as error:
                return report("refused" if isinstance(error, InvalidInput) else "failed", detail=str(error))
            if block is not None:
                self._blocks.pop((tenant, block.device or block.action), None)
            self._save()
            return report("undone", detail=self._trouble, before=before, after=after)

    async def status(self, tenant: str) -> EnforcerStatus:
        """Tell what the engine holds now, asked of the engine and not remembered."""
        async with self._lock:
            state = self._states.get(tenant)
            version = state.version if state else 0
            why = self._unusable()
            if why:
                return EnforcerStatus(name=self._rules.name, available=False, version=version, detail=why)
            names = self._ruleset.counters
            return EnforcerStatus(
                name=self._rules.name,
                available=True,
                version=version,
                quarantined={key: left for found in self._rules.elements().values() for key, left in found.items()},
                digest=self._digest(),
                detail=self._trouble,
                devices=tuple(sorted(entry.device for entry in state.entries)) if state else (),
                refused={names.get(key, key): count for key, count in self._rules.refused().items()},
                skipped=self._ruleset.skipped,
            )

    async def remove_all(self, tenant: str) -> Outcome:
        """Remove everything that was ever set, for all tenants; nothing is set again before `resume`."""
        now = self._clock.now()
        report = self._report(tenant, f"remove_all:{now:.6f}", "remove_all")
        async with self._lock:
            try:
                self._rules.remove()
            except ThingwardError as error:
                return report("failed", detail=str(error))
            self._blocks, self._ruleset, self._off_since = {}, Ruleset(tables=()), now
            self._save()
        return report("undone", detail=await self._resolve(()) or self._trouble)

    def _unusable(self) -> str:
        if self._off_since:
            since = datetime.fromtimestamp(self._off_since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            return f"everything was removed on {since}; `thingward enforce resume` takes it up again"
        return self._rules.unusable()

    def _refusal(self, tenant: str, action: Action, now: float, *, repeated: bool) -> str:
        why = self._unusable()
        if why:
            return why
        state = self._states.get(tenant)
        if repeated:
            return self._guard.protected_of(action, state)
        if len(self._blocks) >= MAX_BLOCKS:
            return f"{MAX_BLOCKS} quarantines are in force, more are not held"
        return self._guard.refuse(tenant, action, state, now)

    def _apply_states(self) -> list[str]:
        """Make the engine hold all tenants' states; gives a line for every device that is left out."""
        left_out = []
        states = {}
        self._guard.own = self._rules.own()
        for tenant, state in self._states.items():
            entries = []
            for entry in state.entries:
                why = self._guard.protected_entry(entry, state)
                if why:
                    left_out.append(f"{entry.device}: not enforced, {why}")
                else:
                    entries.append(entry)
            states[tenant] = msgspec.structs.replace(state, entries=tuple(entries))
        self._ruleset = self._rules.hold(states)
        self._expected = self._rules.rules_digest()
        return left_out

    def _put_back(self) -> None:
        self._apply_states()
        now = self._clock.now()
        present = {element for found in self._rules.elements().values() for element in found}
        for block in self._blocks.values():
            self._restore(block, present, now)

    def _forget(self, tenant: str, before: EnforcementState | None) -> None:
        if before is None:
            del self._states[tenant]
        else:
            self._states[tenant] = before

    def _ensure_rules(self) -> None:
        if not self._ruleset.tables:
            self._apply_states()

    def _move(self, old: Block | None, elements: Elements, ttl_s: float) -> tuple[str, str]:
        """Set elements (and end the device's former ones); gives the digests before and after."""
        self._ensure_rules()
        before = self._rules.elements()
        self._rules.add(elements, ttl_s)
        if old is not None:
            stale = set(quarantine_elements(old.macs, old.addresses).pairs) - set(elements.pairs)
            self._withdraw(stale, keep=old)
        # The rules themselves cannot have changed in between: measured after, so that nothing waits for it.
        rules = self._rules.rules_digest()
        return digest_state(rules, before), digest_state(rules, self._rules.elements())

    def _let_in(self, block: Block | None, macs: Sequence[str], addresses: Sequence[str]) -> tuple[str, str]:
        self._ensure_rules()
        before = self._rules.elements()
        pairs = set(quarantine_elements(macs, addresses).pairs)
        if not macs:  # an address may also have been blocked beside a hardware address
            pairs |= {(name.replace("_ip", "_to"), element) for name, element in pairs}
        self._withdraw(pairs, keep=block)
        rules = self._rules.rules_digest()
        return digest_state(rules, before), digest_state(rules, self._rules.elements())

    def _withdraw(self, pairs: set[tuple[str, str]], *, keep: Block | None) -> None:
        """End elements unless another device's quarantine needs them too."""
        now = self._clock.now()
        for other in self._blocks.values():
            if other is not keep and other.expires > now:
                pairs = pairs - set(quarantine_elements(other.macs, other.addresses).pairs)
        if pairs:
            self._rules.withdraw(Elements(pairs=tuple(sorted(pairs))))

    def _find(self, tenant: str, action: Action) -> Block | None:
        block = self._blocks.get((tenant, action.device)) if action.device else None
        if block is not None:
            return block
        wanted = {action.uid, *action.parents}
        return next((item for item in self._blocks.values() if item.tenant == tenant and item.action in wanted), None)

    def _restore(self, block: Block, present: set[str], now: float) -> None:
        elements = quarantine_elements(block.macs, block.addresses)
        missing = tuple(pair for pair in elements.pairs if pair[1] not in present)
        if missing:  # the machine was restarted: the kernel forgot
            self._rules.add(Elements(pairs=missing), _left_of(block, now))

    def _digest(self) -> str:
        return digest_state(self._rules.rules_digest(), self._rules.elements())

    async def _resolve(self, names: Sequence[NameBinding]) -> str:
        return await self._tell_resolver(names) if self._tell_resolver else ""

    def _recall(self) -> None:
        kept, self._trouble = self._load()
        now = self._clock.now()
        self._states = dict(kept.states)
        self._off_since = kept.off_since
        self._guard.recent = kept.recent
        self._blocks = {
            (block.tenant, block.device or block.action): block for block in kept.blocks if block.expires > now
        }

    def _load(self) -> tuple[Kept, str]:
        if self._keeper is None:
            return Kept(), ""
        try:
            data = self._keeper.load()
            return (msgspec.msgpack.decode(data, type=Kept) if data else Kept()), ""
        except (OSError, msgspec.DecodeError) as error:
            return Kept(), f"what was held before cannot be read ({error}): waiting for core to say it again"

    def _save(self) -> None:
        now = self._clock.now()
        self._blocks = {key: block for key, block in self._blocks.items() if block.expires > now}
        if self._keeper is None:
            return
        kept = Kept(
            states=self._states,
            blocks=tuple(self._blocks.values()),
            recent=self._guard.recent,
            off_since=self._off_since,
        )
        try:
            self._keeper.save(msgspec.msgpack.encode(kept))
            self._trouble = ""
        except OSError as error:
            self._trouble = f"in force, but a restart of this machine would forget it: {error}"

    def _report(self, tenant: str, action: str, step: str) -> _Report:
        return _Report(tenant, action, step, self._rules.name, self._clock)


class _Report:
    """Makes the outcome of one step, with the time that it took."""

    def __init__(self, tenant: str, action: str, step: str, enforcer: str, clock: Clock) -> None:
        self._make = (tenant, action, step, enforcer)
        self._clock = clock
        self._began = time.perf_counter()

    def __call__(self, status: Status, *, detail: str = "", before: str = "", after: str = "") -> Outcome:
        tenant, action, step, enforcer = self._make
        return Outcome(
            uid=hashed_uid("outcome", action, step, status),
            tenant=Tenant(tenant),
            time=self._clock.now(),
            source=f"enforcer:{enforcer}",
            parents=(action,),
            action=action,
            status=status,
            enforcer=enforcer,
            detail=detail,
            took_s=time.perf_counter() - self._began,
            state_before=before,
            state_after=after,
        )


def _left_of(block: Block, now: float) -> float:
    """Give the seconds that a block has left, never more than it was made for: the clock may have been set back."""
    return min(block.expires - now, block.expires - block.began)


def _block(tenant: str, action: Action, began: float, expires: float) -> Block:
    return Block(
        tenant=tenant,
        site=action.site,
        device=action.device,
        action=action.uid,
        began=began,
        expires=expires,
        macs=action.macs,
        addresses=action.addresses,
    )
