"""Observation to event: classes, severities, lines for people, and that no secret passes."""

from __future__ import annotations

import pytest

from tests.unit.sensing.samples import OBSERVATIONS, flow, observed
from thingward.model import ocsf
from thingward.model.event_line import LINE_LIMIT, event_line
from thingward.model.ids import Uid, event_uid, hashed_uid
from thingward.model.observation import CredentialData, HttpData
from thingward.sensing.normalise import MAX_PARENTS, normalise

SYN, ACK, RST = 0x02, 0x10, 0x04


@pytest.mark.parametrize(
    ("fields", "activity"),
    [
        ({"state": "new"}, 1),
        ({"state": "end", "flags_out": SYN | ACK, "flags_in": SYN | ACK}, 2),
        ({"state": "end", "flags_out": SYN, "flags_in": 0}, 4),
        ({"state": "whole", "flags_out": SYN, "flags_in": RST | ACK}, 5),
        ({"state": "end", "flags_out": SYN | ACK | RST, "flags_in": SYN | ACK}, 3),
        ({"state": "update", "flags_out": SYN, "flags_in": 0}, 6),
        ({"state": "whole", "proto": 17, "flags_out": 0, "flags_in": 0}, 6),
    ],
)
def test_what_became_of_a_connection_is_its_activity(fields, activity):
    event = normalise(observed(flow(**fields)))
    assert (event.class_uid, event.activity_id, event.severity) == (ocsf.NETWORK_ACTIVITY, activity, 1)


@pytest.mark.parametrize("number", range(len(OBSERVATIONS)))
def test_every_kind_has_a_line_and_its_own_uid(number):
    observation = OBSERVATIONS[number]
    event = normalise(observation)
    assert event.uid != observation.uid and event == normalise(observation)
    assert event.parents[0] == observation.uid
    assert 0 < len(event_line(event)) <= LINE_LIMIT


def test_a_line_says_who_what_and_how_it_ended():
    event = normalise(observed(HttpData(method="GET", host="example.org", path="/a", status=200)))
    assert event_line(event) == "http GET example.org/a 200"
    long = normalise(observed(HttpData(method="GET", host="example.org", path="/" * 900)))
    assert len(event_line(long)) == LINE_LIMIT


def test_the_digest_of_a_pair_does_not_pass():
    event = normalise(observed(CredentialData(protocol="telnet", user="root", pair="0123", outcome="failure")))
    assert event.data.pair == "" and "0123" not in event_line(event)


def test_parents_are_bounded():
    from msgspec.structs import replace

    many = replace(OBSERVATIONS[0], parents=tuple(str(n) for n in range(40)))
    assert normalise(many).parents == (many.uid, *many.parents[: MAX_PARENTS - 1])


def test_a_event_uid_is_another_one_and_always_the_same():
    for number in range(64):
        uid = hashed_uid("record", str(number))
        assert event_uid(uid) != uid and len(event_uid(uid)) == 32
        assert event_uid(event_uid(uid)) == uid
    assert event_uid(Uid("f-1")) == event_uid(Uid("f-1")) != event_uid(Uid("f-2"))
