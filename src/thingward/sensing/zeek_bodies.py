"""What the columns of each Zeek log mean in our words."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any

from thingward.model.ids import hashed_uid
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
from thingward.sensing.attributes import identity
from thingward.sensing.log_files import Body, as_float, as_int, as_text, endpoint
from thingward.wire.forms import hide_secrets
from thingward.wire.head import outcome_of

Row = dict[str, Any]
Bodies = Iterator[Body]

_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}
_HISTORY_FLAGS = {"S": 0x02, "H": 0x12, "A": 0x10, "D": 0x18, "F": 0x01, "R": 0x04}
_TRANSPORTS = {5353: "mdns", 5355: "llmnr", 137: "nbns"}
_TLS_VERSIONS = {"TLSv13": "1.3", "TLSv12": "1.2", "TLSv11": "1.1", "TLSv10": "1.0", "SSLv3": "ssl3", "SSLv2": "ssl2"}
_MQTT_VERSIONS = {"3.1": 3, "3.1.1": 4, "5.0": 5}


def _ends(row: Row) -> tuple[Endpoint, Endpoint]:
    return (
        endpoint(row.get("id.orig_h"), row.get("id.orig_p"), row.get("orig_l2_addr", "")),
        endpoint(row.get("id.resp_h"), row.get("id.resp_p"), row.get("resp_l2_addr", "")),
    )


def _flags(history: str) -> tuple[int, int]:
    """Read TCP flags out of conn.log's history: upper case is the originator's, lower case the responder's."""
    out = 0
    back = 0
    for letter in history:
        bits = _HISTORY_FLAGS.get(letter.upper(), 0)
        if letter.isupper():
            out |= bits
        else:
            back |= bits
    return out, back


def _conn(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    name = row.get("proto", "")
    proto = as_int(row["ip_proto"]) if "ip_proto" in row else _PROTOCOLS.get(name, -1)
    icmp_type = -1
    if name == "icmp":
        proto = 58 if ":" in src.ip else 1
        icmp_type = src.port
        src, dst = Endpoint(mac=src.mac, ip=src.ip), Endpoint(mac=dst.mac, ip=dst.ip)
    history = as_text(row.get("history"), 64)
    flags_out, flags_in = _flags(history) if proto == 6 else (0, 0)
    last = time + max(0.0, as_float(row.get("duration")))
    service = row.get("service", "")
    service = service[0] if isinstance(service, list) and service else service
    app = as_text(service, 64).partition(",")[0]
    yield (
        last,
        src,
        dst,
        FlowData(
            flow=hashed_uid("zeek flow", as_text(row["uid"], 64), src.ip, str(time)),
            state="whole",
            first=time,
            last=last,
            proto=proto,
            packets_out=as_int(row.get("orig_pkts")),
            bytes_out=as_int(row.get("orig_ip_bytes", row.get("orig_bytes"))),
            packets_in=as_int(row.get("resp_pkts")),
            bytes_in=as_int(row.get("resp_ip_bytes", row.get("resp_bytes"))),
            flags_out=flags_out,
            flags_in=flags_in,
            icmp_type=icmp_type,
            app="tls" if app == "ssl" else app,
            mid_stream=proto == 6 and "S" not in history.upper(),
        ),
    )


def _answers(query: str, qtype: str, values: list[Any], ttls: list[Any]) -> tuple[DnsAnswer, ...]:
    """Give names and types back to dns.log's bare answers: a name leads on to the next, an address ends the chain."""
    answers: list[DnsAnswer] = []
    name = query
    for index, raw in enumerate(values[:64]):
        value = as_text(raw)
        ttl_s = as_int(ttls[index]) if index < len(ttls) else 0
        kind = _answer_type(value, qtype)
        if kind in ("CNAME", "PTR"):
            value = value.lower()
        answers.append(DnsAnswer(name=name, rrtype=kind, value=value, ttl_s=max(0, ttl_s)))
        if kind == "CNAME":
            name = value
    return tuple(answers)


def _answer_type(value: str, qtype: str) -> str:
    try:
        return "A" if ipaddress.ip_address(value).version == 4 else "AAAA"
    except ValueError:
        pass
    if qtype in ("PTR", "SRV", "TXT", "NS", "MX", "SOA") or value.startswith("TXT "):
        return "TXT" if value.startswith("TXT ") else qtype
    return "CNAME"


def _dns(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    query = as_text(row.get("query"), 512).lower()
    qtype = as_text(row.get("qtype_name"), 16) or "A"
    values = row.get("answers") or []
    ttls = row.get("TTLs") or []
    known = isinstance(values, list) and isinstance(ttls, list)
    yield (
        time,
        src,
        dst,
        DnsData(
            qname=query,
            qtype=qtype,
            rcode=as_int(row["rcode"]) if "rcode" in row else -1,
            transport=_TRANSPORTS.get(dst.port, "dns"),
            answers=_answers(query, qtype, values, ttls) if known else (),
        ),
    )


def _dhcp(time: float, row: Row) -> Bodies:
    types = row.get("msg_types") or []
    kinds = [as_text(kind, 16).lower() for kind in types] if isinstance(types, list) else []
    message = "ack" if "ack" in kinds else (kinds[-1] if kinds else "request")
    mac = as_text(row.get("mac"), 17)
    address = as_text(row.get("assigned_addr") or row.get("client_addr") or row.get("requested_addr"), 45)
    client = endpoint(address if message == "ack" else row.get("client_addr"), 0, mac)
    server = endpoint(row["server_addr"]) if row.get("server_addr") else None
    hostname = as_text(row.get("host_name"))
    yield (
        time,
        client,
        server,
        LeaseData(message=message, address=address, hostname=hostname, lease_s=as_int(row.get("lease_time"))),
    )
    body = identity("dhcp", ("dhcp.hostname", hostname), ("dhcp.fqdn", as_text(row.get("client_fqdn"))))
    if body is not None:
        yield time, client, server, body


def _http(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    status = as_int(row.get("status_code"))
    agent = as_text(row.get("user_agent"))
    path = hide_secrets(as_text(row.get("uri"), 1024).encode("utf-8", "replace")).decode("utf-8", "replace")
    method, host = as_text(row.get("method"), 32), as_text(row.get("host")).lower()
    if method:
        yield time, src, dst, HttpData(method=method, host=host, path=path[:256], user_agent=agent, status=status)
    body = identity("http", ("http.user_agent", agent), confidence=0.7)
    if body is not None:
        yield time, src, dst, body
    if row.get("username"):
        yield time, src, dst, _login("http-basic", row, outcome_of(status))


def _login(protocol: str, row: Row, outcome: str) -> CredentialData:
    """Build a credential of a log's user and password columns; the password goes no further."""
    user = as_text(row.get("username", row.get("user")))
    password = row.get("password")
    known = isinstance(password, str) and password not in ("<hidden>", "-")
    return CredentialData(
        protocol=protocol,
        user=user,
        pair=pair_digest(user, password) if known and isinstance(password, str) else "",
        password_empty=password == "",
        outcome="success" if outcome == "success" else "failure" if outcome == "failure" else "unknown",
    )


def common_name(subject: str) -> str:
    """Give CN of a distinguished name in text form."""
    for part in subject.replace("\\,", "\ufffd").split(","):
        name, _, value = part.strip().partition("=")
        if name.upper() == "CN":
            return value.replace("\ufffd", ",")
    return ""


def _ssl(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    sni = as_text(row.get("server_name")).lower()
    version = as_text(row.get("version"), 16)
    subject = common_name(as_text(row.get("subject")))
    ja4 = as_text(row.get("ja4"), 64)
    alpn = as_text(row.get("next_protocol"), 32)
    yield (
        time,
        src,
        dst,
        TlsData(
            sni=sni,
            alpn=(alpn,) if alpn else (),
            version=_TLS_VERSIONS.get(version, version),
            ja4=ja4,
            certificate_subject=subject,
        ),
    )
    client = identity("tls", ("tls.sni", sni), ("tls.ja4", ja4), confidence=0.5)
    if client is not None:
        yield time, src, dst, client
    issuer = common_name(as_text(row.get("issuer")))
    server = identity("tls", ("tls.certificate_subject", subject), ("tls.certificate_issuer", issuer), confidence=0.7)
    if server is not None:
        yield time, dst, src, server


def _ssh(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    for end, other, column in ((src, dst, "client"), (dst, src, "server")):
        body = identity("ssh", ("ssh.banner", as_text(row.get(column))))
        if body is not None:
            yield time, end, other, body
    verdict = row.get("auth_success")
    if verdict is not None:
        good = verdict is True or verdict == "T"
        yield time, src, dst, CredentialData(protocol="ssh", outcome="success" if good else "failure")


def _mqtt_connect(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    client_id = as_text(row.get("client_id"))
    accepted = as_text(row.get("connect_status")).lower().endswith("accepted")
    yield (
        time,
        src,
        dst,
        MqttData(
            operation="connect",
            client_id=client_id,
            topic=as_text(row.get("will_topic")),
            return_code=(0 if accepted else 5) if row.get("connect_status") else -1,
            version=_MQTT_VERSIONS.get(as_text(row.get("proto_version"), 8), 4),
        ),
    )
    body = identity("mqtt", ("mqtt.client_id", client_id))
    if body is not None:
        yield time, src, dst, body


def _mqtt_publish(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    if row.get("from_client") in (False, "F"):
        src, dst = dst, src
    yield time, src, dst, MqttData(operation="publish", topic=as_text(row.get("topic")))


def _mqtt_subscribe(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    topics = row.get("topics") or []
    for topic in topics[:16] if isinstance(topics, list) else ():
        operation = as_text(row.get("action"), 16).rpartition("::")[2].lower() or "subscribe"
        yield time, src, dst, MqttData(operation=operation, topic=as_text(topic))


def _software(time: float, row: Row) -> Bodies:
    text = as_text(row.get("unparsed_version")) or as_text(row.get("name"))
    body = identity("software", ("software.version", text), confidence=0.8)
    if body is not None:
        yield time, endpoint(row.get("host"), row.get("host_p")), None, body


def _arp(time: float, row: Row) -> Bodies:
    """Read the arp.log of common add-on scripts; the frame's own address is believed, not the one inside."""
    mac = row.get("src_mac") or row.get("mac") or row.get("orig_hw")
    address = as_text(row.get("orig_h") or row.get("src_addr"), 45)
    body = identity("arp", ("arp.ip", address))
    if body is not None and mac:
        yield time, endpoint(address, 0, mac), None, body


def _notice(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    if row.get("src"):
        src = endpoint(row.get("src"))
    if row.get("dst"):
        dst = endpoint(row.get("dst"), row.get("p"))
    note = as_text(row.get("note"))
    yield (
        time,
        src,
        dst if dst.ip else None,
        AlertData(
            engine="zeek",
            signature=as_text(row.get("msg")) or note,
            signature_id=note,
            category=note.partition("::")[0],
            severity=3,
        ),
    )


def _ftp(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    if row.get("user") not in (None, "", "<unknown>") and as_text(row.get("command"), 8) in ("USER", "PASS", "<init>"):
        code = as_int(row.get("reply_code"))
        outcome = "success" if code == 230 else "failure" if code == 530 else "unknown"
        yield time, src, dst, _login("ftp", row, outcome)


def _snmp(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    community = row.get("community")
    if isinstance(community, str):
        answered = as_int(row.get("get_responses")) > 0
        yield (
            time,
            src,
            dst,
            CredentialData(
                protocol="snmp",
                pair=pair_digest("", community),
                password_empty=not community,
                outcome="success" if answered else "unknown",
            ),
        )
    body = identity("snmp", ("snmp.descr", as_text(row.get("display_string"))))
    if body is not None:
        yield time, dst, src, body


def _smtp(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    body = identity("smtp", ("smtp.helo", as_text(row.get("helo"))))
    if body is not None:
        yield time, src, dst, body


ZEEK_BODIES: dict[str, Callable[[float, Row], Bodies]] = {
    "conn": _conn,
    "dns": _dns,
    "dhcp": _dhcp,
    "http": _http,
    "ssl": _ssl,
    "ssh": _ssh,
    "mqtt_connect": _mqtt_connect,
    "mqtt_publish": _mqtt_publish,
    "mqtt_subscribe": _mqtt_subscribe,
    "software": _software,
    "arp": _arp,
    "notice": _notice,
    "ftp": _ftp,
    "snmp": _snmp,
    "smtp": _smtp,
}
