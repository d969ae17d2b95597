"""The smaller datagram and frame decoders."""

import struct

import pytest

from thingward.model.record import Malformed, Secret
from thingward.wire.coap import decode_coap
from thingward.wire.lldp import decode_lldp
from thingward.wire.nbns import decode_nbns
from thingward.wire.ntp import decode_ntp
from thingward.wire.quic import decode_quic, is_quic
from thingward.wire.sip import decode_sip, is_sip
from thingward.wire.snmp import decode_snmp, object_id_text
from thingward.wire.ssdp import decode_ssdp
from thingward.wire.stun import decode_stun, is_stun
from thingward.wire.syslog import MAX_MESSAGE, decode_syslog
from thingward.wire.tftp import decode_tftp
from thingward.wire.wsd import decode_wsd


def test_ssdp_announcement():
    message = decode_ssdp(
        b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nLocation: http://10.0.0.5/desc.xml\r\n"
        b"SERVER: Linux/3.4 UPnP/1.0 bridge/1.2\r\nNT: upnp:rootdevice\r\nNTS: ssdp:alive\r\nUSN: uuid:1::upnp:rootdevice\r\n\r\n"
    )
    assert (message.kind, message.server) == ("notify", "Linux/3.4 UPnP/1.0 bridge/1.2")
    assert (message.target, message.nts, message.usn) == ("upnp:rootdevice", "ssdp:alive", "uuid:1::upnp:rootdevice")
    assert message.location == "http://10.0.0.5/desc.xml"


def test_ssdp_search_and_answer():
    search = decode_ssdp(b'M-SEARCH * HTTP/1.1\r\nMAN: "ssdp:discover"\r\nST: ssdp:all\r\nUSER-AGENT: phone/1\r\n\r\n')
    assert (search.kind, search.target, search.user_agent) == ("search", "ssdp:all", "phone/1")
    answer = decode_ssdp(b"HTTP/1.1 200 OK\nST:urn:x\nserver:  plug \n\n")
    assert (answer.kind, answer.target, answer.server) == ("answer", "urn:x", "plug")


WSD_HELLO = b"""<?xml version="1.0"?><s:Envelope xmlns:s="x"><s:Header/><s:Body><d:ProbeMatches><d:ProbeMatch>
<d:Types>dn:NetworkVideoTransmitter tds:Device</d:Types>
<d:Scopes>onvif://www.onvif.org/type/video onvif://www.onvif.org/hardware/DCS-9 onvif://www.onvif.org/name/Front%20Door</d:Scopes>
<d:XAddrs>http://10.0.0.5/onvif http://[fe80::1]/onvif</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"""


def test_cameras_answer_discovery():
    message = decode_wsd(WSD_HELLO)
    assert (message.kind, message.types) == ("answer", ("NetworkVideoTransmitter", "Device"))
    assert (message.name, message.hardware, message.address) == ("Front Door", "DCS-9", "http://10.0.0.5/onvif")
    probe = decode_wsd(b"<Envelope><Body><Probe><Types/></Probe></Body></Envelope>")
    assert (probe.kind, probe.types) == ("probe", ())


def test_ntp_modes():
    assert decode_ntp(b"\x23" + bytes(47)).mode == "client"
    assert (decode_ntp(b"\x24\x02" + bytes(46)).mode, decode_ntp(b"\x24\x02" + bytes(46)).stratum) == ("server", 2)
    assert decode_ntp(b"\x16\x01" + bytes(10)).mode == "control"


def mangled(name: bytes, suffix: int) -> bytes:
    raw = name.ljust(15) + bytes([suffix])
    return b"\x20" + bytes(half + 65 for byte in raw for half in (byte >> 4, byte & 15)) + b"\0"


def test_nbns_registration_names_the_host():
    head = struct.pack("!HHHHHH", 7, 0x2910, 1, 0, 0, 1)
    extra = b"\xc0\x0c\0\x20\0\1" + struct.pack("!IH", 300, 6) + b"\x60\0" + bytes([10, 0, 0, 8])
    message = decode_nbns(head + mangled(b"DESKTOP-1", 0) + b"\0\x20\0\1" + extra)
    assert (message.operation, message.name, message.suffix) == ("registration", "DESKTOP-1", 0)
    assert message.addresses == ("10.0.0.8",)
    assert not message.is_group


def test_nbns_node_status_lists_names():
    rows = b"\x02" + b"NAS".ljust(15) + b"\0\x04\0" + b"HOME".ljust(15) + b"\0\x84\0"
    head = struct.pack("!HHHHHH", 7, 0x8400, 0, 1, 0, 0)
    message = decode_nbns(head + mangled(b"*", 0) + b"\0\x21\0\1" + struct.pack("!IH", 0, len(rows)) + rows)
    assert message.names == (("NAS", 0, False), ("HOME", 0, True))


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value


def test_lldp_names_the_device_and_its_mud_url():
    message = decode_lldp(
        tlv(1, b"\4" + bytes.fromhex("021122334455"))
        + tlv(2, b"\5eth0")
        + tlv(3, b"\0\x78")
        + tlv(5, b"camera-3")
        + tlv(6, b"IP camera")
        + tlv(7, b"\0\x24\0\x20")
        + tlv(8, b"\5\1" + bytes([10, 0, 0, 3]) + b"\2\0\0\0\1\0")
        + tlv(127, b"\0\0\x5e\1https://maker.example/cam")
        + tlv(127, b"\0\x12\xbb\x0aCam 9")
        + tlv(0, b"")
    )
    assert (message.chassis, message.port, message.ttl_s) == ("02:11:22:33:44:55", "eth0", 120)
    assert (message.system_name, message.system_description) == ("camera-3", "IP camera")
    assert (message.capabilities, message.management) == (("telephone",), "10.0.0.3")
    assert message.mud_url == "https://maker.example/cam"
    assert message.inventory == (("model", "Cam 9"),)


def ber(tag: int, value: bytes) -> bytes:
    return bytes([tag, len(value)]) + value


SYS_DESCR = bytes.fromhex("2b06010201010100")


def snmp(pdu: int, value: bytes, community: bytes = b"public") -> bytes:
    binding = ber(0x30, ber(0x30, ber(6, SYS_DESCR) + value))
    body = ber(2, b"\1") + ber(2, b"\0") + ber(2, b"\0") + binding
    return ber(0x30, ber(2, b"\1") + ber(4, community) + ber(pdu, body))


def test_snmp_community_is_a_secret():
    message = decode_snmp(snmp(0xA0, ber(5, b"")))
    assert (message.version, message.pdu) == (2, "get")
    assert message.community == Secret("public")
    assert "public" not in repr(message)


def test_snmp_response_describes_the_system():
    message = decode_snmp(snmp(0xA2, ber(4, b"Printer 9000")))
    assert message.system == (("descr", "Printer 9000"),)


def test_snmp_version_3_names_a_user():
    usm = ber(0x30, ber(4, b"engine") + ber(2, b"\1") + ber(2, b"\1") + ber(4, b"operator") + ber(4, b"") + ber(4, b""))
    message = decode_snmp(ber(0x30, ber(2, b"\3") + ber(0x30, b"") + ber(4, usm) + ber(4, b"x")))
    assert (message.version, message.user, message.community) == (3, "operator", None)


def test_object_ids_as_text():
    assert object_id_text(SYS_DESCR) == "1.3.6.1.2.1.1.1.0"
    assert object_id_text(bytes.fromhex("2b0601040182371501")) == "1.3.6.1.4.1.311.21.1"


def test_coap_request_path_and_query():
    message = decode_coap(b"\x41\x01\x12\x34\x99" + b"\xb4temp" + b"\x05inner" + b"\x43u=c")
    assert (message.kind, message.code, message.path, message.query) == ("confirmable", "GET", "/temp/inner", "u=c")


def test_coap_response_lists_resources():
    message = decode_coap(b"\x60\x45\x12\x34\xc1\x28\xff</light>;rt=core.sw")
    assert (message.code, message.is_request, message.payload) == ("2.05", False, "</light>;rt=core.sw")


def test_syslog_new_form():
    message = decode_syslog(b'<165>1 2026-01-02T03:04:05.6Z plug-7 app 99 ID47 [x@1 a="b]"][y@1] \xef\xbb\xbfturned on')
    assert (message.facility, message.severity, message.version) == (20, 5, 1)
    assert (message.host, message.app, message.process, message.text) == ("plug-7", "app", "99", "turned on")


@pytest.mark.parametrize(
    ("line", "host", "app", "text"),
    [
        (b"<13>Feb  5 17:32:18 hub dropbear[7]: Exit before auth", "hub", "dropbear", "Exit before auth"),
        (b"<13>Feb 15 17:32:18 hub: plain words", "", "hub", "plain words"),
        (b"<13>no header at all", "", "", "no header at all"),
    ],
)
def test_syslog_old_form(line, host, app, text):
    message = decode_syslog(line)
    assert (message.host, message.app, message.text) == (host, app, text)


def test_syslog_text_is_bounded_and_printable():
    message = decode_syslog(b"<13>\x1b[31mred" + b"a" * 9000)
    assert len(message.text) <= MAX_MESSAGE
    assert "\x1b" not in message.text


def test_tftp_names_the_file():
    message = decode_tftp(b"\0\1mirai.arm7\0octet\0")
    assert (message.operation, message.file) == ("read", "mirai.arm7")


def test_stun_software():
    software = b"\x80\x22\0\x05libjx\0\0\0"
    data = b"\0\1" + len(software).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + software
    assert is_stun(data)
    message = decode_stun(data)
    assert (message.kind, message.software) == ("request", "libjx")


def test_quic_long_header():
    data = b"\xc3\0\0\0\1\x08" + bytes(8) + b"\0" + bytes(20)
    assert is_quic(data)
    assert decode_quic(data).version == 1
    assert not is_quic(b"\x43" + bytes(30))


def test_sip_software():
    data = b"REGISTER sip:example SIP/2.0\r\nUser-Agent: DoorPhone 2\r\n\r\n"
    assert is_sip(data)
    assert (decode_sip(data).method, decode_sip(data).software) == ("REGISTER", "DoorPhone 2")
    assert decode_sip(b"SIP/2.0 401 Unauthorized\r\nServer: pbx\r\n\r\n").status == 401


@pytest.mark.parametrize(
    "decode",
    [
        decode_ssdp, decode_ntp, decode_nbns, decode_lldp, decode_snmp, decode_coap,
        decode_wsd, decode_syslog, decode_tftp, decode_stun, decode_quic, decode_sip,
    ],
)  # fmt: skip
def test_bytes_without_sense_are_malformed(decode):
    for data in (b"", b"\xff", b"\xff" * 64):
        message = decode(memoryview(data))
        assert isinstance(message, Malformed)
        assert message.reason.startswith(f"{message.protocol}: ")
