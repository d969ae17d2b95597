from __future__ import annotations

import pytest

from tests.unit.policy.builders import NOW, acl, device, group, profile, to_cloud
from thingward.model.profile import Acl, PeerKind, Preview, Settledness
from thingward.model.terms import FlowTerms
from thingward.policy.bounds import share_bound
from thingward.policy.preview import is_update_name, preview_profile

SPLIT = NOW
SITE = [
    device(),
    device("d-bulb", macs=("b0:00:00:00:00:02",), addresses=("192.168.1.11",), names=("bulb",)),
    device("d-router", macs=("b0:00:00:00:00:fe",), addresses=("192.168.1.1",), role="gateway"),
    device("d-group", macs=("ff:ff:ff:ff:ff:ff",), addresses=(), group=True),
]
ROLES = {"dns": ("192.168.1.1",), "gateway": ("192.168.1.1",)}


def preview(*groups, trial=None, full=None) -> Preview:
    full = full or profile(acl())
    return preview_profile(full, trial or full, groups, devices=SITE, roles=ROLES, learnt_until=SPLIT, now=NOW + 10)


def test_only_traffic_after_the_split_is_judged() -> None:
    found = preview(group(to_cloud("other.example"), SPLIT - 1, 7), group(to_cloud(), SPLIT, 5))
    assert (found.flows_learnt, found.flows_judged, found.flows_refused) == (7, 5, 0)
    assert found.refused_bound == pytest.approx(share_bound(0, 5))
    assert found.learnt_until == SPLIT and found.profile == "p-1"


def test_the_trial_judges_and_not_what_was_learnt_from_everything() -> None:
    found = preview(group(to_cloud()), trial=profile(), full=profile(acl()))
    assert found.flows_refused == 1


def test_refused_flows_are_grouped_first_with_reasons_and_counts() -> None:
    to_bulb = FlowTerms("out", 6, 23, device="d-bulb", address="192.168.1.11")
    found = preview(group(to_cloud(), flows=9), group(to_bulb, flows=2), group(to_bulb, NOW + 5, 3))
    first, second = found.verdicts
    assert (first.permitted, first.flows, first.peer) == (False, 5, "bulb")
    assert first.reason == "no entry allows tcp/23 to bulb"
    assert (second.permitted, second.flows) == (True, 9)


def test_what_nobody_answered_breaks_nothing() -> None:
    ntp = FlowTerms("out", 17, 123, address="203.0.113.9")
    answered = preview(group(ntp))
    silent = preview(group(ntp, answered=0))
    assert answered.verdicts[0].breaks == "ntp" and any("ntp may break" in line for line in answered.warnings)
    assert silent.verdicts[0].breaks == "" and "nobody ever answered" in silent.verdicts[0].reason


def test_reach_counts_devices_of_the_site() -> None:
    assert preview().reach_before == 2
    assert preview().reach_after == 0
    assert preview(full=profile(acl(PeerKind.ROLE, "dns", 17, 53))).reach_after == 1
    assert preview(full=profile(acl(PeerKind.DEVICE, "d-bulb"), acl(PeerKind.ROLE, "dns", 17, 53))).reach_after == 2
    assert preview(full=profile(acl(PeerKind.LOCAL, ""))).reach_after == 2
    assert preview(full=profile(acl(PeerKind.DEVICE, "d-bulb", direction="in"))).reach_after == 0


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (acl(resolved=False), "did not ask the site's resolver for it; enforced as tcp/443 to any address outside the"),
        (
            acl(value="dns.google", resolved=False),
            "(DNS over HTTPS or TLS); enforced as tcp/443 to any address outside",
        ),
        (acl(value="dns.google"), "may resolve names there"),
        (acl(PeerKind.ADDRESS, "8.8.8.8", 17, 53), "resolves names there"),
        (acl(PeerKind.ADDRESS, "203.0.113.5"), "no name is known"),
    ],
)
def test_what_cannot_be_enforced_by_name(entry, why: str) -> None:
    (line,) = preview(full=profile(entry)).not_by_name
    assert why in line
    assert ("enforced as" in line) is not entry.resolved


def test_warnings_say_what_is_not_known() -> None:
    lines = preview(full=profile(acl(), settled=Settledness(missing=("watched for 1 hour",)))).warnings
    assert any("watched for 1 hour" in line for line in lines)
    assert any("nothing was judged" in line for line in lines)
    assert any("no update server" in line for line in lines)
    assert not any(
        "no update server" in line for line in preview(full=profile(acl(value="fw.vendor.example"))).warnings
    )


def test_warnings_say_which_safe_defaults_are_left_out() -> None:
    arp = acl(PeerKind.ROLE, "arp", -1, 0, origin="default")
    time, nd = (acl(PeerKind.ROLE, *service, origin="default") for service in (("ntp", 17, 123), ("nd", 58, 0)))

    def said(*entries: Acl) -> list[str]:
        lines = preview(full=profile(*entries)).warnings
        return [word for word in ("ask for the time", "IPv6") if any(word in line for line in lines)]

    assert said(arp) == ["ask for the time", "IPv6"]
    assert said(arp, time, nd) == []
    assert said(arp, nd, acl(value="*.nist.gov", proto=17, port=123)) == []
    assert said(acl()) == []


@pytest.mark.parametrize(("name", "said"), [("fw-update.ubnt.com", True), ("ota2.x.example", True), ("cam.fw", False),
                                            ("rotate.example", False)])  # fmt: skip
def test_update_names(name: str, said: bool) -> None:
    assert is_update_name(name) == said


@pytest.mark.parametrize(
    ("hits", "total", "bound"),
    [(0, 100, 0.0295), (1, 100, 0.0466), (5, 1000, 0.0105), (0, 0, 1.0), (3, 3, 1.0), (0, 59, 0.0495)],
)
def test_binomial_bounds(hits: int, total: int, bound: float) -> None:
    assert share_bound(hits, total) == pytest.approx(bound, abs=5e-5)
