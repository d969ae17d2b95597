"""Pushed lines: three forms, what is wrong by line, the same line is the same observation, nothing raises."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingward.model.observation import DnsData, FlowData, IdentityData
from thingward.sensing.log_files import MAX_LINE_BYTES, LogContext
from thingward.sensing.pushed import AHEAD_S, MAX_ERRORS, read_pushed

NOW = 1_764_000_000.0
CONTEXT = LogContext(source="push:probe", site="home")
EVE = {
    "timestamp": "2025-11-24T15:00:00.000000+0000",
    "event_type": "dns",
    "src_ip": "192.168.1.20",
    "src_port": 40000,
    "dest_ip": "192.168.1.1",
    "dest_port": 53,
    "proto": "UDP",
    "dns": {"type": "query", "id": 1, "rrname": "one.example.org", "rrtype": "A"},
}
ZEEK = {
    "ts": NOW - 60, "uid": "C1", "id.orig_h": "192.168.1.20", "id.orig_p": 40000, "id.resp_h": "192.0.2.1",
    "id.resp_p": 443, "proto": "tcp", "conn_state": "SF", "orig_bytes": 10, "resp_bytes": 20, "duration": 1.0,
    "orig_pkts": 3, "resp_pkts": 4, "orig_ip_bytes": 100, "resp_ip_bytes": 200,
}  # fmt: skip
TSV = b"#separator \\x09\n#path\tdns\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tquery\tqtype_name\n"
OWN = {
    "time": NOW - 5,
    "src": {"mac": "00:00:5E:00:53:17", "ip": "2001:DB8::0:5"},
    "data": {"type": "identity", "protocol": "dhcp", "attributes": [["dhcp.hostname", "cam"]]},
}


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(body, *, form="auto", kind=""):
    return read_pushed(body, CONTEXT, form=form, kind=kind, now=NOW)


@pytest.mark.parametrize(
    ("body", "form", "kind"),
    [
        (lines(EVE), "eve", DnsData),
        (lines(ZEEK), "zeek", FlowData),
        (TSV + b"1763990000\tC1\t192.168.1.9\t5\t192.168.1.1\t53\tudp\tz1.example.org\tA\n", "zeek", DnsData),
        (lines(OWN), "observation", IdentityData),
        (b"\r\n\r\n" + lines(EVE).replace(b"\n", b"\r\n"), "eve", DnsData),
    ],
)
def test_the_form_is_told_by_the_first_line(body, form, kind):
    found = read(body)
    assert (found.form, found.rejected, found.errors) == (form, 0, ())
    (row,) = found.observations
    assert isinstance(row.data, kind)
    assert (row.source, row.site, row.tenant) == ("push:probe", "home", "default")


def test_addresses_take_the_usual_form():
    (row,) = read(lines(OWN)).observations
    assert (row.src.mac, row.src.ip, row.src.device) == ("00:00:5e:00:53:17", "2001:db8::5", "")


@pytest.mark.parametrize(
    "change",
    [
        {"time": "yesterday"},
        {"time": NOW + AHEAD_S + 1},
        {"time": -1},
        {"time": 1e300},
        {"src": {"mac": "camera"}},
        {"src": {"ip": "300.1.1.1"}},
        {"src": {"ip": "192.168.1.1", "device": "d-1"}},
        {"dst": {"port": 70000}},
        {"data": {"type": "status", "status": "alive"}},
        {"data": {"type": "capture", "file": "x"}},
        {"data": {"type": "malformed", "reason": "x"}},
        {"data": {"type": "device"}},
        {"data": 5},
        {"tenant": "another"},
        {"source": "sensor:eth0"},
    ],
)
def test_a_line_that_says_too_much_or_nothing_is_named_and_the_others_stay(change):
    found = read(lines(OWN, {**OWN, **change}, OWN), form="observation")
    assert found.rejected == 1
    assert found.errors[0].startswith("line 2: ")
    assert len(found.observations) == 2


@pytest.mark.parametrize("line", [b"no JSON", b"[]", b"{", b"\xff\xfe", b"{}", b"[" * 5000, b"1"])
@pytest.mark.parametrize("form", ["eve", "observation"])
def test_rubbish_is_named_by_its_line(line, form):
    good = {"eve": EVE, "observation": OWN}[form]
    found = read(lines(good) + line + b"\n" + lines(good), form=form)
    assert [error.partition(":")[0] for error in found.errors] == ["line 2"]


def test_zeek_lines_without_header_are_named():
    found = read(b"1\t2\t3\n" + lines(ZEEK), form="zeek")
    assert found.errors[0].startswith("line 1: zeek: ")
    assert len(found.observations) == 1


def test_known_lines_that_say_nothing_are_counted_and_no_fault():
    found = read(lines(EVE, {**EVE, "event_type": "stats"}))
    assert (found.rejected, found.ignored) == (0, {"stats event": 1})


def test_errors_are_bounded_and_all_are_counted():
    found = read(b"x\n" * 500, form="eve")
    assert (found.rejected, len(found.errors)) == (500, MAX_ERRORS)


def test_a_line_that_is_too_long_is_named():
    found = read(b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}\n' + lines(OWN), form="observation")
    assert found.errors == ("line 1: the line is too long",)


def test_the_same_line_is_the_same_observation_wherever_it_comes():
    other = {**OWN, "time": NOW - 4}
    first = {row.uid for row in read(lines(OWN, other)).observations}
    again = {row.uid for row in read(lines(other)).observations}
    assert len(first) == 2
    assert again < first


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from(["auto", "zeek", "eve", "observation"]))
def test_nothing_raises_and_every_line_is_accounted_for(parts, form):
    found = read(b"\n".join(parts), form=form, kind="conn")
    assert found.rejected >= len(found.errors)
    assert all(0 < row.time <= NOW + AHEAD_S for row in found.observations)
    msgspec.msgpack.encode(found.observations)
