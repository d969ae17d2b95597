"""Learnt and declared profiles on recorded traffic that others made; none of the figures is on traffic learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.bench_profiles import (
    SPLITS,
    door_lock,
    is_infrastructure,
    is_ip,
    later_flows,
    path_terms,
    strange_flows,
    trials,
)
from tests.bench.replay import (
    AddressRules,
    LearntSite,
    enriched_at,
    find_captures,
    learn_captures,
    main_device,
    moved,
    read_events,
    terms_for,
)
from thingward.inventory.defaults import SAFE_DEFAULTS
from thingward.model.device import Device
from thingward.model.terms import FlowTerms
from thingward.policy.mud import MudError, parse_mud, render_mud
from thingward.policy.preview import preview_profile
from thingward.policy.verdict import ProfileJudge

pytestmark = pytest.mark.data


def refused(judge: ProfileJudge, flows: list[FlowTerms]) -> list[str]:
    return [verdict.reason for terms in flows if not (verdict := judge.judge(terms)).permitted]


def test_days_of_a_home_later_benign_flows_are_all_allowed(data_dir: Path) -> None:
    for path, site, device in trials(data_dir):
        profile, until = site.trial(device)
        later = [flow.terms for flow in site.flows(device) if flow.time >= until]
        assert len(later) > 50, path
        assert refused(ProfileJudge(profile.acls), later) == [], path


def test_the_preview_says_the_same_from_recorded_traffic(data_dir: Path) -> None:
    for path, site, device in trials(data_dir):
        trial, until = site.trial(device)
        full = site.learning.profile(device.uid)
        assert full is not None
        preview = preview_profile(
            full, trial, site.learning.traffic(device.uid), devices=site.inventory.devices(),
            roles=site.inventory.roles(), learnt_until=until, now=0.0,
        )  # fmt: skip
        assert preview.flows_refused == 0 and preview.flows_judged > 50, path
        assert preview.refused_bound < 0.05
        assert full.settled.curve


def test_wherever_the_time_is_split_a_settled_profile_refuses_no_later_benign_flow(data_dir: Path) -> None:
    found = [(site, device) for _, site, device in trials(data_dir)]
    lock = door_lock(data_dir)
    settled = 0
    for site, device in [*found, (lock, main_device(lock))]:
        for learnt_share in SPLITS:
            profile, permitted, _ = later_flows(site, device, learnt_share)
            if profile.settled.is_settled:
                settled += 1
                assert permitted and all(permitted), (device.names, learnt_share)
    assert settled > len(SPLITS)


def test_days_of_a_home_strangers_flows_are_refused(data_dir: Path) -> None:
    for path, site, device in trials(data_dir):
        profile, _ = site.trial(device)
        own = AddressRules(site.flows(device))
        flows = [terms for terms in strange_flows(site, device, data_dir, path) if is_ip(terms)]
        foreign = [terms for terms in flows if not own.permits(terms)]
        judge = ProfileJudge(profile.acls)
        assert len(foreign) > 0.85 * len(flows) > 1000
        assert len(refused(judge, foreign)) >= 0.95 * len(foreign), path
        # What it makes itself it may make: no list of flows can tell whose they are.
        assert len(refused(judge, flows)) >= 0.85 * len(flows), path


def test_days_of_a_home_unused_paths_to_other_devices_are_refused(data_dir: Path) -> None:
    site = learn_captures(*[path for path, _, _ in trials(data_dir)])
    for device in site.devices():
        profile, _ = site.trial(device)
        judge = ProfileJudge(profile.acls)
        for other in site.inventory.devices():
            if other.uid != device.uid and not other.group:
                for port in (22, 23, 80, 443, 8080):
                    assert not judge.judge(path_terms(site, other, 6, port)).permitted


def pairs(data_dir: Path) -> Iterator[tuple[Path, LearntSite, Device, Path]]:
    for mud in sorted((data_dir / "mud-pairs").rglob("*.mud")):
        (capture,) = find_captures(mud.parent)
        site = learn_captures(capture)
        yield capture, site, main_device(site), mud


def test_a_benign_capture_violates_neither_its_declared_nor_its_learnt_profile(data_dir: Path) -> None:
    seen = 0
    for capture, site, device, mud in pairs(data_dir):
        flows = [flow.terms for flow in site.flows(device)]
        declared = parse_mud(mud.read_bytes(), device=device.uid, defaults=SAFE_DEFAULTS).profile
        learnt = site.learning.profile(device.uid)
        assert learnt is not None
        assert refused(ProfileJudge(declared.acls), flows) == [], capture
        assert refused(ProfileJudge(learnt.acls), flows) == [], capture
        trial, until = site.trial(device)
        later = [flow.terms for flow in site.flows(device) if flow.time >= until]
        # The plug's capture is two seconds of one start: no half of it can foretell the other, and the profile says so.
        if trial.settled.observed_s > 3600:
            assert refused(ProfileJudge(trial.acls), later) == [], capture
        else:
            assert not trial.settled.is_settled and trial.settled.unseen_bound > 0.5
        seen += 1
    assert seen == 2


def test_another_devices_traffic_violates_both(data_dir: Path) -> None:
    found = list(pairs(data_dir))
    for (capture, site, device, mud), (other_capture, _, other, _) in ((found[0], found[1]), (found[1], found[0])):
        gateway = next(item for item in site.inventory.devices() if item.role == "gateway")
        events = enriched_at(site, list(moved(read_events(other_capture), other, device, gateway)))
        flows = [terms for event in events for terms in terms_for(event, device.uid)]
        flows = [terms for terms in flows if terms.port != 67 and not is_infrastructure(terms)]
        declared = parse_mud(mud.read_bytes(), device=device.uid, defaults=SAFE_DEFAULTS).profile
        learnt = site.learning.profile(device.uid)
        assert learnt is not None and flows, capture
        for profile in (declared, learnt):
            assert len(refused(ProfileJudge(profile.acls), flows)) >= 0.9 * len(flows)


def test_profiles_of_real_devices_are_imported_or_refused_with_a_reason(data_dir: Path) -> None:
    files = [path for name in ("mud-unsw", "mud-locations", "mud-pairs") for path in (data_dir / name).rglob("*")]
    files = [path for path in files if path.suffix in (".json", ".mud") and path.is_file()]
    read = 0
    for path in files:
        try:
            imported = parse_mud(path.read_bytes(), device="d-1", defaults=SAFE_DEFAULTS)
        except MudError as error:
            assert "config" in path.name and str(error), path
            continue
        read += 1
        assert parse_mud(render_mud(imported.profile), device="d-1").profile.acls, path
    assert read >= 80
