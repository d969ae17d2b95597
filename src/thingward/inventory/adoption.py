"""Learning that another run did, taken over: the platform goes on from it as if it had seen that traffic itself."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from thingward.inventory.defaults import update_defaults
from thingward.inventory.learner import ADDRESSES_PER_ENTRY, DeviceLearner, LearnBounds, LearnerState
from thingward.inventory.settle import CURVE_POINTS, thin
from thingward.inventory.traffic import TrafficLog, TrafficState
from thingward.model.errors import InvalidInput
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.profile import Adoption, Learnt
from thingward.model.terms import FlowGroup

#: Adoptions that a profile remembers; older ones are forgotten and could be taken once more.
MAX_ADOPTED: Final = 32
MAX_DAYS: Final = 400
_HOURS_OF_A_WEEK: Final = 168
_LATEST: Final = 1e11


class Kept(msgspec.Struct, kw_only=True):
    """Everything that learning keeps of one device."""

    learner: LearnerState
    traffic: TrafficState


_decoder = msgspec.msgpack.Decoder(Kept)


def pack_learnt(kept: Kept, *, tenant: str, site: str, source: str) -> Learnt:
    """Make a record of a device's learning; the same learning has the same uid."""
    state = msgspec.msgpack.encode(kept)
    return Learnt(
        uid=Uid("l-" + hashed_uid("learnt", kept.learner.device, state.hex())[:24]),
        tenant=Tenant(tenant),
        time=kept.learner.last,
        source=source,
        device=kept.learner.device,
        site=site,
        state=state,
    )


def verify_learnt(learnt: Learnt) -> None:
    """Raise InvalidInput if a record does not hold learning of the device that it names."""
    _decoded(learnt)


def read_learnt(learnt: Learnt, device: str, bounds: LearnBounds) -> Kept:
    """Unpack another run's learning and cut it to our bounds.

    Args:
        device: what the device is called here; it may have become part of another record.
    Raises:
        InvalidInput: it is none, or of another device.
    """
    kept = _decoded(learnt)
    state, traffic = kept.learner, kept.traffic
    state.device = device
    learnt_entries = [entry for entry in state.entries if entry.origin == "learnt"]
    state.dropped += len(learnt_entries[bounds.entries :])
    state.entries = learnt_entries[: bounds.entries]
    for entry in state.entries:
        entry.addresses = entry.addresses[:ADDRESSES_PER_ENTRY]
        entry.days = set(sorted(entry.days)[:MAX_DAYS])
    state.attempts = dict(list(state.attempts.items())[: bounds.attempts])
    state.blocked = state.blocked[: bounds.entries]
    while len(state.curve) > CURVE_POINTS:
        state.curve = thin(state.curve)
    state.hours = {hour for hour in state.hours if 0 <= hour < _HOURS_OF_A_WEEK}
    state.days = set(sorted(state.days)[:MAX_DAYS])
    state.adopted = state.adopted[-MAX_ADOPTED:]
    traffic.bindings = traffic.bindings[-bounds.cells :]
    return kept


def join_learning(
    mine: DeviceLearner, log: TrafficLog, kept: Kept, learnt: Learnt, bounds: LearnBounds, now: float
) -> tuple[DeviceLearner, TrafficLog]:
    """Put two runs' learning of one device together, the earlier one first.

    What the later one recorded after the end of the earlier one is learnt once more on top of it, so that flow counts,
    the learning curve and the time since anything new are those of one run over both. Where the two overlap in time the
    later one's entries are taken but its flows are not counted again: that can only make a profile settle later.
    """
    theirs, their_log = _learner_of(kept, mine.state.maker, bounds), TrafficLog(bounds.cells)
    their_log.restore(kept.traffic)
    adoption = Adoption(
        record=learnt.uid,
        source=learnt.source,
        first=theirs.state.first,
        last=theirs.state.last,
        flows=theirs.state.flows,
        time=now,
    )
    adopted = [*theirs.state.adopted, *mine.state.adopted, adoption][-MAX_ADOPTED:]
    version = max(mine.state.version, theirs.state.version) + 1
    if not mine.state.flows:
        joined, joined_log = theirs, their_log
        joined.block(mine.state.blocked)
        joined_log.absorb(log)
    elif theirs.state.first <= mine.state.first:
        joined, joined_log = _continued(theirs, their_log, mine, log, bounds)
    else:
        joined, joined_log = _continued(mine, log, theirs, their_log, bounds)
    joined.state.adopted = adopted
    joined.state.version = max(joined.state.version, version)
    return joined, joined_log


def _decoded(learnt: Learnt) -> Kept:
    try:
        kept = _decoder.decode(learnt.state)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not the learning of a device: {error}.") from error
    state = kept.learner
    times = [state.first, state.last, state.last_new, kept.traffic.width_s]
    times += [time for entry in state.entries for time in (entry.first, entry.last)]
    times += [time for group in kept.traffic.groups for time in (group.cell, group.first, group.last)]
    times += [time for time, _, _ in kept.traffic.bindings]
    if state.device != learnt.device or not all(math.isfinite(time) and 0 <= time < _LATEST for time in times):
        raise InvalidInput("the learning is not that of the device that it names, or its times are none.")
    if kept.traffic.width_s < 1.0:
        raise InvalidInput("the recorded traffic has cells of no width.")
    return kept


def _learner_of(kept: Kept, maker: str, bounds: LearnBounds) -> DeviceLearner:
    """Make a learner of a state; safe defaults are always our own."""
    learner = DeviceLearner(kept.learner.device, bounds)
    kept.learner.entries = [*learner.state.entries, *kept.learner.entries]
    learner.restore(kept.learner)
    learner.state.maker = maker or learner.state.maker
    if learner.state.maker:
        learner.add_defaults(update_defaults(learner.state.maker))
    return learner


def _continued(
    base: DeviceLearner, log: TrafficLog, later: DeviceLearner, later_log: TrafficLog, bounds: LearnBounds
) -> tuple[DeviceLearner, TrafficLog]:
    """Let the earlier learner go on with what the later one saw."""
    end = base.state.last
    base.block(later.state.blocked)
    if later_log.dropped:  # the record of its traffic is not whole: its entries are, and what it has no traffic for
        is_overlapping = later.state.first <= end
        base.absorb(_without_counts(later) if is_overlapping else later)
        groups = [group for group in later_log.groups() if group.first > end] if is_overlapping else []
    else:
        groups = list(later_log.groups())
    _replay(base, groups, later_log, end)
    seen, too = base.state.seen, later.state.seen
    base.state.seen = {kind: max(seen.get(kind, 0), too.get(kind, 0)) for kind in {*seen, *too}}
    after = [group for group in later_log.groups() if group.first > end]
    fresh = TrafficLog(bounds.cells)
    fresh.restore(msgspec.structs.replace(later_log.state(), width_s=log.width_s, groups=after))
    log.absorb(fresh)
    return base, log


def _without_counts(later: DeviceLearner) -> DeviceLearner:
    """Give a learner whose entries count, and whose flows, which both may have seen, do not."""
    state = later.state
    state.flows = state.telling = state.answered = 0
    for entry in state.entries:
        entry.flows = entry.opened = 0
    return later


def _replay(base: DeviceLearner, groups: list[FlowGroup], log: TrafficLog, end: float) -> None:
    """Learn recorded traffic; of that from before `end`, which was counted already, only what is unknown."""
    steps: list[tuple[float, int, FlowGroup | tuple[str, str]]] = [
        (time, 0, (address, name)) for time, address, name in log.bindings
    ]
    steps += [(group.first, 1, group) for group in groups]
    for _, _, step in sorted(steps, key=lambda step: step[:2]):
        if not isinstance(step, FlowGroup):
            base.bind(*step)
        elif step.first > end or not base.knows(step.terms):
            base.learn(
                step.terms,
                step.first,
                answered=step.answered > 0,
                opened=step.opened > 0,
                count=step.flows,
                last=step.last,
            )
