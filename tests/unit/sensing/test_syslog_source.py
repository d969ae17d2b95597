"""Syslog lines."""

import pytest

from thingward.model.observation import Endpoint, LogData
from thingward.model.record import Malformed
from thingward.sensing.log_files import LogContext
from thingward.sensing.syslog_source import SyslogSource

NOW = 1767323045.0  # 2026-01-02T03:04:05Z
SENDER = Endpoint(ip="10.0.0.7", port=514)


def feed(line, sender=SENDER):
    return SyslogSource(LogContext(source="syslog:test")).feed(line, NOW, sender)


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        (b"2026-01-02T03:04:00Z", NOW - 5),
        (b"2026-01-02T03:04:00.5+00:00", NOW - 4.5),
        (b"1970-01-01T00:00:09Z", NOW),
        (b"2026-01-02T03:04:00", NOW),
        (b"rubbish", NOW),
        (b"-", NOW),
    ],
)
def test_a_message_keeps_its_time_where_that_is_plausible(stamp, time):
    log, _ = feed(b"<13>1 " + stamp + b" hub app - - - text")
    assert log.time == time


def test_a_line_is_a_log_and_weak_evidence_of_a_name():
    log, who = feed(b"<38>Jan  2 03:04:05 hub sshd[9]: Failed password")
    assert log.data == LogData(host="hub", app="sshd", facility=4, severity=6, message="Failed password")
    assert (who.src, who.data.attributes, who.data.confidence) == (SENDER, (("syslog.host", "hub"),), 0.4)


def test_without_a_sender_there_is_no_evidence():
    assert len(feed(b"<38>Jan  2 03:04:05 hub sshd[9]: text", None)) == 1


def test_what_is_no_syslog_is_malformed():
    source = SyslogSource(LogContext(source="syslog:test"), "messages")
    assert source.feed(b"", NOW) == []
    (problem,) = source.feed(b"plain words", NOW)
    assert isinstance(problem.data, Malformed)
    assert problem.parents == ("messages#2",)
    assert source.tally.summary().data.malformed == {"syslog: no priority": 1}
