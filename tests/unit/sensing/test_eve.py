"""Suricata's EVE lines."""

import msgspec
import pytest

from thingward.model.observation import (
    AlertData,
    CredentialData,
    DnsAnswer,
    DnsData,
    Endpoint,
    FlowData,
    HttpData,
    LeaseData,
    MqttData,
    TlsData,
    pair_digest,
)
from thingward.model.record import Malformed
from thingward.sensing.eve import EveLog, eve_time, read_eve_file
from thingward.sensing.log_files import LogContext

CONTEXT = LogContext(source="eve:test")
SRC, DST = Endpoint(ip="10.0.0.7", port=40000), Endpoint(ip="10.0.0.1", port=53)


def row(kind: str, **values) -> list:
    log = EveLog(CONTEXT, "eve.json")
    line = {
        "timestamp": "2026-01-02T03:04:05.500000+0100",
        "flow_id": 77,
        "event_type": kind,
        "src_ip": "10.0.0.7",
        "src_port": 40000,
        "dest_ip": "10.0.0.1",
        "dest_port": 53,
        "proto": "TCP",
        **values,
    }
    return log.feed(msgspec.json.encode(line))


def bodies(found) -> list:
    return [one.data for one in found]


def test_time_has_a_zone():
    assert eve_time("1970-01-01T01:00:01.500000+0100") == 1.5
    assert eve_time("1970-01-01T01:00:01") is None
    assert eve_time("yesterday") is None


def test_flows():
    (one,) = row(
        "flow",
        app_proto="failed",
        ether={"src_macs": ["02:00:00:00:00:07"], "dest_macs": ["02:00:00:00:00:01"]},
        flow={
            "pkts_toserver": 3,
            "bytes_toserver": 300,
            "pkts_toclient": 2,
            "bytes_toclient": 200,
            "start": "2026-01-02T03:04:00.000000+0100",
            "end": "2026-01-02T03:04:04.000000+0100",
        },
        tcp={"tcp_flags_ts": "1b", "tcp_flags_tc": "12"},
    )
    assert one.src == Endpoint(mac="02:00:00:00:00:07", ip="10.0.0.7", port=40000)
    flow = one.data
    assert isinstance(flow, FlowData)
    assert (flow.last - flow.first, one.time, flow.app) == (4.0, flow.last, "")
    assert (flow.packets_out, flow.bytes_out, flow.packets_in, flow.bytes_in) == (3, 300, 2, 200)
    assert (flow.flags_out, flow.flags_in) == (0x1B, 0x12)


CNAME = {"rrname": "Www.example", "rrtype": "CNAME", "ttl": 5, "rdata": "Cdn.example."}
ADDRESS = {"rrname": "cdn.example", "rrtype": "A", "ttl": 6, "rdata": "192.0.2.1"}


@pytest.mark.parametrize(
    "dns",
    [
        {
            "version": 2,
            "type": "answer",
            "rrname": "www.example",
            "rrtype": "A",
            "rcode": "NOERROR",
            "answers": [CNAME, ADDRESS],
        },
        {
            "version": 3,
            "type": "response",
            "queries": [{"rrname": "www.example", "rrtype": "A"}],
            "rcode": "NOERROR",
            "answers": [CNAME, ADDRESS],
        },
    ],
)
def test_dns_answers_of_both_list_forms(dns):
    (data,) = bodies(row("dns", dns=dns))
    assert data == DnsData(
        qname="www.example",
        qtype="A",
        rcode=0,
        answers=(
            DnsAnswer(name="www.example", rrtype="CNAME", value="cdn.example", ttl_s=5),
            DnsAnswer(name="cdn.example", rrtype="A", value="192.0.2.1", ttl_s=6),
        ),
    )


def test_dns_queries_and_the_oldest_form():
    (query,) = bodies(row("dns", dns={"type": "query", "rrname": "A.example", "rrtype": "AAAA"}))
    assert query == DnsData(qname="a.example", qtype="AAAA")
    (one,) = row(
        "dns",
        src_port=53,
        dest_port=40000,
        src_ip="10.0.0.1",
        dest_ip="10.0.0.7",
        dns={"type": "answer", "rcode": "NXDOMAIN", **ADDRESS},
    )
    assert (one.src, one.data.rcode, len(one.data.answers)) == (SRC, 3, 1)


def test_leases():
    lease, who = row(
        "dhcp",
        dhcp={
            "type": "request",
            "dhcp_type": "request",
            "client_mac": "02:00:00:00:00:07",
            "hostname": "lamp",
            "vendor_class_identifier": "udhcp",
            "requested_ip": "10.0.0.7",
        },
    )
    assert lease.data == LeaseData(message="request", address="10.0.0.7", hostname="lamp")
    assert lease.src == Endpoint(mac="02:00:00:00:00:07")
    assert dict(who.data.attributes) == {"dhcp.hostname": "lamp", "dhcp.vendor_class": "udhcp"}
    (ack,) = row(
        "dhcp",
        dhcp={
            "type": "reply",
            "dhcp_type": "ack",
            "client_mac": "02:00:00:00:00:07",
            "assigned_ip": "10.0.0.7",
            "routers": ["10.0.0.1"],
            "dns_servers": ["9.9.9.9"],
            "lease_time": 60,
        },
    )
    assert (ack.src, ack.dst) == (Endpoint(mac="02:00:00:00:00:07", ip="10.0.0.7"), SRC)
    assert ack.data == LeaseData(
        message="ack", address="10.0.0.7", lease_s=60, routers=("10.0.0.1",), resolvers=("9.9.9.9",)
    )


def test_http_tls_and_ssh():
    event, who = bodies(
        row(
            "http",
            http={
                "hostname": "Hub",
                "url": "/a?token=x",
                "http_user_agent": "app",
                "http_method": "GET",
                "status": 200,
            },
        )
    )
    assert event == HttpData(method="GET", host="hub", path="/a?token=***", user_agent="app", status=200)
    assert who.attributes == (("http.user_agent", "app"),)
    event, client, server = bodies(
        row("tls", tls={"sni": "a.example", "version": "TLS 1.2", "subject": "CN=hub", "issuerdn": "CN=CA"})
    )
    assert event == TlsData(sni="a.example", version="1.2", certificate_subject="hub")
    assert client.attributes == (("tls.sni", "a.example"),)
    assert dict(server.attributes)["tls.certificate_issuer"] == "CA"
    one, two = row(
        "ssh",
        ssh={
            "client": {"proto_version": "2.0", "software_version": "libssh"},
            "server": {"proto_version": "2.0", "software_version": "dropbear"},
        },
    )
    assert (one.src, two.src) == (SRC, DST)
    assert two.data.attributes == (("ssh.banner", "SSH-2.0-dropbear"),)


def test_mqtt_logins_keep_no_password():
    found = row(
        "mqtt",
        mqtt={
            "connect": {"protocol_version": 5, "client_id": "c", "username": "u", "password": "hunter2"},
            "connack": {"return_code": 5},
        },
    )
    event, who, login = bodies(found)
    assert event == MqttData(operation="connect", client_id="c", user="u", return_code=5, version=5)
    assert who.attributes == (("mqtt.client_id", "c"),)
    assert login == CredentialData(protocol="mqtt", user="u", pair=pair_digest("u", "hunter2"), outcome="failure")
    assert b"hunter2" not in msgspec.json.encode(found)
    topics = bodies(row("mqtt", mqtt={"subscribe": {"topics": [{"topic": "a", "qos": 0}]}}))
    assert topics == [MqttData(operation="subscribe", topic="a")]


@pytest.mark.parametrize(("theirs", "ours"), [(1, 4), (2, 3), (3, 2), (9, 2)])
def test_alerts_with_the_severity_turned_round(theirs, ours):
    (data,) = bodies(
        row("alert", alert={"signature": "ET x", "signature_id": 2018358, "category": "Bad", "severity": theirs})
    )
    assert data == AlertData(engine="suricata", signature="ET x", signature_id="2018358", category="Bad", severity=ours)


def test_what_is_wrong_or_not_read_is_told():
    log = EveLog(CONTEXT, "eve.json")
    lines = [
        b"{",
        b"[]",
        b'{"event_type":"dns"}',
        b"",
        b'{"timestamp":"2026-01-02T03:04:05+0000","event_type":"stats"}',
    ]
    found = [one for line in lines for one in log.feed(line)]
    assert [one.data.reason for one in found] == ["eve: not JSON", "eve: not an object", "eve: no event type or time"]
    assert all(isinstance(one.data, Malformed) for one in found)
    assert [one.parents for one in found] == [("eve.json#1",), ("eve.json#2",), ("eve.json#3",)]
    assert log.tally.summary().data.dropped == {"stats event": 1}


def test_a_file_ends_with_what_was_read(tmp_path):
    path = tmp_path / "eve.json"
    path.write_bytes(b'{"timestamp":"2026-01-02T03:04:05+0000","event_type":"alert","alert":{"signature":"x"}}\n' * 2)
    *found, end = read_eve_file(path, CONTEXT)
    assert len({one.uid for one in found}) == 2
    assert (end.data.packets, end.data.complete, end.data.format) == (2, True, "suricata eve, addresses only")
