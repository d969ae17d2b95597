"""What datagrams and frames mean: names, leases, and who the sender says it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from thingward.model.observation import (
    CredentialData,
    Data,
    DnsAnswer,
    DnsData,
    Endpoint,
    LeaseData,
    pair_digest,
)
from thingward.sensing.attributes import identity
from thingward.sensing.syslog_source import log_data
from thingward.wire.dhcp import Dhcp6Message, DhcpMessage
from thingward.wire.dns import DnsMessage, DnsRecord
from thingward.wire.lldp import LldpMessage
from thingward.wire.nbns import NbnsMessage
from thingward.wire.ntp import NtpMessage
from thingward.wire.sip import SipMessage
from thingward.wire.snmp import SnmpMessage
from thingward.wire.ssdp import SsdpMessage
from thingward.wire.stun import StunMessage
from thingward.wire.syslog import SyslogMessage
from thingward.wire.wsd import WsdMessage

Bodies = Iterator[tuple[Endpoint | None, Endpoint | None, Data]]

MAX_ANSWERS = 64
_TXT_NAMES = {
    "md": "mdns.model",
    "model": "mdns.model",
    "am": "mdns.model",
    "ty": "mdns.model",
    "usb_mdl": "mdns.model",
    "product": "mdns.model",
    "modelid": "mdns.model",
    "rpmd": "mdns.model",
    "fn": "mdns.friendly_name",
    "friendlyname": "mdns.friendly_name",
    "name": "mdns.friendly_name",
    "manufacturer": "mdns.maker",
    "mfg": "mdns.maker",
    "usb_mfg": "mdns.maker",
    "vendor": "mdns.maker",
    "fv": "mdns.firmware",
    "fw_version": "mdns.firmware",
    "firmware": "mdns.firmware",
    "version": "mdns.firmware",
    "srcvers": "mdns.firmware",
    "ci": "mdns.category",
}


def host_name(name: str) -> str:
    """Lower a DNS name's case and drop its final dot: names compare without case (RFC 4343)."""
    return name.rstrip(".").lower()


def dns_answers(records: Iterable[DnsRecord]) -> tuple[DnsAnswer, ...]:
    """Turn records into answers; address hints of SVCB and HTTPS become A and AAAA answers of the same name."""
    answers: list[DnsAnswer] = []
    for record in records:
        if len(answers) >= MAX_ANSWERS:
            break
        name = host_name(record.name)
        value = host_name(record.value) if record.rrtype in ("CNAME", "NS", "DNAME") else record.value[:256]
        answers.append(DnsAnswer(name=name, rrtype=record.rrtype, value=value, ttl_s=record.ttl_s))
        for hint in record.hints:
            kind = "AAAA" if ":" in hint else "A"
            answers.append(DnsAnswer(name=name, rrtype=kind, value=hint, ttl_s=record.ttl_s))
    return tuple(answers)


def _dns(sender: Endpoint, receiver: Endpoint, message: DnsMessage) -> Bodies:
    if message.transport == "mdns":
        yield from _mdns(sender, receiver, message)
        return
    client, server = (receiver, sender) if message.is_response else (sender, receiver)
    answers = dns_answers(message.answers) if message.is_response else ()
    for question in message.questions[:4]:
        yield (
            client,
            server,
            DnsData(
                qname=host_name(question.name),
                qtype=question.rrtype,
                rcode=message.rcode if message.is_response else -1,
                transport=message.transport,
                answers=answers,
            ),
        )
    if message.transport == "llmnr" and message.is_response and message.answers:
        body = identity("llmnr", ("llmnr.name", host_name(message.answers[0].name)), confidence=0.9)
        if body is not None:
            yield sender, receiver, body


def _mdns(sender: Endpoint, receiver: Endpoint, message: DnsMessage) -> Bodies:
    """Read what a host announces or claims; known answers in queries are other hosts' records and are left out."""
    if not message.is_response:
        for question in message.questions[:8]:
            data = DnsData(qname=host_name(question.name), qtype=question.rrtype, transport="mdns")
            yield sender, receiver, data
    records = _own_records(message)
    if not records:
        return
    if message.is_response:
        first = records[0]
        yield (
            sender,
            receiver,
            DnsData(
                qname=host_name(first.name),
                qtype=first.rrtype,
                rcode=message.rcode,
                transport="mdns",
                answers=dns_answers(records),
            ),
        )
    pairs = [pair for record in records for pair in _mdns_attributes(record)]
    body = identity("mdns", *pairs, confidence=mdns_confidence(sender, message))
    if body is not None:
        yield sender, receiver, body


def _mdns_attributes(record: DnsRecord) -> Iterator[tuple[str, str]]:
    if record.rrtype in ("A", "AAAA"):
        yield "mdns.name", host_name(record.name)
    elif record.rrtype == "SRV":
        yield "mdns.name", host_name(record.target)
        yield from _service_of(record.name)
    elif record.rrtype == "PTR" and host_name(record.name) == "_services._dns-sd._udp.local":
        yield "mdns.service", host_name(record.target).removesuffix(".local")
    elif record.rrtype == "PTR" and not record.name.endswith(".arpa"):
        yield from _service_of(record.target)
    elif record.rrtype == "TXT":
        yield from _service_of(record.name)
        for text in record.texts:
            key, equals, value = text.partition("=")
            attribute = _TXT_NAMES.get(key.lower())
            if equals and attribute is not None:
                yield attribute, value.strip("() ")


def _service_of(name: str) -> Iterator[tuple[str, str]]:
    """Split `Instance._service._tcp.local` (RFC 6763, 4.1)."""
    for marker in ("._tcp.local", "._udp.local"):
        front, found, _ = name.partition(marker)
        if not found:
            continue
        instance, _, service = front.rpartition("._")
        yield "mdns.service", f"_{(service if instance else front.lstrip('_')).lower()}{marker.removesuffix('.local')}"
        if instance and "._sub" not in instance:
            yield "mdns.instance", instance.replace("\\.", ".")
        return


def _own_records(message: DnsMessage) -> tuple[DnsRecord, ...]:
    return (*message.answers, *message.additionals) if message.is_response else message.authorities


def mdns_confidence(sender: Endpoint, message: DnsMessage) -> float:
    """Give less weight to records about another address: reflectors and sleep proxies speak for others."""
    kind = "AAAA" if ":" in sender.ip else "A"
    addresses = {record.value for record in _own_records(message) if record.rrtype == kind}
    return 0.3 if addresses and sender.ip and sender.ip not in addresses else 1.0


def _dhcp(sender: Endpoint, receiver: Endpoint, message: DhcpMessage) -> Bodies:
    mac = message.client_mac or ("" if message.is_reply else sender.mac)
    address = message.client_address
    if message.message == "ack":
        address = message.assigned_address or address
    client = Endpoint(mac=mac, ip=address)
    server = sender if message.is_reply else (Endpoint(ip=message.server) if message.server else None)
    yield (
        client,
        server,
        LeaseData(
            message=message.message,
            address=message.assigned_address or message.requested_address or message.client_address,
            hostname=message.hostname or message.fqdn,
            lease_s=message.lease_s,
            routers=message.routers,
            resolvers=message.resolvers,
            time_servers=message.time_servers,
        ),
    )
    body = None
    if not message.is_reply:
        body = identity(
            "dhcp",
            ("dhcp.hostname", message.hostname),
            ("dhcp.fqdn", message.fqdn),
            ("dhcp.vendor_class", message.vendor_class),
            ("dhcp.user_class", message.user_class),
            ("dhcp.client_id", message.client_id),
            ("dhcp.parameters", ",".join(map(str, message.parameters))),
            ("mud.url", message.mud_url),
        )
    if body is not None:
        yield client, server, body


_DHCP6_REPLIES = frozenset({"advertise", "reply", "reconfigure"})


def _dhcp6(sender: Endpoint, receiver: Endpoint, message: Dhcp6Message) -> Bodies:
    is_reply = message.message in _DHCP6_REPLIES
    client, server = (receiver, sender) if is_reply else (sender, receiver)
    yield (
        client,
        server,
        LeaseData(
            message=message.message,
            address=message.addresses[0] if message.addresses else "",
            hostname=host_name(message.fqdn),
            resolvers=message.resolvers,
        ),
    )
    body = identity(
        "dhcp",
        ("dhcp.fqdn", host_name(message.fqdn)),
        ("dhcp.vendor_class", message.vendor_class),
        ("dhcp.client_id", message.client_id),
        ("mud.url", message.mud_url),
    )
    if body is not None and not is_reply:
        yield client, server, body


def _ssdp(sender: Endpoint, receiver: Endpoint, message: SsdpMessage) -> Bodies:
    if message.kind == "search":
        body = identity("ssdp", ("ssdp.search", message.target), ("ssdp.user_agent", message.user_agent))
    else:
        body = identity(
            "ssdp",
            ("ssdp.server", message.server),
            ("ssdp.type", message.target),
            ("ssdp.usn", message.usn),
            ("ssdp.location", message.location),
            ("ssdp.friendly_name", message.friendly_name),
        )
    if body is not None:
        yield sender, receiver, body


def _wsd(sender: Endpoint, receiver: Endpoint, message: WsdMessage) -> Bodies:
    if message.kind in ("probe", "resolve"):
        return
    types = [("wsd.type", one) for one in message.types]
    body = identity("wsd", ("wsd.model", message.hardware), ("wsd.name", message.name), *types)
    if body is not None:
        yield sender, receiver, body


def _nbns(sender: Endpoint, receiver: Endpoint, message: NbnsMessage) -> Bodies:
    if message.operation == "query" and message.name and not message.names:
        client, server = (receiver, sender) if message.is_response else (sender, receiver)
        name = message.name.lower()
        found = message.addresses if message.is_response else ()
        answers = tuple(DnsAnswer(name=name, rrtype="A", value=address) for address in found)
        rcode = message.rcode if message.is_response else -1
        yield client, server, DnsData(qname=name, qtype="NB", rcode=rcode, transport="nbns", answers=answers)
    pairs: list[tuple[str, str]] = []
    if message.operation in ("registration", "refresh") and not message.is_response:
        pairs.append(("nbns.group" if message.is_group else "nbns.name", message.name))
    for name, suffix, is_group in message.names:
        if suffix in (0, 0x20):
            pairs.append(("nbns.group" if is_group else "nbns.name", name))
    body = identity("nbns", *pairs)
    if body is not None:
        yield sender, receiver, body


def _ntp(sender: Endpoint, receiver: Endpoint, message: NtpMessage) -> Bodies:
    body = identity("ntp", ("ntp.mode", message.mode)) if message.mode in ("server", "broadcast") else None
    if body is not None:
        yield sender, receiver, body


def _snmp(sender: Endpoint, receiver: Endpoint, message: SnmpMessage) -> Bodies:
    if message.community is not None:
        answered = message.pdu == "response"
        client, server = (receiver, sender) if answered else (sender, receiver)
        community = message.community.reveal()
        yield (
            client,
            server,
            CredentialData(
                protocol="snmp",
                pair=pair_digest("", community),
                password_empty=not community,
                outcome="success" if answered else "unknown",
            ),
        )
    system = dict(message.system)
    body = identity(
        "snmp",
        ("snmp.descr", system.get("descr", "")),
        ("snmp.name", system.get("name", "")),
        ("snmp.object_id", system.get("object_id", "")),
    )
    if body is not None:
        yield sender, receiver, body


def _lldp(sender: Endpoint, receiver: Endpoint, message: LldpMessage) -> Bodies:
    inventory = dict(message.inventory)
    body = identity(
        "lldp",
        ("lldp.system_name", message.system_name),
        ("lldp.description", message.system_description),
        ("lldp.chassis", message.chassis),
        ("lldp.port", message.port),
        ("lldp.capabilities", ",".join(message.capabilities)),
        ("lldp.maker", inventory.get("manufacturer", "")),
        ("lldp.model", inventory.get("model", "")),
        ("lldp.firmware", inventory.get("firmware", "")),
        ("lldp.serial", inventory.get("serial", "")),
        ("mud.url", message.mud_url),
    )
    if body is not None:
        yield sender, None, body


def _syslog(sender: Endpoint, receiver: Endpoint, message: SyslogMessage) -> Bodies:
    yield sender, receiver, log_data(message)
    body = identity("syslog", ("syslog.host", message.host), confidence=0.4)
    if body is not None:
        yield sender, receiver, body


def _stun(sender: Endpoint, receiver: Endpoint, message: StunMessage) -> Bodies:
    body = identity("stun", ("stun.software", message.software), confidence=0.5)
    if body is not None:
        yield sender, receiver, body


def _sip(sender: Endpoint, receiver: Endpoint, message: SipMessage) -> Bodies:
    body = identity("sip", ("sip.software", message.software))
    if body is not None:
        yield sender, receiver, body


DATAGRAM_BODIES: dict[type, Callable[[Endpoint, Endpoint, Any], Bodies]] = {
    DnsMessage: _dns,
    DhcpMessage: _dhcp,
    Dhcp6Message: _dhcp6,
    SsdpMessage: _ssdp,
    NbnsMessage: _nbns,
    NtpMessage: _ntp,
    SnmpMessage: _snmp,
    LldpMessage: _lldp,
    SyslogMessage: _syslog,
    StunMessage: _stun,
    SipMessage: _sip,
    WsdMessage: _wsd,
}
