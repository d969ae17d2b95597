from __future__ import annotations

import msgspec
import pytest

from tests.unit.inventory.builders import BULB, CAMERA, DAY, START, answer, bulb, camera, cloud, end, flow
from tests.unit.inventory.test_learning import Home
from thingward.inventory.adoption import pack_learnt, read_learnt, verify_learnt
from thingward.inventory.learner import Entry, LearnBounds
from thingward.model.device import Device
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import Tenant, Uid
from thingward.model.profile import Learnt, MudProfile, PeerKind

HOUR = 3600.0


def one_day(day: float, *names: str) -> list[Event]:
    """A camera that calls its cloud every hour of a day, and whatever else is named once."""
    start = START + day * DAY
    events = [answer(camera(), "api.vendor.example", cloud().ip, time=start)]
    events += [flow(camera(), cloud(), time=start + hour * HOUR) for hour in range(24)]
    for number, name in enumerate(names):
        ip = f"203.0.113.{100 + number}"
        events.append(answer(camera(), name, ip, time=start + number))
        events.append(flow(camera(), cloud(ip=ip), time=start + 1 + number))
    return events


def learnt_by(site: Home, source: str = "import:old.pcap") -> Learnt:
    kept = site.learning.kept(site.uid())
    assert kept is not None
    return pack_learnt(kept, tenant="default", site="home", source=source)


def adopt(site: Home, learnt: Learnt) -> list[MudProfile]:
    records = site.learning.feed([learnt], site.now).records
    assert not [record for record in records if isinstance(record, Learnt)], "it ends at the learner"
    return [record for record in records if isinstance(record, MudProfile)]


def without_origin(profile: MudProfile) -> MudProfile:
    return msgspec.structs.replace(profile, adopted=(), version=0)


def test_what_another_run_learnt_before_counts_as_if_it_had_been_one_run() -> None:
    earlier, live, both = Home(), Home(), Home()
    earlier.feed(*one_day(0, "update.vendor.example"), *one_day(1))
    live.feed(*one_day(2), *one_day(3))
    both.feed(*one_day(0, "update.vendor.example"), *one_day(1), *one_day(2), *one_day(3))
    (emitted,) = adopt(live, learnt_by(earlier))
    assert emitted == live.profile()
    assert without_origin(live.profile()) == without_origin(both.profile())
    (origin,) = live.profile().adopted
    assert (origin.source, origin.first, origin.last) == ("import:old.pcap", START, START + 2 * DAY - HOUR)
    assert origin.flows == earlier.profile().settled.flows + 0
    assert live.profile().settled.since_new_s > earlier.profile().settled.since_new_s


@pytest.mark.parametrize("later_first", [False, True])
def test_the_order_in_which_they_come_does_not_matter(later_first: bool) -> None:
    earlier, later, fresh = Home(), Home(), Home()
    earlier.feed(*one_day(0, "update.vendor.example"))
    later.feed(*one_day(1, "photos.vendor.example"))
    parts = [learnt_by(earlier), learnt_by(later, "import:new.pcap")]
    for part in reversed(parts) if later_first else parts:
        adopt(fresh, part)
    both = Home()
    both.feed(*one_day(0, "update.vendor.example"), *one_day(1, "photos.vendor.example"))
    assert without_origin(fresh.profile()).settled == both.profile().settled
    assert fresh.entries() == both.entries()


def test_a_learner_without_anything_goes_on_from_there() -> None:
    earlier, live, both = Home(), Home(), Home()
    earlier.feed(*one_day(0, "update.vendor.example"))
    adopt(live, learnt_by(earlier))
    live.feed(*one_day(1))
    both.feed(*one_day(0, "update.vendor.example"), *one_day(1))
    assert without_origin(live.profile()) == without_origin(both.profile())
    assert live.learning.traffic(live.uid()) == both.learning.traffic(both.uid())


def test_the_same_record_twice_changes_nothing_also_over_a_snapshot() -> None:
    earlier, live = Home(), Home()
    earlier.feed(*one_day(0))
    live.feed(*one_day(1))
    adopt(live, learnt_by(earlier))
    before = live.profile()
    assert adopt(live, learnt_by(earlier)) == []
    live.learning.restore(live.learning.snapshot())
    adopt(live, learnt_by(earlier))
    assert live.profile() == before


def test_traffic_that_both_saw_is_not_counted_twice() -> None:
    file, live = Home(), Home()
    file.feed(*one_day(0, "update.vendor.example"), *one_day(1))
    live.feed(*one_day(1), *one_day(2))
    alone = live.profile().settled.flows
    adopt(live, learnt_by(file))
    both = Home()
    both.feed(*one_day(0, "update.vendor.example"), *one_day(1), *one_day(2))
    assert live.entries() == both.entries()
    assert alone < live.profile().settled.flows <= both.profile().settled.flows


def test_a_capture_that_grew_and_is_saved_again_counts_what_is_new() -> None:
    short, long, live = Home(), Home(), Home()
    short.feed(*one_day(0))
    long.feed(*one_day(0), *one_day(1, "update.vendor.example"))
    adopt(live, learnt_by(short))
    adopt(live, learnt_by(long, "import:again.pcap"))
    assert live.profile().settled.flows == long.profile().settled.flows
    assert [item.source for item in live.profile().adopted] == ["import:old.pcap", "import:again.pcap"]


def test_what_one_run_found_hostile_the_other_does_not_bring_back() -> None:
    earlier, live = Home(), Home()
    earlier.feed(*one_day(0), flow(camera(), bulb(23), time=START + DAY))
    live.feed(*one_day(2), flow(camera(), bulb(23), time=START + 3 * DAY))
    found = Finding(
        uid=Uid("f1"),
        tenant=Tenant("default"),
        time=START + 3 * DAY,
        source="test",
        rule="login.bruteforce",
        title="brute force",
        device=live.uid(),
        target=live.uid(BULB),
    )
    live.learning.feed([found], live.now)
    assert not [entry for entry in live.entries() if entry[1] == "device"]
    adopt(live, learnt_by(earlier))
    assert not [entry for entry in live.entries() if entry[1] == "device"]


def test_peers_follow_what_was_merged_here() -> None:
    earlier, live = Home(), Home()
    earlier.feed(*one_day(0), flow(camera(), bulb(80), time=START + DAY))
    merged = Device(
        uid=Uid(live.uid(BULB)), tenant=Tenant("default"), time=live.now, source="test", merged_into="the-other"
    )
    live.learning.feed([merged], live.now)
    adopt(live, learnt_by(earlier))
    assert ("out", "device", "the-other", 6, 80) in live.entries()


def test_hostile_states_are_refused_and_cut_to_the_bounds() -> None:
    site = Home()
    site.feed(*one_day(0))
    learnt = learnt_by(site)
    for state in (b"", b"\xff", msgspec.msgpack.encode({"learner": 1})):
        with pytest.raises(InvalidInput):
            verify_learnt(msgspec.structs.replace(learnt, state=state))
    with pytest.raises(InvalidInput):
        verify_learnt(msgspec.structs.replace(learnt, device="another"))
    kept = site.learning.kept(site.uid())
    assert kept is not None
    kept.learner.entries += [
        Entry(direction="out", peer=PeerKind.ADDRESS, value=f"198.51.100.{n}", proto=6, port=1, port_to=0, ethertype=0)
        for n in range(50)
    ]
    kept.learner.entries.append(
        Entry(
            direction="out",
            peer=PeerKind.ADDRESS,
            value="0.0.0.0/0",
            proto=-1,
            port=0,
            port_to=0,
            ethertype=0,
            origin="default",
        )
    )
    kept.learner.hours |= {-5, 9999}
    cut = read_learnt(pack_learnt(kept, tenant="default", site="home", source="x"), "d", LearnBounds(entries=10))
    assert (cut.learner.device, len(cut.learner.entries)) == ("d", 10)
    assert not [entry for entry in cut.learner.entries if entry.origin == "default"], "defaults are always our own"
    assert cut.learner.hours <= set(range(168))
    kept.learner.last = float("inf")
    with pytest.raises(InvalidInput):
        verify_learnt(pack_learnt(kept, tenant="default", site="home", source="x"))


def test_a_device_that_learnt_nothing_here_keeps_its_unheard_name_bindings() -> None:
    earlier, live = Home(), Home()
    earlier.feed(*one_day(0))
    live.feed(answer(camera(), "new.vendor.example", "203.0.113.77", time=START + 2 * DAY))
    adopt(live, learnt_by(earlier))
    assert "203.0.113.77" in str(live.learning.snapshot())


def test_the_camera_is_the_one_meant() -> None:
    site = Home()
    site.feed(flow(end(CAMERA, "192.168.1.10", 5), cloud()))
    assert learnt_by(site).device == site.uid(CAMERA)
