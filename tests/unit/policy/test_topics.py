"""Grants, snapshots, rates."""

from __future__ import annotations

import msgspec
import pytest

from thingward.model.errors import InvalidInput
from thingward.model.topic_access import (
    AccessSnapshot,
    DeviceAccess,
    Door,
    Grant,
    Mode,
    Operation,
    RateLimit,
    TopicRequest,
    decode_snapshot,
    encode_snapshot,
)
from thingward.policy.topics import Buckets, Rulebook, TokenBucket, TopicGate, decide

GRANTS = (
    Grant(name="own", filter="site/${device}/#", publish=True, max_bytes=100, max_qos=1, retain=False),
    Grant(name="orders", filter="orders/${class}/+", subscribe=True, max_qos=1),
    Grant(name="work", filter="work/#", subscribe=True, shared=True),
    Grant(name="sys", filter="$SYS/broker/uptime", subscribe=True),
)
BOOK = AccessSnapshot(
    tenant="main",
    version=7,
    made_at=1.0,
    modes={Door.ENROLLED: Mode.ENFORCE},
    grants={"sensors": GRANTS, "guests": (Grant(name="hello", filter="guest/${client_id}", publish=True),)},
    devices={
        "d-1": DeviceAccess(door=Door.ENROLLED, grants=("sensors",), device_class="lamp", rates=RateLimit(2.0, 3)),
        "d-2": DeviceAccess(door=Door.LEGACY, grants=("sensors",), device_class="lamp"),
        "d-3": DeviceAccess(door=Door.LEGACY, grants=("sensors",), blocked="quarantine"),
    },
    class_rates={"lamp": RateLimit(10.0, 5)},
    strangers=("guests",),
)
PUBLISH, SUBSCRIBE, RECEIVE = Operation.PUBLISH, Operation.SUBSCRIBE, Operation.RECEIVE


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (TopicRequest(PUBLISH, "site/d-1/a/b", 100, 1), "granted"),
        (TopicRequest(PUBLISH, "site/d-1"), "granted"),
        (TopicRequest(PUBLISH, "site/d-2/a"), "no grant"),
        (TopicRequest(PUBLISH, "site/d-1/a", 101), "too large"),
        (TopicRequest(PUBLISH, "site/d-1/a", 1, 2), "qos"),
        (TopicRequest(PUBLISH, "site/d-1/a", 1, 0, True), "retain"),
        (TopicRequest(PUBLISH, "orders/lamp/1"), "no grant"),
        (TopicRequest(SUBSCRIBE, "orders/lamp/+", qos=1), "granted"),
        (TopicRequest(SUBSCRIBE, "orders/lamp/1", qos=2), "qos"),
        (TopicRequest(SUBSCRIBE, "orders/lamp/#"), "no grant"),
        (TopicRequest(SUBSCRIBE, "orders/+/1"), "no grant"),
        (TopicRequest(SUBSCRIBE, "orders/lamp/1", group="g"), "shared"),
        (TopicRequest(SUBSCRIBE, "work/+/x", group="g"), "granted"),
        (TopicRequest(SUBSCRIBE, "$SYS/#"), "no grant"),
        (TopicRequest(SUBSCRIBE, "$SYS/broker/uptime"), "granted"),
        (TopicRequest(SUBSCRIBE, "site/d-1/a"), "no grant"),
        (TopicRequest(RECEIVE, "orders/lamp/9"), "granted"),
        (TopicRequest(RECEIVE, "$SYS/broker/load"), "no grant"),
    ],
)
def test_decisions(request_, reason):
    decision = decide(request_, Rulebook(BOOK).rules("d-1"))
    assert (decision.reason, decision.permit, decision.enforced) == (reason, reason == "granted", True)


def test_a_door_observes_unless_told_otherwise():
    decision = decide(TopicRequest(PUBLISH, "elsewhere"), Rulebook(BOOK).rules("d-2"))
    assert not decision.permit and not decision.refuses


def test_what_is_blocked_is_refused_in_every_mode():
    decision = decide(TopicRequest(PUBLISH, "site/d-3/a"), Rulebook(BOOK).rules("d-3"))
    assert decision.refuses and decision.reason == "blocked: quarantine"


def test_a_stranger_is_a_guest():
    rules = Rulebook(BOOK).rules("d-9", client_id="lamp7")
    assert rules.access.door is Door.GUEST
    assert decide(TopicRequest(PUBLISH, "guest/lamp7"), rules).permit


@pytest.mark.parametrize("client_id", ["#", "+", "a/b", "", "${device}", "$SYS"])
def test_a_name_cannot_widen_a_grant(client_id):
    rules = Rulebook(BOOK).rules("d-9", client_id=client_id)
    assert rules.unfilled == ("${client_id}",)
    for topic in (f"guest/{client_id}", "guest/x", "guest/", "guest", "guest/${client_id}"):
        assert not decide(TopicRequest(PUBLISH, topic), rules).permit


@pytest.mark.parametrize("text", ["a/#/b", "a#", "+a", "", "a/${other}"])
def test_a_grant_that_is_no_filter_grants_nothing(text):
    book = msgspec.structs.replace(BOOK, grants={"sensors": (Grant(name="odd", filter=text, publish=True),)})
    rules = Rulebook(book).rules("d-1")
    assert rules.publish.unusable == ("odd",)
    assert not decide(TopicRequest(PUBLISH, text), rules).permit


def test_devices_with_the_same_grants_share_their_tries():
    book = Rulebook(BOOK)
    one, other = book.rules("d-1"), book.rules("d-2")
    assert one.publish is other.publish and one.filled != other.filled
    assert decide(TopicRequest(PUBLISH, "site/d-1"), other).reason == "no grant"


def test_gate_counts_and_takes_new_rules_at_once():
    buckets = Buckets(BOOK, 0.0)
    gate = TopicGate(Rulebook(BOOK).rules("d-1"), buckets, 0.0)
    wish = TopicRequest(PUBLISH, "site/d-1/x")
    assert gate.decide(wish).permit and gate.decide(wish).up_to_bytes == 100
    gate.standing[0x30] = {b"site/d-1/x": 100}
    tighter = msgspec.structs.replace(BOOK, grants={}, version=8)
    gate.adopt(Rulebook(tighter).rules("d-1"), buckets, 0.0)
    assert gate.decide(wish).refuses and not gate.standing
    assert gate.counts == {(PUBLISH, "granted", False): 2, (PUBLISH, "no grant", True): 1}


def test_rates_of_the_device_and_its_class():
    buckets = Buckets(BOOK, 0.0)
    gate = TopicGate(Rulebook(BOOK).rules("d-1"), buckets, 0.0)
    assert [gate.pace(1, 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    other = TopicGate(Rulebook(BOOK).rules("d-2"), buckets, 0.0)
    assert [other.pace(1, 0.0) for _ in range(2)] == [0.0, pytest.approx(0.1)]


def test_bucket_fills_with_time_and_never_above_its_burst():
    bucket = TokenBucket(RateLimit(10.0, 2), 0.0)
    assert [bucket.spend(1, 0.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(0.1)]
    assert bucket.spend(1, 100.0) == 0.0
    assert bucket.spend(1, 99.0) == 0.0  # a clock that steps back gives nothing and takes nothing
    assert bucket.spend(1, 100.0) == pytest.approx(0.1)


def test_shared_levels_survive_a_new_snapshot():
    buckets = Buckets(BOOK, 0.0)
    for _ in range(5):
        buckets.of("lamp")[0].spend(1, 0.0)
    buckets.adopt(msgspec.structs.replace(BOOK, version=8), 0.0)
    assert buckets.of("lamp")[0].spend(1, 0.0) > 0


def test_snapshot_round_trip():
    assert decode_snapshot(encode_snapshot(BOOK)) == BOOK


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d[:-1],
        lambda d: b"x" + d,
        lambda d: b"",
        lambda d: d[:20],
        lambda d: d[:17] + b"\x09" + d[18:],
        lambda d: d[:-1] + b"\0",
    ],
)
def test_damaged_snapshot_is_refused(change):
    with pytest.raises(InvalidInput):
        decode_snapshot(change(encode_snapshot(BOOK)))
