"""Syslog out: our own reader understands it, and no value can add a line or close the structured data."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thingward.wire.syslog import SyslogMessage, decode_syslog
from thingward.wire.syslog_encode import encode_syslog, frame_octets


@given(st.text(), st.text(), st.integers(0, 9), st.floats(0, 4e9))
def test_round_trip(text: str, value: str, severity: int, time: float) -> None:
    line = encode_syslog(
        time=time, host="host", kind="finding", severity=severity, text=text, fields={"reason": value, "uid": "u"}
    )
    assert b"\n" not in line and b"\r" not in line and b"\0" not in line
    read = decode_syslog(line)
    assert isinstance(read, SyslogMessage)
    assert (read.app, read.facility, read.host) == ("thingward", 13, "host")


def test_exact_line() -> None:
    line = encode_syslog(
        time=0.0, host="h", kind="finding", severity=4, text="scan", fields={"device": 'a"]b', "x": ""}
    )
    assert line.decode() == (
        '<107>1 1970-01-01T00:00:00.000Z h thingward - finding [thingward@32473 device="a\\"\\]b"] \ufeffscan'
    )
    assert frame_octets(b"abc") == b"3 abc"
