"""What each EVE event means in our words (field names: Suricata's documentation, EVE JSON format)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
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
from thingward.sensing.log_files import Body, as_int, as_text, endpoint
from thingward.sensing.zeek_bodies import common_name
from thingward.wire.forms import hide_secrets

Row = dict[str, Any]
Bodies = Iterator[Body]

_PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "IPV6-ICMP": 58, "ICMPV6": 58, "SCTP": 132, "IGMP": 2}
_RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}
_SEVERITIES = {1: 4, 2: 3, 3: 2, 4: 1}
_TRANSPORTS = {5353: "mdns", 5355: "llmnr"}


def _part(row: Row, name: str) -> Row:
    value = row.get(name)
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value[:64] if isinstance(value, list) else []


def _mac(row: Row, one: str, many: str) -> str:
    """Give a side's hardware address where Suricata logs it: packets have one, flows a list."""
    ether = _part(row, "ether")
    found = ether.get(one) or next(iter(_list(ether.get(many))), "")
    return as_text(found, 17)


def _ends(row: Row) -> tuple[Endpoint, Endpoint]:
    return (
        endpoint(row.get("src_ip"), row.get("src_port"), _mac(row, "src_mac", "src_macs")),
        endpoint(row.get("dest_ip"), row.get("dest_port"), _mac(row, "dest_mac", "dest_macs")),
    )


def _moment(value: Any, default: float) -> float:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else default
    except (ValueError, OverflowError):
        return default


def _hex(value: Any) -> int:
    try:
        return int(value, 16) & 0xFF if isinstance(value, str) else 0
    except ValueError:
        return 0


def _flow(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    flow, tcp = _part(row, "flow"), _part(row, "tcp")
    first = _moment(flow.get("start"), time)
    last = _moment(flow.get("end"), first)
    app = as_text(row.get("app_proto"), 32)
    yield (
        max(first, last),
        src,
        dst,
        FlowData(
            flow=hashed_uid("eve flow", as_text(row.get("flow_id"), 32), src.ip, str(first)),
            state="whole",
            first=first,
            last=max(first, last),
            proto=_PROTOCOLS.get(as_text(row.get("proto"), 16).upper(), -1),
            packets_out=as_int(flow.get("pkts_toserver")),
            bytes_out=as_int(flow.get("bytes_toserver")),
            packets_in=as_int(flow.get("pkts_toclient")),
            bytes_in=as_int(flow.get("bytes_toclient")),
            flags_out=_hex(tcp.get("tcp_flags_ts")),
            flags_in=_hex(tcp.get("tcp_flags_tc")),
            icmp_type=as_int(row["icmp_type"]) if "icmp_type" in row else -1,
            app="" if app in ("failed", "unknown") else app,
        ),
    )


def _answer(row: Row) -> DnsAnswer:
    kind = as_text(row.get("rrtype"), 16)
    data = row.get("rdata")
    if data is None:
        data = row.get(kind.lower())
    if isinstance(data, dict):
        data = " ".join(as_text(value) for value in data.values())
    value = as_text(data)
    if kind in ("CNAME", "NS", "PTR"):
        value = value.rstrip(".").lower()
    name = as_text(row.get("rrname"), 512).rstrip(".").lower()
    return DnsAnswer(name=name, rrtype=kind, value=value, ttl_s=max(0, as_int(row.get("ttl"))))


def _dns(time: float, row: Row) -> Bodies:
    """Read all three forms: one answer per event (1), answers in a list (2), queries in a list too (3)."""
    src, dst = _ends(row)
    dns = _part(row, "dns")
    is_answer = dns.get("type") in ("answer", "response")
    if is_answer and dst.port not in (53, 5353, 5355) and src.port in (53, 5353, 5355):
        src, dst = dst, src
    asked = [query for query in _list(dns.get("queries")) if isinstance(query, dict)] or [dns]
    answers = [_answer(answer) for answer in _list(dns.get("answers")) if isinstance(answer, dict)]
    if is_answer and not answers and "rdata" in dns:
        answers = [_answer(dns)]
    for query in asked[:4]:
        yield (
            time,
            src,
            dst,
            DnsData(
                qname=as_text(query.get("rrname"), 512).rstrip(".").lower(),
                qtype=as_text(query.get("rrtype"), 16) or "A",
                rcode=_RCODES.get(as_text(dns.get("rcode"), 16), 0) if is_answer else -1,
                transport=_TRANSPORTS.get(dst.port, "dns"),
                answers=tuple(answers),
            ),
        )


def _dhcp(time: float, row: Row) -> Bodies:
    dhcp = _part(row, "dhcp")
    src, _ = _ends(row)
    reply = dhcp.get("type") == "reply"
    message = as_text(dhcp.get("dhcp_type"), 16) or ("ack" if reply else "request")
    mac = as_text(dhcp.get("client_mac"), 17)
    given = [as_text(dhcp.get(name), 45) for name in ("assigned_ip", "requested_ip", "client_ip")]
    address = next((one for one in given if one and one != "0.0.0.0"), "")
    client = endpoint(address if message == "ack" else "", 0, mac)
    hostname = as_text(dhcp.get("hostname")).strip("\ufffd")
    yield (
        time,
        client,
        src if reply else None,
        LeaseData(
            message=message,
            address=address,
            hostname=hostname,
            lease_s=as_int(dhcp.get("lease_time")),
            routers=tuple(as_text(one, 45) for one in _list(dhcp.get("routers"))),
            resolvers=tuple(as_text(one, 45) for one in _list(dhcp.get("dns_servers"))),
        ),
    )
    vendor = as_text(dhcp.get("vendor_class_identifier"))
    body = identity("dhcp", ("dhcp.hostname", hostname), ("dhcp.vendor_class", vendor))
    if body is not None and not reply:
        yield time, client, None, body


def _http(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    http = _part(row, "http")
    agent = as_text(http.get("http_user_agent"))
    path = hide_secrets(as_text(http.get("url"), 1024).encode("utf-8", "replace")).decode("utf-8", "replace")
    method, host = as_text(http.get("http_method"), 32), as_text(http.get("hostname")).lower()
    status = as_int(http.get("status"))
    if method:
        yield time, src, dst, HttpData(method=method, host=host, path=path[:256], user_agent=agent, status=status)
    client = identity("http", ("http.user_agent", agent), confidence=0.7)
    if client is not None:
        yield time, src, dst, client
    server = identity("http", ("http.server", as_text(http.get("server"))), confidence=0.8)
    if server is not None:
        yield time, dst, src, server


def _tls(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    tls = _part(row, "tls")
    sni, ja4 = as_text(tls.get("sni")).lower(), as_text(tls.get("ja4"), 64)
    subject, issuer = common_name(as_text(tls.get("subject"))), common_name(as_text(tls.get("issuerdn")))
    version = as_text(tls.get("version"), 16).removeprefix("TLS ").removeprefix("TLSv")
    alpn = tuple(as_text(one, 32) for one in _list(tls.get("client_alpns")))
    yield (
        time,
        src,
        dst,
        TlsData(sni=sni, alpn=alpn, version=version, ja4=ja4, certificate_subject=subject),
    )
    client = identity("tls", ("tls.sni", sni), ("tls.ja4", ja4), confidence=0.5)
    if client is not None:
        yield time, src, dst, client
    server = identity("tls", ("tls.certificate_subject", subject), ("tls.certificate_issuer", issuer), confidence=0.7)
    if server is not None:
        yield time, dst, src, server


def _ssh(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    for end, other, side in ((src, dst, "client"), (dst, src, "server")):
        part = _part(_part(row, "ssh"), side)
        software = as_text(part.get("software_version"))
        banner = f"SSH-{as_text(part.get('proto_version'), 8)}-{software}" if software else ""
        body = identity("ssh", ("ssh.banner", banner))
        if body is not None:
            yield time, end, other, body


def _mqtt(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    mqtt = _part(row, "mqtt")
    connect, connack = _part(mqtt, "connect"), _part(mqtt, "connack")
    if connect:
        yield from _mqtt_connect(time, src, dst, connect, connack)
    publish = _part(mqtt, "publish")
    if publish:
        yield time, src, dst, MqttData(operation="publish", topic=as_text(publish.get("topic")))
    subscribe = _part(mqtt, "subscribe")
    for topic in _list(subscribe.get("topics"))[:16]:
        name = as_text(topic.get("topic") if isinstance(topic, dict) else topic)
        yield time, src, dst, MqttData(operation="subscribe", topic=name)


def _mqtt_connect(time: float, src: Endpoint, dst: Endpoint, connect: Row, connack: Row) -> Bodies:
    client_id, user = as_text(connect.get("client_id")), as_text(connect.get("username"))
    code = as_int(connack.get("return_code", connack.get("reason_code"))) if connack else -1
    will = as_text(_part(connect, "will").get("topic"))
    version = as_int(connect.get("protocol_version")) or 4
    yield (
        time,
        src,
        dst,
        MqttData(operation="connect", client_id=client_id, user=user, topic=will, return_code=code, version=version),
    )
    body = identity("mqtt", ("mqtt.client_id", client_id))
    if body is not None:
        yield time, src, dst, body
    password = connect.get("password")
    if user or isinstance(password, str):
        yield (
            time,
            src,
            dst,
            CredentialData(
                protocol="mqtt",
                user=user,
                pair=pair_digest(user, password) if isinstance(password, str) else "",
                password_empty=password == "",
                outcome="unknown" if code < 0 else "success" if code == 0 else "failure",
            ),
        )


def _snmp(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    snmp = _part(row, "snmp")
    community = snmp.get("community")
    if isinstance(community, str):
        answered = "response" in as_text(snmp.get("pdu_type"), 32)
        client, server = (dst, src) if answered else (src, dst)
        yield (
            time,
            client,
            server,
            CredentialData(
                protocol="snmp",
                pair=pair_digest("", community),
                password_empty=not community,
                outcome="success" if answered else "unknown",
            ),
        )


def _alert(time: float, row: Row) -> Bodies:
    src, dst = _ends(row)
    alert = _part(row, "alert")
    yield (
        time,
        src,
        dst,
        AlertData(
            engine="suricata",
            signature=as_text(alert.get("signature")),
            signature_id=as_text(alert.get("signature_id"), 32),
            category=as_text(alert.get("category")),
            severity=_SEVERITIES.get(as_int(alert.get("severity")), 2),
        ),
    )


EVE_BODIES: dict[str, Callable[[float, Row], Bodies]] = {
    "flow": _flow,
    "dns": _dns,
    "dhcp": _dhcp,
    "http": _http,
    "tls": _tls,
    "ssh": _ssh,
    "mqtt": _mqtt,
    "snmp": _snmp,
    "alert": _alert,
}
