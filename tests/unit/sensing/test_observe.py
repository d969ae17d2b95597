"""What messages mean: endpoints, names, evidence, and that no password is kept."""

import msgspec
import pytest

from tests.unit.wire.test_dhcp import option, packet
from tests.unit.wire.test_dns import QUERY, answer, name, record
from thingward.model.observation import (
    CredentialData,
    DnsData,
    Endpoint,
    HttpData,
    IdentityData,
    LeaseData,
    LogData,
    MqttData,
    TlsData,
    pair_digest,
)
from thingward.model.record import Malformed, Secret
from thingward.sensing.observe import PacketContext, observe_message
from thingward.wire.dispatch import decode_datagram
from thingward.wire.http import HttpExchange
from thingward.wire.lines import ServiceBanner
from thingward.wire.lldp import LldpMessage
from thingward.wire.message import Credential
from thingward.wire.mqtt import MqttConnect, MqttTopic
from thingward.wire.nbns import NbnsMessage
from thingward.wire.snmp import SnmpMessage
from thingward.wire.tls import TlsClientHello, TlsServerHello
from thingward.wire.x509 import CertificateNames

DEVICE = Endpoint(mac="02:00:00:00:00:07", ip="10.0.0.7", port=40000)
OTHER = Endpoint(mac="02:00:00:00:00:01", ip="10.0.0.1", port=53)


def context(src=DEVICE, dst=OTHER, parent="batch#5"):
    return PacketContext(time=10.0, src=src, dst=dst, parents=(parent,), source="test:1")


def observe(message, **where):
    return observe_message(context(**where), message)


def datagram(payload, sport, dport, **where):
    found = []
    for message in decode_datagram(17, sport, dport, payload):
        found += observe(message, **where)
    return found


def attributes(observations, protocol):
    return [
        (one.src, dict(one.data.attributes))
        for one in observations
        if isinstance(one.data, IdentityData) and one.data.protocol == protocol
    ]


def test_envelope_and_uid():
    (first,) = datagram(QUERY, 40000, 53)
    assert (first.time, first.source, first.parents) == (10.0, "test:1", ("batch#5",))
    assert datagram(QUERY, 40000, 53)[0].uid == first.uid
    assert datagram(QUERY, 40000, 53, parent="batch#6")[0].uid != first.uid


def test_several_things_said_by_one_packet_have_their_own_uids():
    topics = [MqttTopic(operation="publish", topic=topic) for topic in ("a", "b")]
    assert len({one.uid for topic in topics for one in observe(topic)}) == 2


def test_a_query_has_the_client_first_and_an_answer_too():
    (query,) = datagram(QUERY, 40000, 53)
    assert (query.src, query.dst) == (DEVICE, OTHER)
    assert query.data == DnsData(qname="www.example.com", qtype="A", rcode=-1)
    reply = answer(record(b"\xc0\x0c", 5, name("B.Example")), record(name("b.example"), 1, bytes([10, 0, 0, 9])))
    (response,) = datagram(reply, 53, 40000, src=OTHER, dst=DEVICE)
    assert (response.src, response.dst) == (DEVICE, OTHER)
    assert response.data.rcode == 0
    assert [(one.name, one.rrtype, one.value) for one in response.data.answers] == [
        ("a.example", "CNAME", "b.example"),
        ("b.example", "A", "10.0.0.9"),
    ]


def test_names_lose_case_and_hints_are_addresses():
    parameters = b"\0\4\0\4" + bytes([192, 0, 2, 1])
    reply = answer(record(b"\xc0\x0c", 65, b"\0\1\0" + parameters), question=name("Www.Maker.Example"))
    (response,) = datagram(reply, 53, 40000, src=OTHER, dst=DEVICE)
    assert response.data.qname == "www.maker.example"
    assert [(one.rrtype, one.value) for one in response.data.answers] == [("HTTPS", "1 ."), ("A", "192.0.2.1")]


def mdns(*records, response=True):
    head = b"\0\0\x84\0" if response else b"\0\0\0\0"
    counts = b"\0\0" + (
        len(records).to_bytes(2, "big") + b"\0\0" if response else b"\0\0" + len(records).to_bytes(2, "big")
    )
    return head + counts + b"\0\0" + b"".join(records)


CAST = b"\x04Room\x0b_googlecast\x04_tcp\x05local\0"


def cast_records(address=bytes([10, 0, 0, 7])):
    return (
        record(name("_googlecast._tcp.local"), 12, CAST),
        record(CAST, 33, b"\0\0\0\0\x1f\x49" + name("Tv-7.local")),
        record(CAST, 16, b"\x08md=Stick\x0bfn=Den: big\x05fv=42"),
        record(name("tv-7.local"), 1, address),
    )


def test_an_mdns_announcement_identifies_its_sender():
    found = datagram(mdns(*cast_records()), 5353, 5353)
    ((who, said),) = attributes(found, "mdns")
    assert who == DEVICE
    assert said == {
        "mdns.service": "_googlecast._tcp",
        "mdns.instance": "Room",
        "mdns.name": "tv-7.local",
        "mdns.model": "Stick",
        "mdns.friendly_name": "Den: big",
        "mdns.firmware": "42",
    }
    assert [one.data.confidence for one in found if isinstance(one.data, IdentityData)] == [1.0]
    assert [one.data.transport for one in found if isinstance(one.data, DnsData)] == ["mdns"]


def test_records_about_another_address_weigh_less():
    found = datagram(mdns(*cast_records(bytes([10, 0, 0, 99]))), 5353, 5353)
    assert [one.data.confidence for one in found if isinstance(one.data, IdentityData)] == [0.3]


def test_a_probe_claims_names_but_known_answers_do_not():
    probe = mdns(record(name("tv-7.local"), 1, bytes([10, 0, 0, 7])), response=False)
    ((_, said),) = attributes(datagram(probe, 5353, 5353), "mdns")
    assert said == {"mdns.name": "tv-7.local"}
    known = b"\0\0\0\0\0\0\0\1\0\0\0\0" + record(name("other.local"), 1, bytes([10, 0, 0, 8]))
    assert attributes(datagram(known, 5353, 5353), "mdns") == []


def test_subtypes_and_the_list_of_services():
    found = datagram(
        mdns(
            record(name("_services._dns-sd._udp.local"), 12, name("_hue._tcp.local")),
            record(name("_universal._sub._ipp._tcp.local"), 12, b"\x06Hue. 1\x04_ipp\x04_tcp\x05local\0"),
        ),
        5353,
        5353,
    )
    (identity,) = [one.data for one in found if isinstance(one.data, IdentityData)]
    assert identity.attributes == (
        ("mdns.service", "_hue._tcp"),
        ("mdns.service", "_ipp._tcp"),
        ("mdns.instance", "Hue. 1"),
    )


def test_a_lease_names_client_and_server():
    request = packet(option(53, b"\3"), option(12, b"kettle"), option(60, b"udhcp"), option(55, b"\1\3"))
    lease, who = datagram(request, 68, 67, src=Endpoint(mac="02:11:22:33:44:55", ip="0.0.0.0", port=68))
    assert lease.data == LeaseData(message="request", hostname="kettle")
    assert (lease.src, lease.dst) == (Endpoint(mac="02:11:22:33:44:55"), None)
    assert dict(who.data.attributes) == {
        "dhcp.hostname": "kettle",
        "dhcp.vendor_class": "udhcp",
        "dhcp.parameters": "1,3",
    }
    ack = packet(option(53, b"\5"), option(3, bytes([10, 0, 0, 1])), operation=2, given=bytes([10, 0, 0, 7]))
    (given,) = datagram(ack, 67, 68, src=OTHER)
    assert given.src == Endpoint(mac="02:11:22:33:44:55", ip="10.0.0.7")
    assert given.dst == OTHER
    assert (given.data.address, given.data.routers) == ("10.0.0.7", ("10.0.0.1",))


def test_nbns_and_lldp_identify():
    (one,) = observe(NbnsMessage(operation="registration", is_response=False, name="PC-1"))
    assert one.data.attributes == (("nbns.name", "PC-1"),)
    (two,) = observe(LldpMessage(chassis="c", system_name="cam", mud_url="https://m", inventory=(("model", "X"),)))
    assert (two.src, two.dst) == (DEVICE, None)
    assert dict(two.data.attributes) == {
        "lldp.chassis": "c",
        "lldp.system_name": "cam",
        "lldp.model": "X",
        "mud.url": "https://m",
    }


def test_an_snmp_answer_proves_the_community():
    ask = SnmpMessage(version=2, pdu="get", community=Secret("private"))
    (tried,) = observe(ask)
    assert (tried.src, tried.data.outcome, tried.data.pair) == (DEVICE, "unknown", pair_digest("", "private"))
    reply = SnmpMessage(version=2, pdu="response", community=Secret("private"), system=(("descr", "Switch"),))
    proven, who = observe(reply, src=OTHER, dst=DEVICE)
    assert (proven.src, proven.dst, proven.data.outcome) == (DEVICE, OTHER, "success")
    assert (who.src, who.data.attributes) == (OTHER, (("snmp.descr", "Switch"),))


@pytest.mark.parametrize(("password", "empty"), [(Secret("hunter2"), False), (Secret(""), True), (None, False)])
def test_credentials_keep_no_password(password, empty):
    (one,) = observe(Credential(scheme="telnet", user="root", password=password, outcome="success"))
    assert one.data == CredentialData(
        protocol="telnet",
        user="root",
        pair="" if password is None else pair_digest("root", password.reveal()),
        password_empty=empty,
        outcome="success",
    )
    assert b"hunter2" not in msgspec.json.encode(one)


def test_messages_of_the_responder_turn_the_endpoints():
    server = Credential(scheme="mqtt", user="a", from_initiator=False)
    (one,) = observe(server)
    assert (one.src, one.dst) == (OTHER, DEVICE)


def test_tls_hellos():
    event, who = observe(TlsClientHello(sni="a.example", version="1.3", ja4="t13d"))
    assert event.data == TlsData(sni="a.example", version="1.3", ja4="t13d")
    assert dict(who.data.attributes) == {"tls.sni": "a.example", "tls.ja4": "t13d"}
    names = CertificateNames(subject="hub", organisation="Maker", dns_names=("a", "b"))
    event, who = observe(TlsServerHello(version="1.2", certificate=names))
    assert (event.src, event.data.certificate_subject) == (DEVICE, "hub")
    assert (who.src, dict(who.data.attributes)["tls.certificate_names"]) == (OTHER, "a,b")


def test_http_tells_of_both_sides():
    message = HttpExchange(method="GET", host="h", path="/", user_agent="app", status=200, server="micro", realm="Cam")
    event, client, server = observe(message)
    assert event.data == HttpData(method="GET", host="h", path="/", user_agent="app", status=200)
    assert (client.src, client.data.attributes) == (DEVICE, (("http.user_agent", "app"),))
    assert (server.src, server.data.attributes) == (OTHER, (("http.server", "micro"), ("http.realm", "Cam")))


def test_mqtt_and_banners():
    event, who = observe(MqttConnect(client_id="plug", user="u", return_code=5))
    assert event.data == MqttData(operation="connect", client_id="plug", user="u", return_code=5)
    assert who.data.attributes == (("mqtt.client_id", "plug"),)
    (banner,) = observe(ServiceBanner(scheme="ssh", text="SSH-2.0-x", from_initiator=False))
    assert (banner.src, banner.data.attributes) == (OTHER, (("ssh.banner", "SSH-2.0-x"),))


def test_syslog_lines_are_logs_and_weak_evidence():
    log, who = datagram(b"<13>Feb  5 17:32:18 hub app: text", 514, 514)
    assert log.data == LogData(host="hub", app="app", facility=1, severity=5, message="text")
    assert who.data.attributes == (("syslog.host", "hub"),)


def test_malformed_flows_on():
    (one,) = datagram(b"\xff", 40000, 53)
    assert isinstance(one.data, Malformed)
    assert (one.src, one.dst) == (DEVICE, OTHER)


def test_what_is_evidence_of_nothing_says_nothing():
    assert datagram(b"\x23" + bytes(47), 123, 123) == []
