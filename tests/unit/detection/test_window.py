import random

import pytest

from thingward.detection.window import DistinctWindow, SumWindow
from thingward.model.errors import InvalidInput


def test_items_count_once_and_only_within_the_span():
    window = DistinctWindow(10.0)
    assert window.add("k", "a", 0.0).count == 1
    assert window.add("k", "a", 1.0).count == 1
    assert window.add("k", "b", 5.0).count == 2
    seen = window.add("k", "c", 11.0)
    assert (seen.count, seen.first) == (3, 1.0)
    assert window.add("k", "d", 30.0).count == 1
    assert window.add("other", "a", 5.0).count == 1


def test_order_of_arrival_does_not_matter():
    times = [(f"i{n}", float(n)) for n in range(8)]
    random.Random(1).shuffle(times)
    window = DistinctWindow(3.0)
    counts = [window.add("k", item, time).count for item, time in times]
    # Four neighbours lie within three seconds, and whoever came last saw that.
    assert max(counts) == 4


def test_an_old_item_does_not_lengthen_the_window():
    window = DistinctWindow(10.0)
    window.add("k", "a", 1000.0)
    assert window.add("k", "b", 0.0).count == 1
    assert window.add("k", "c", 1001.0).count == 2


def test_tables_are_bounded_and_say_so():
    window = DistinctWindow(10.0, max_items=4, max_keys=2)
    for n in range(100):
        assert window.add("k", str(n), float(n) / 100).count <= 4
    window.add("b", "x", 1.0)
    window.add("c", "x", 1.0)
    assert window.dropped == 1
    assert window.add("k", "x", 1.0).count == 1


def test_has_looks_within_the_span():
    window = DistinctWindow(10.0)
    window.add("k", "a", 0.0)
    assert window.has("k", "a")
    window.add("k", "b", 11.0)
    assert not window.has("k", "a")
    assert not window.has("nobody", "a")


def test_sums_add_up_also_within_one_slice():
    window = SumWindow(10.0)
    assert [window.add("k", 2.0, 5.0 + n / 100).count for n in range(3)] == [2.0, 4.0, 6.0]
    assert window.add("k", 1.0, 8.0).count == 7.0
    assert window.add("k", 1.0, 30.0).count == 1.0


def test_sums_see_what_came_late():
    window = SumWindow(10.0)
    window.add("k", 1.0, 100.0)
    assert window.add("k", 5.0, 95.0).count == 6.0
    assert window.add("k", 5.0, 10.0).count == 5.0


@pytest.mark.parametrize("window", [DistinctWindow(5.0), SumWindow(5.0)])
def test_state_of_something_else_is_refused(window):
    with pytest.raises(InvalidInput):
        window.load({"k": "nonsense"})
