from __future__ import annotations

import msgspec
import pytest

from tests.unit.inventory.builders import (
    BULB,
    CAMERA,
    CLOUD_IP,
    START,
    answer,
    bulb,
    camera,
    cloud,
    flow,
    home,
)
from tests.unit.policy.builders import TENANT, acl, approval
from thingward.inventory.stage import InventoryStage
from thingward.model.device import Device
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import Uid
from thingward.model.profile import PeerKind
from thingward.policy.judge import JudgeBounds, JudgeStage


class Site:
    def __init__(self, *acls, approve: bool = True, **bounds: int) -> None:
        self.inventory = InventoryStage()
        self.inventory.feed([*home(), answer(camera(), "api.vendor.example", CLOUD_IP)], START)
        self.judge = JudgeStage(bounds=JudgeBounds(**bounds))
        self.camera = self.uid(CAMERA)
        if approve:
            self.judge.feed([approval(*(acls or (acl(),)), device=self.camera)], START)

    def uid(self, mac: str) -> str:
        return next(device.uid for device in self.inventory.devices() if mac in device.macs)

    def enrich(self, *events: Event) -> list[Event]:
        return [r for r in self.inventory.feed(events, START).records if isinstance(r, Event)]

    def feed(self, *events: Event) -> list[Finding]:
        return [r for r in self.judge.feed(self.enrich(*events), START).records if isinstance(r, Finding)]


def test_a_device_without_an_approved_profile_violates_nothing() -> None:
    assert Site(approve=False).feed(flow(camera(), bulb(23))) == []


def test_what_the_profile_allows_is_no_finding() -> None:
    assert Site().feed(flow(camera(), cloud())) == []


def test_a_violation_says_what_and_by_whom() -> None:
    site = Site()
    (found,) = site.feed(event := flow(camera(), bulb(23)))
    assert (found.rule, found.device, found.target) == ("policy.violation", site.camera, site.uid(BULB))
    assert found.severity == 4 and found.suggested == ("quarantine",)
    assert "tcp/23" in found.title and "no entry allows tcp/23" in found.reason
    assert event.uid in found.parents


def test_another_device_is_called_by_its_name() -> None:
    site = Site()
    (found,) = site.feed(flow(camera(), bulb(23)))
    assert "192.168.1.11" in found.title and "d-" not in found.title
    named = msgspec.structs.replace(
        next(device for device in site.inventory.devices() if BULB in device.macs), label="porch bulb"
    )
    site.judge.feed([named], START)
    (found,) = site.feed(flow(camera(), bulb(24)))
    assert "tcp/24 to porch bulb is" in found.title and "tcp/24 to porch bulb" in found.reason


def test_an_outside_peer_is_less_severe_than_another_device() -> None:
    (found,) = Site().feed(flow(camera(), cloud(23)))
    assert (found.severity, found.suggested, found.target) == (3, (), "")
    assert "api.vendor.example" in found.title


def test_both_sides_are_judged() -> None:
    (found,) = Site().feed(flow(bulb(), camera(23)))
    assert "from" in found.title and found.target == ""


def test_repeats_are_folded_and_told_when_they_double() -> None:
    site = Site()
    found = site.feed(*[flow(camera(), bulb(23), time=START + n) for n in range(40)])
    assert [finding.count for finding in found] == [1, 2, 4, 8, 16, 32]
    assert len({finding.key for finding in found}) == 1
    assert len({finding.uid for finding in found}) == len(found)
    (later,) = site.feed(flow(camera(), bulb(23), time=START + 2000))
    assert later.count == 1


def test_reports_of_one_flow_count_once() -> None:
    found = Site().feed(*[flow(camera(), bulb(23), state=s, flow="x") for s in ("new", "update", "end")])
    assert [finding.count for finding in found] == [1]


def test_after_a_withdrawal_the_device_is_only_observed() -> None:
    site = Site()
    newer = approval(acl(PeerKind.LOCAL, "", -1, 0), uid="a-2", device=site.camera, time=START * 2)
    site.judge.feed([newer], START)
    assert site.feed(flow(camera(), bulb(23))) == []
    site.judge.feed([msgspec.structs.replace(newer, state="withdrawn")], START)
    assert site.feed(flow(camera(), bulb(24))) == []


def test_a_newer_approval_takes_the_place_of_an_older_one() -> None:
    site = Site(acl(PeerKind.LOCAL, "", -1, 0))
    assert site.feed(flow(camera(), bulb(23))) == []
    site.judge.feed([approval(acl(), uid="a-2", device=site.camera, time=START * 2)], START)
    assert len(site.feed(flow(camera(), bulb(23)))) == 1


def test_an_approval_follows_a_merged_record() -> None:
    site = Site()
    bulb_uid = site.uid(BULB)
    gone = Device(uid=Uid(site.camera), tenant=TENANT, time=START, source="inventory", merged_into=bulb_uid)
    site.judge.feed([gone], START)
    assert len(site.feed(flow(bulb(), cloud(23)))) == 1


def test_same_maker_and_controllers_mean_devices() -> None:
    site = Site(acl(PeerKind.SAME_MAKER, "acme", 6, 80))
    assert len(site.feed(flow(camera(), bulb(80)))) == 1
    site.judge.feed([Device(uid=Uid(site.uid(BULB)), tenant=TENANT, time=START, source="i", maker="ACME")], START)
    assert site.feed(flow(camera(), bulb(80), time=START + 5000)) == []


def test_a_flow_whose_name_may_still_come_waits() -> None:
    entry = acl(value="late.example", port=8443, resolved=False)
    named = Site(entry)
    assert named.feed(flow(camera(), cloud(8443), state="new", flow="x")) == []
    assert named.feed(flow(camera(), cloud(8443), state="end", flow="x", name="late.example")) == []
    silent = Site(entry)
    assert silent.feed(flow(camera(), cloud(8443), state="new", flow="x")) == []
    assert len(silent.judge.tick(START + 60).records) == 1


def test_what_waits_for_a_name_is_kept_over_a_restart() -> None:
    for names_it in (True, False):
        site = Site(acl(value="late.example", port=8443, resolved=False))
        assert site.feed(flow(camera(), cloud(8443), state="new", flow="x")) == []
        copy = JudgeStage()
        copy.restore(site.judge.snapshot())
        if names_it:
            named = site.enrich(flow(camera(), cloud(8443), state="end", flow="x", name="late.example"))
            assert copy.feed(named, START).records == named
        findings = copy.tick(START + 60).records
        assert len(findings) == (0 if names_it else 1)
        assert copy.tick(START + 120).records == [], "it is judged once"


def test_a_claimed_name_does_not_open_what_rests_on_dns() -> None:
    assert len(Site(acl(value="safe.example")).feed(flow(camera(), cloud(), name="safe.example"))) == 1


def test_its_tables_are_bounded_and_what_is_dropped_is_counted() -> None:
    site = Site(matters=10)
    site.feed(*[flow(camera(), bulb(port)) for port in range(1, 30)])
    assert site.judge.dropped["matters"] == 19


def test_a_snapshot_gives_the_same_stage_again() -> None:
    site = Site()
    site.feed(flow(camera(), bulb(23)))
    copy = JudgeStage()
    copy.restore(site.judge.snapshot())
    events = site.enrich(flow(camera(), bulb(23)), flow(camera(), bulb(24)))
    assert copy.feed(events, START).records == site.judge.feed(events, START).records
    with pytest.raises(InvalidInput):
        copy.restore(b"x")
