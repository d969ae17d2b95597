"""The benchmark harness measures in turn and judges what it says it judges."""

from __future__ import annotations

import json

import pytest

from tests.bench import harness


def entry(body, **options):
    return harness.Benchmark("made.up", "things/s", body, **options)


def run(body, tmp_path, **options):
    return harness.run(entry(body, **options), tmp_path)


def test_rounds_alternate_who_goes_first(tmp_path):
    order = []

    def body(bench):
        yield harness.Pair(ours=lambda: order.append("o") or 6.0, peer=lambda: order.append("p") or 2.0)

    result = run(body, tmp_path, rounds=3)
    assert "".join(order) == "oppoop"
    assert (result.ours, result.peer, result.ratio, result.spread) == (6.0, 2.0, 3.0, 0.0)


@pytest.mark.parametrize(("better", "ratio"), [("more", 0.5), ("less", 2.0)])
def test_a_ratio_above_one_is_in_our_favour(tmp_path, better, ratio):
    def body(bench):
        yield harness.Pair(ours=lambda: 1.0, peer=lambda: 2.0)

    assert run(body, tmp_path, better=better).ratio == ratio


@pytest.mark.parametrize(
    ("limit", "better", "peer", "ok"),
    [(2.0, "more", 1.0, True), (3.5, "more", 1.0, False), (4.0, "less", None, True), (2.0, "less", None, False)],
)
def test_limits(tmp_path, limit, better, peer, ok):
    def body(bench):
        yield harness.Pair(ours=lambda: 3.0, peer=(lambda: peer) if peer else None)

    assert run(body, tmp_path, limit=limit, better=better).ok is ok


def test_clean_up_runs_and_a_broken_benchmark_is_a_row(tmp_path):
    left = []

    def body(bench):
        try:
            yield harness.Pair(ours=lambda: 1 / 0)
        finally:
            left.append(bench.scratch)

    result = run(body, tmp_path)
    assert result.ok is False
    assert "ZeroDivisionError" in result.note
    assert left and not left[0].exists()


def test_what_is_not_here_is_no_failure(tmp_path):
    def body(bench):
        raise harness.NotHere("no peer program")
        yield

    result = run(body, tmp_path, limit=1)
    assert (result.note, result.ok) == ("not here: no peer program", None)


def test_rows_of_other_benchmarks_stay(tmp_path):
    path = tmp_path / "build" / "bench.json"
    harness.write([harness.Result("b", "s", 1, ours=1.0)], path)
    harness.write([harness.Result("a", "s", 1, ours=2.0), harness.Result("b", "s", 1, ours=3.0)], path)
    rows = json.loads(path.read_text())
    assert [(row["name"], row["ours"]) for row in rows] == [("a", 2.0), ("b", 3.0)]
    assert {"name", "ours", "peer", "ratio", "unit", "rounds", "spread"} <= rows[0].keys()


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentile_is_the_nearest_rank(share, expected):
    assert harness.percentile(range(1, 101), share) == expected


def test_two_benchmarks_may_not_share_a_name(monkeypatch):
    monkeypatch.setattr(harness, "REGISTRY", {})

    def first(bench):
        yield

    def second(bench):
        yield

    second.__module__ = "elsewhere"
    harness.benchmark("x.y", unit="s")(first)
    with pytest.raises(ValueError, match=r"x\.y"):
        harness.benchmark("x.y", unit="s")(second)
