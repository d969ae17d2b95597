"""Syslog over TCP: both framings, cut anywhere, bounded."""

from hypothesis import given
from hypothesis import strategies as st

from thingward.wire.syslog_frames import MAX_MESSAGE_BYTES, SyslogFramer

MESSAGES = (b"<13>1 - host app - - - one", b"<14>two with 12 numbers", b"<15>three\nwith a newline")


def counted(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


def feed_split(data: bytes, cuts: list[int]) -> list[bytes]:
    framer, found, last = SyslogFramer(), [], 0
    for cut in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        found += framer.feed(data[last:cut])
        last = cut
    return found + framer.finish()


@given(st.lists(st.integers(0, 200)), st.lists(st.sampled_from([0, 1]), min_size=3, max_size=3))
def test_messages_survive_any_cut_and_any_mix(cuts, forms):
    parts, wanted = [], []
    for message, form in zip(MESSAGES, forms, strict=True):
        if form:
            parts.append(counted(message))
            wanted.append(message)
        else:
            line = message.replace(b"\n", b" ")
            parts.append(line + b"\n")
            wanted.append(line)
    assert feed_split(b"".join(parts), cuts) == wanted


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_hostile_bytes_never_raise(data, cuts):
    for message in feed_split(data, cuts):
        assert message
        assert len(message) <= MAX_MESSAGE_BYTES


def test_an_endless_message_is_dropped_and_the_next_is_read():
    framer = SyslogFramer()
    found = []
    for _ in range(100):
        found += framer.feed(b"x" * 4096)
    found += framer.feed(b"tail\n<13>next\n")
    assert found == [b"<13>next"]
    assert framer.dropped == 1


def test_a_last_line_without_an_end_counts():
    framer = SyslogFramer()
    assert framer.feed(b"<13>last") == []
    assert framer.finish() == [b"<13>last"]
