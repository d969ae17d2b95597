"""Our decoders against tshark's, on a sample of the shared captures."""

from pathlib import Path

import pytest

from tests.golden.agreement import Row, Tally, captures, compare, measure, plain, table

EVERY = 23
NAMED = ("browsers-x509.pcapng", "mqtt-connect-rules", "bruteforce-train.pcapng", "schlage-lock-01.pcap")


def sample(data_dir: Path) -> list[Path]:
    """Every n-th capture, and a few that hold what the others may not."""
    chosen = captures(data_dir, EVERY)
    named = [path for path in captures(data_dir) if any(name in str(path) for name in NAMED)]
    return sorted({*chosen, *named})


@pytest.mark.data
@pytest.mark.slow
def test_decoders_agree_with_tshark(data_dir, need_program):
    tallies = measure(need_program("tshark"), sample(data_dir))
    print(table(tallies))
    seen = {row: tally for row, tally in tallies.items() if tally.both + tally.theirs + tally.ours >= 20}
    assert len(seen) >= 15, "the sample says too little"
    worst = {f"{row.protocol} {row.what}": tally.examples for row, tally in seen.items() if tally.share < 0.95}
    assert not worst
    both = sum(tally.both for tally in tallies.values())
    apart = sum(tally.theirs + tally.ours for tally in tallies.values())
    assert both / (both + apart) > 0.99


ROW = Row("DHCP", "host name", "dhcp.option.hostname", "dhcp", lambda message: [])


def test_each_difference_counts_on_its_side():
    tally = Tally()
    compare(ROW, ["a", "b", ""], ["b", "c", "0.0.0.0"], tally, "frame 1")
    assert (tally.both, tally.theirs, tally.ours) == (1, 1, 1)
    assert tally.share == pytest.approx(1 / 3)
    assert tally.examples == ["frame 1: theirs ['a'] ours ['c']"]


def test_unprintable_text_is_compared_without_regard_to_how_it_is_shown():
    assert plain(ROW, "a\\001b\\tc") == plain(ROW, "a\ufffdb\ufffdc")
    assert plain(ROW, "ab") != plain(ROW, "a b")
