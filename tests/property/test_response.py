"""Whatever happens: never-block holds, limits hold, nothing acts without a person, a restart changes nothing."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.response.builders import NOW, applied, asked, device, finding, limits, outcome, released, rule
from thingward.model.action import ActionKind, Limits
from thingward.model.errors import ThingwardError
from thingward.model.flow import Enforce
from thingward.response.bounds import HOUR_S, allowed_per_hour, never_block_rule
from thingward.response.stage import ResponseStage

RULES = ["scan.hosts", "login.mirai_list", "policy.violation", "exposure.reachable", "device.new"]
NEVER = ["192.168.1.3", "02:00:00:00:00:04", "192.168.1.8/30", "fe80::/64", "nonsense"]

devices = st.builds(
    device,
    st.integers(1, 12),
    role=st.sampled_from(["", "", "", "gateway", "resolver", "server"]),
    group=st.sampled_from([False, False, False, True]),
    macs=st.sampled_from([(), ("02:00:00:00:00:04",), ("02:00:00:00:00:05", "02:00:00:00:00:06")]),
    addresses=st.sampled_from([(), ("192.168.1.3",), ("192.168.1.9", "fe80::9"), ("192.168.1.20",)]),
) | st.builds(device, st.integers(1, 12))
steps = st.one_of(
    devices.map(lambda d: ("record", d)),
    st.builds(
        lambda n, dev, what, alert, severity: (
            "record",
            finding(n, dev=f"d-{dev}", rule=what, is_alert=alert, severity=severity),
        ),
        st.integers(0, 999), st.integers(1, 12), st.sampled_from(RULES), st.booleans(), st.integers(1, 5),
    ),
    st.builds(
        lambda uid, enabled, patterns, ttl: ("record", rule(uid=uid, enabled=enabled, rules=patterns, ttl_s=ttl)),
        st.sampled_from(["r-1", "r-2"]),
        st.booleans(),
        st.sampled_from([("*",), ("scan.*", "policy.violation"), ("exposure.*",)]),
        st.sampled_from([60.0, 600.0, 90_000.0]),
    ),
    st.lists(st.sampled_from(NEVER), max_size=3).map(
        lambda never: ("record", limits(never_block=tuple(never), fleet_share_per_hour=0.3, max_ttl_s=7200.0))
    ),
    st.tuples(st.just("ask"), st.integers(1, 12), st.booleans()),
    st.tuples(st.just("release"), st.integers(1, 12)),
    st.tuples(st.just("outcome"), st.sampled_from(["applied", "failed", "refused", "undone"])),
    st.tuples(st.just("wait"), st.integers(1, 4000)),
)  # fmt: skip


class World:
    """Plays a history against a stage and remembers what was asked of the enforcer."""

    def __init__(self, stage):
        self.stage, self.now, self.pending, self.asked, self.forced, self.seen = stage, NOW, [], [], set(), []

    def play(self, step, n):
        self.now += 1.0
        match step:
            case ("record", record):
                self.take(self.stage.feed([record], self.now))
            case ("ask", dev, force):
                self.person(lambda: asked(self.stage, f"d-{dev}", now=self.now, seed=f"i{n}", force=force), force)
            case ("release", dev):
                self.person(lambda: released(self.stage, f"d-{dev}", now=self.now, seed=f"i{n}"), False)
            case ("outcome", status):
                if self.pending:
                    action = self.pending.pop(0)
                    self.take(self.stage.feed([outcome(action, status, time=self.now)], self.now))
            case ("wait", seconds):
                self.now += seconds
                self.take(self.stage.tick(self.now))

    def person(self, plan, force):
        try:
            planned = plan()
        except (ThingwardError, KeyError):
            return
        if planned.refusal is None:
            self.forced |= {record.uid for record in planned.records} if force else set()
            self.take(self.stage.feed(planned.records, self.now))

    def take(self, output):
        self.seen.append(msgspec.to_builtins(output.records))
        for action in applied(output):
            situation = self.stage.situation("default")
            situation = msgspec.structs.replace(situation, devices=dict(situation.devices))
            self.asked.append((self.now, action, situation))
            if action.uid not in {known.uid for known in self.pending}:
                self.pending.append(action)


def first_asks(world):
    """Leave out what was asked again for want of an answer."""
    seen = set()
    for time, action, situation in world.asked:
        if action.uid not in seen:
            seen.add(action.uid)
            yield time, action, situation


def played(history, stage=None):
    world = World(stage or ResponseStage(Limits(fleet_share_per_hour=0.3)))
    for n, step in enumerate(history):
        world.play(step, n)
    return world


# Every history begins with a fleet; most also with a rule that a person enabled.
FLEET = [("record", device(n, role={1: "gateway", 2: "resolver"}.get(n, ""))) for n in range(1, 13)]
RULE = [("record", rule(uid="r-0", rules=("scan.*", "policy.violation"), min_severity=2))]
histories = st.builds(
    lambda with_rule, tail: [*FLEET, *(RULE if with_rule else []), *tail],
    st.sampled_from([True, True, False]),
    st.lists(steps, max_size=50),
)


@given(histories)
def test_never_block_and_vital_roles_hold(history):
    for _, action, situation in played(history).asked:
        if action.kind is not ActionKind.QUARANTINE:
            continue
        target = situation.devices[action.device]
        assert never_block_rule(situation.limits.never_block, (*action.macs, *action.addresses)) == ""
        assert target.role not in ("gateway", "resolver")
        assert not target.group
        assert action.macs or action.addresses
        for other in situation.devices.values():
            if other.role in ("gateway", "resolver"):
                assert not {*action.macs, *action.addresses} & {*other.macs, *other.addresses}


@given(histories)
def test_limits_hold_unless_a_person_forces(history):
    world = played(history)
    begun = []
    for time, action, situation in first_asks(world):
        if action.kind is not ActionKind.QUARANTINE:
            continue
        assert 0 < action.ttl_s <= situation.limits.max_ttl_s
        recent = {dev for t, dev in begun if t > time - HOUR_S}
        fleet = sum(not d.group for d in situation.devices.values())
        if action.uid not in world.forced and action.device not in recent:
            assert len(recent) < allowed_per_hour(situation.limits, fleet)
        begun.append((time, action.device))


@given(histories)
def test_nothing_acts_without_a_person(history):
    without = [step for step in history if step[0] in ("record", "wait", "outcome")]
    without = [s for s in without if not getattr(s[1], "enabled", False)]
    assert played(without).asked == []


@given(histories)
def test_rules_act_only_as_they_say(history):
    for _, action, _ in played(history).asked:
        if action.requested_by.startswith("rule:"):
            assert action.finding
            assert action.case
            assert action.trigger_at <= action.requested_at


@given(histories)
def test_profiles_are_never_put_in_force_by_the_stage(history):
    stage = ResponseStage()
    for n, step in enumerate(history):
        if step[0] == "record":
            assert not [c for c in stage.feed([step[1]], NOW + n).commands if isinstance(c, Enforce)]


@given(histories, st.integers(0, 40))
def test_a_restart_in_the_middle_does_not_matter(history, cut):
    whole = played(history)
    first = played(history[:cut])
    stage = ResponseStage(Limits(fleet_share_per_hour=0.3))
    stage.restore(first.stage.snapshot())
    second = World(stage)
    second.now, second.pending, second.seen = first.now, list(first.pending), list(first.seen)
    for n, step in enumerate(history[cut:], cut):
        second.play(step, n)
    assert second.seen == whole.seen
    assert stage.snapshot() == whole.stage.snapshot()


@given(histories)
def test_one_quarantine_per_device_at_a_time(history):
    world = World(ResponseStage())
    for n, step in enumerate(history):
        world.play(step, n)
        held = world.stage.situation("default").quarantines
        assert len({action.uid for action in held.values()}) == len(held)
        assert all(action.kind is ActionKind.QUARANTINE for action in held.values())
