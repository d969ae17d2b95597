"""Zeek logs: both forms, every kind that is read, folders, and what is wrong with them."""

import gzip
from pathlib import Path

import msgspec
import pytest

from thingward.model.observation import (
    AlertData,
    CaptureData,
    CredentialData,
    DnsAnswer,
    DnsData,
    Endpoint,
    FlowData,
    HttpData,
    IdentityData,
    LeaseData,
    MqttData,
    TlsData,
    pair_digest,
)
from thingward.model.record import Malformed
from thingward.sensing.log_files import MAX_LINE_BYTES, LogContext
from thingward.sensing.zeek import ZeekLog, looks_like_zeek, read_zeek_file, read_zeek_folder, zeek_files

CONTEXT = LogContext(source="zeek:test")
ENDS = {"id.orig_h": "10.0.0.7", "id.orig_p": 40000, "id.resp_h": "10.0.0.1", "id.resp_p": 53}
SRC, DST = Endpoint(ip="10.0.0.7", port=40000), Endpoint(ip="10.0.0.1", port=53)


def tsv(path: str, fields: str, types: str, *rows: str) -> list[bytes]:
    head = ["#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", f"#path\t{path}"]
    lines = [*head, "#fields\t" + fields.replace(" ", "\t"), "#types\t" + types.replace(" ", "\t")]
    return [line.encode() for line in [*lines, *[row.replace(" ", "\t") for row in rows], "#close\t2026"]]


CONN = tsv(
    "conn",
    "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents",
    "time string addr port addr port enum string interval count count string string count count count count set[string]",
    "100.5 C1 10.0.0.7 40000 10.0.0.1 443 tcp ssl 2.5 10 20 SF ShADadFf 5 500 4 400 (empty)",
    "101.0 C2 10.0.0.7 8 10.0.0.1 0 icmp - - - - OTH - 1 84 0 0 -",
)


def read(lines, name="conn.log"):
    log = ZeekLog(CONTEXT, name)
    return log, [one for line in lines for one in log.feed(line)]


def row(kind: str, **values) -> list:
    _, found = read([msgspec.json.encode({"ts": 5.0, "uid": "C1", **ENDS, **values})], f"{kind}.log")
    return found


def bodies(found) -> list:
    return [one.data for one in found]


def test_connections_in_columns():
    log, (tcp, icmp) = read(CONN, "renamed.txt")
    assert log.kind == "conn"
    assert (tcp.src, tcp.dst) == (SRC, Endpoint(ip="10.0.0.1", port=443))
    assert tcp.parents == ("renamed.txt#8",)
    assert tcp.time == 103.0
    flow = tcp.data
    assert isinstance(flow, FlowData)
    assert (flow.state, flow.first, flow.last, flow.proto, flow.app) == ("whole", 100.5, 103.0, 6, "tls")
    assert (flow.packets_out, flow.bytes_out, flow.packets_in, flow.bytes_in) == (5, 500, 4, 400)
    assert (flow.flags_out, flow.flags_in, flow.mid_stream) == (0x1B, 0x1B, False)
    assert (icmp.data.proto, icmp.data.icmp_type, icmp.src.port) == (1, 8, 0)


def test_the_same_file_read_again_gives_the_same_records():
    assert [one.uid for one in read(CONN)[1]] == [one.uid for one in read(CONN)[1]]


def test_labels_appended_with_blanks_do_no_harm():
    lines = [line.replace(b"tunnel_parents", b"tunnel_parents   label   detailed-label") for line in CONN]
    lines = [line + b"   Malicious   C&C" if line[:1].isdigit() else line for line in lines]
    _, found = read(lines)
    assert [one.data.proto for one in found] == [6, 1]
    assert not any(isinstance(one.data, Malformed) for one in found)


@pytest.mark.parametrize("history", ["Dd", "^dADa"])
def test_a_connection_whose_start_was_not_seen_says_so(history):
    (flow,) = bodies(row("conn", proto="tcp", history=history))
    assert flow.mid_stream


def test_answers_get_their_names_back():
    (dns,) = bodies(
        row(
            "dns",
            query="Www.Maker.example",
            qtype_name="A",
            rcode=0,
            answers=["cdn.example", "192.0.2.1", "2001:db8::1", "TXT 4 abcd"],
            TTLs=[15.0, 42.0, 7.0],
        )
    )
    assert dns == DnsData(
        qname="www.maker.example",
        qtype="A",
        rcode=0,
        answers=(
            DnsAnswer(name="www.maker.example", rrtype="CNAME", value="cdn.example", ttl_s=15),
            DnsAnswer(name="cdn.example", rrtype="A", value="192.0.2.1", ttl_s=42),
            DnsAnswer(name="cdn.example", rrtype="AAAA", value="2001:db8::1", ttl_s=7),
            DnsAnswer(name="cdn.example", rrtype="TXT", value="TXT 4 abcd"),
        ),
    )


def test_leases():
    lease, who = row(
        "dhcp",
        mac="02:AA:00:00:00:07",
        host_name="kettle",
        assigned_addr="10.0.0.7",
        server_addr="10.0.0.1",
        lease_time=600.0,
        msg_types=["DISCOVER", "OFFER", "ACK"],
    )
    assert lease.src == Endpoint(mac="02:aa:00:00:00:07", ip="10.0.0.7")
    assert lease.data == LeaseData(message="ack", address="10.0.0.7", hostname="kettle", lease_s=600)
    assert who.data.attributes == (("dhcp.hostname", "kettle"),)


def test_http_keeps_no_password():
    found = row(
        "http",
        method="GET",
        host="Hub",
        uri="/a?pwd=hunter2",
        user_agent="app",
        status_code=401,
        username="root",
        password="hunter2",
    )
    event, who, login = bodies(found)
    assert event == HttpData(method="GET", host="hub", path="/a?pwd=***", user_agent="app", status=401)
    assert who.attributes == (("http.user_agent", "app"),)
    assert login == CredentialData(
        protocol="http-basic", user="root", pair=pair_digest("root", "hunter2"), outcome="failure"
    )
    assert b"hunter2" not in msgspec.json.encode(found)


def test_tls_and_certificates():
    event, client, server = row(
        "ssl",
        version="TLSv12",
        server_name="A.example",
        subject="CN=hub\\, two,O=Maker",
        issuer="CN=CA",
        next_protocol="h2",
    )
    assert event.data == TlsData(sni="a.example", alpn=("h2",), version="1.2", certificate_subject="hub, two")
    assert client.data.attributes == (("tls.sni", "a.example"),)
    assert server.src == DST
    assert dict(server.data.attributes) == {"tls.certificate_subject": "hub, two", "tls.certificate_issuer": "CA"}


@pytest.mark.parametrize(
    ("verdict", "outcome"), [(True, "success"), ("T", "success"), (False, "failure"), ("F", "failure")]
)
def test_ssh(verdict, outcome):
    client, server, login = row("ssh", client="SSH-2.0-a", server="SSH-2.0-b", auth_success=verdict)
    assert (client.src, server.src) == (SRC, DST)
    assert login.data == CredentialData(protocol="ssh", outcome=outcome)


def test_mqtt():
    event, who = bodies(
        row("mqtt_connect", client_id="plug", proto_version="5.0", connect_status="Connection Accepted")
    )
    assert event == MqttData(operation="connect", client_id="plug", return_code=0, version=5)
    assert who.attributes == (("mqtt.client_id", "plug"),)
    (published,) = row("mqtt_publish", topic="t", from_client=False)
    assert (published.src, published.data) == (DST, MqttData(operation="publish", topic="t"))
    subscribed = bodies(row("mqtt_subscribe", action="MQTT::SUBSCRIBE", topics=["a", "b"]))
    assert subscribed == [MqttData(operation="subscribe", topic=topic) for topic in ("a", "b")]


def test_the_smaller_logs():
    (software,) = row("software", host="10.0.0.9", host_p=22, unparsed_version="OpenSSH_8.1")
    assert (software.src, software.data.attributes) == (
        Endpoint(ip="10.0.0.9", port=22),
        (("software.version", "OpenSSH_8.1"),),
    )
    (arp,) = row("arp", src_mac="02:00:00:00:00:01", orig_h="10.0.0.7")
    assert (arp.src, arp.data.attributes) == (
        Endpoint(mac="02:00:00:00:00:01", ip="10.0.0.7"),
        (("arp.ip", "10.0.0.7"),),
    )
    (notice,) = row("notice", note="Scan::Address_Scan", msg="scanned", src="10.0.0.7", dst="10.0.0.8", p=23)
    assert notice.dst == Endpoint(ip="10.0.0.8", port=23)
    assert notice.data == AlertData(
        engine="zeek", signature="scanned", signature_id="Scan::Address_Scan", category="Scan", severity=3
    )
    (ftp,) = row("ftp", user="a", password="b", command="PASS", reply_code=230)
    assert ftp.data == CredentialData(protocol="ftp", user="a", pair=pair_digest("a", "b"), outcome="success")
    snmp, who = row("snmp", community="public", get_responses=1, display_string="Switch")
    assert (snmp.data.outcome, who.data.attributes) == ("success", (("snmp.descr", "Switch"),))
    (mail,) = row("smtp", helo="printer")
    assert isinstance(mail.data, IdentityData)


def test_nested_ids_and_hexadecimal_escapes():
    (one,) = row("http", id={"orig_h": "10.9.9.9", "orig_p": 7}, method="GET", uri="/")
    assert one.src.ip == "10.9.9.9"
    lines = tsv("http", "ts method uri", "time string string", "1.0 GET /\\x09x")
    assert read(lines)[1][0].data.path == "/\x09x".replace("\t", "\ufffd")


def test_json_of_unknown_name_is_known_by_its_fields():
    line = msgspec.json.encode({"ts": 5.0, "uid": "C1", **ENDS, "proto": "udp", "conn_state": "SF"})
    assert isinstance(read([line], "b1.log")[1][0].data, FlowData)


def test_bad_lines_are_told_with_their_number_and_the_rest_is_read():
    lines = [*CONN[:7], b"no columns at all", b'{"broken": ', *CONN[7:]]
    log, found = read(lines)
    problems = [one for one in found if isinstance(one.data, Malformed)]
    assert [one.parents for one in problems] == [("conn.log#8",), ("conn.log#9",)]
    assert problems[0].data.reason == "zeek: line does not fit its header"
    assert len(found) == 4
    assert log.tally.summary().data.malformed == {"zeek: line does not fit its header": 2}


def test_values_of_the_wrong_kind_are_told():
    (one,) = row("conn", uid=None, proto=7)
    assert isinstance(one.data, FlowData | Malformed)
    _, (problem,) = read([b'{"ts":1.0,"proto":"tcp"}'])
    assert problem.data.reason == "zeek: bad value in conn log"


def test_logs_that_are_not_read_are_reported():
    log, found = read([b'{"ts":1.0,"x":1}'] * 3, "exotic.log")
    assert found == []
    assert not log.is_known
    assert log.tally.summary().data.dropped == {"exotic log": 3}
    assert ZeekLog(CONTEXT, "weird.log").is_known


def test_a_folder_is_one_stream_in_order_of_time(tmp_path: Path):
    dns = msgspec.json.encode({"ts": 102.0, "uid": "C", **ENDS, "query": "a", "qtype_name": "A"})
    (tmp_path / "dns.log").write_bytes(dns + b"\n")
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "conn.10:00.log.gz").write_bytes(gzip.compress(b"\n".join(CONN)))
    (tmp_path / "notes.txt").write_text("no log")
    assert [path.name for path in zeek_files(tmp_path)] == ["conn.10:00.log.gz", "dns.log"]
    assert looks_like_zeek(tmp_path)
    found = list(read_zeek_folder(tmp_path, CONTEXT))
    said = [one for one in found if not isinstance(one.data, CaptureData)]
    assert [type(one.data) for one in said] == [DnsData, FlowData, FlowData]
    ends = {Path(one.data.file).name: one.data for one in found if isinstance(one.data, CaptureData)}
    assert ends["dns.log"].format == "zeek json, addresses only"
    assert ends["conn.10:00.log.gz"].packets == len(CONN)
    assert all(one.complete for one in ends.values())


def test_a_damaged_file_is_read_as_far_as_it_goes(tmp_path: Path):
    packed = gzip.compress(b"\n".join(CONN) * 200)
    path = tmp_path / "conn.log.gz"
    path.write_bytes(packed[: len(packed) // 2])
    *_, end = read_zeek_file(path, CONTEXT)
    assert not end.data.complete
    assert "EOFError" in end.data.error


def test_endless_lines_do_not_fill_the_memory(tmp_path: Path):
    path = tmp_path / "conn.log"
    path.write_bytes(b"x" * (3 * MAX_LINE_BYTES) + b"\n" + b"\n".join(CONN))
    first, *rest = read_zeek_file(path, CONTEXT)
    assert isinstance(first.data, Malformed)
    assert [type(one.data) for one in rest] == [FlowData, FlowData, CaptureData]
