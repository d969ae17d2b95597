from __future__ import annotations

import pytest

from thingward.inventory.naming import wildcard_for
from thingward.inventory.settle import CURVE_POINTS, settledness, thin, unseen_bound


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("api.vendor.example", [], ""),
        ("api.vendor.example", ["fw.vendor.example"], "*.vendor.example"),
        ("a.eu.vendor.example", ["b.eu.vendor.example", "c.vendor.example"], "*.eu.vendor.example"),
        ("one.amazonaws.com", ["two.amazonaws.com"], ""),
        ("x1.iot.us-west-2.amazonaws.com", ["x2.iot.us-west-2.amazonaws.com"], ""),
        ("shop.co.uk", ["bank.co.uk"], ""),
        ("www.google.com", ["clients3.google.com"], ""),
        ("edge1.clients.google.com", ["edge2.clients.google.com"], "*.clients.google.com"),
        ("0.pool.ntp.org", ["1.pool.ntp.org"], "*.pool.ntp.org"),
    ],
)
def test_wildcards(name: str, others: list[str], found: str) -> None:
    assert wildcard_for(name, others) == found


def test_a_numbered_name_of_a_broad_owner_is_widened_for_services_other_than_the_web() -> None:
    others = ["alt7-mtalk.google.com"]
    assert wildcard_for("alt8-mtalk.google.com", others) == ""
    assert wildcard_for("alt8-mtalk.google.com", others, is_web=False) == "*.google.com"


def test_the_rule_of_three() -> None:
    assert unseen_bound(0) == 1.0
    assert round(unseen_bound(100), 3) == 0.030


def settled(**changes: object) -> tuple[str, ...]:
    day = 86_400.0
    given: dict[str, object] = {
        "first": 0.0, "last": 4 * day, "flows": 200, "flows_since_new": 100, "last_new": day, "days": 4, "hours": 90,
        "curve": (), "unopened": (), "one_sided": False,
    }  # fmt: skip
    found = settledness(**(given | changes))  # type: ignore[arg-type]
    assert found.is_settled == (not found.missing)
    return found.missing


@pytest.mark.parametrize(
    "lack",
    [
        {"last": 2 * 86_400.0, "last_new": 0.0},
        {"days": 2},
        {"last_new": 3.5 * 86_400.0},
        {"flows_since_new": 20},
        {"unopened": ("203.0.113.5:443",)},
        {"one_sided": True},
    ],
)
def test_each_threshold_alone_keeps_a_profile_unsettled(lack: dict[str, object]) -> None:
    assert settled() == ()
    assert len(settled(**lack)) == 1


def test_a_learning_curve_stays_short_and_keeps_its_ends() -> None:
    curve: list[tuple[int, int]] = []
    for number in range(1000):
        curve = thin([*curve, (number, number)])
    assert len(curve) <= CURVE_POINTS and curve[0] == (0, 0) and curve[-1] == (999, 999)
