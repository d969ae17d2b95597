"""What a source said, in its own terms: an envelope and one typed body per kind."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from thingward.model.ids import DEFAULT_SITE, Uid
from thingward.model.record import Malformed, Record

_PAIR_KEY = b"thingward credential pair v1"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One end of a conversation as seen on the wire.

    Attributes:
        mac: lower case, colons; empty where the source has none (Zeek) or behind a router.
        ip: textual address, IPv6 compressed; empty for plain layer 2.
        port: TCP or UDP port, 0 if none.
        device: uid of the device, filled in by inventory; empty before it or for hosts off site.
        names: DNS names under which the other end knows this address, newest first; filled in by inventory.
        roles: what this address serves the site as (`gateway`, `dns`, `ntp`, `dhcp`); filled in by inventory.
    """

    mac: str = ""
    ip: str = ""
    port: int = 0
    device: str = ""
    names: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


def where(endpoint: Endpoint | None) -> str:
    """Name an endpoint for people: address with port, else hardware address."""
    if endpoint is None:
        return "?"
    host = endpoint.ip or endpoint.mac or "?"
    if not endpoint.port:
        return host
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"


class _Data(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all bodies; the tag names the kind. Bodies never form cycles: the collector need not walk them."""


class FlowData(_Data, frozen=True, kw_only=True, tag="flow"):
    """Counts of one bidirectional flow since its last report; src of the envelope is the initiator.

    Attributes:
        flow: uid of the flow, the same in all its reports.
        state: `new` first report, `update` while it lasts, `end` last report, `whole` the only one.
        first, last: seconds since 1970 of the first and last packet in this report.
        proto: IP protocol number; -1 for non-IP frames (then `ethertype` is set).
        packets_out, bytes_out: from the initiator; `_in`: towards it. Bytes are on the wire.
        flags_out, flags_in: union of TCP flags of the whole flow so far.
        app: protocol by content if known (`dns`, `tls`, `http`, `mqtt` ...), else empty.
        name: server name from TLS SNI or HTTP host, else empty.
        mid_stream: the capture began after the flow did: the initiator is a guess.
        tunnel: what carried this flow inside another one (`vxlan`, `gre` ...), empty if nothing did; only the
            carrier can be enforced.
        vlan: outermost VLAN id, 0 none.
    """

    flow: Uid
    state: Literal["new", "update", "end", "whole"]
    first: float
    last: float
    proto: int
    ethertype: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    bytes_in: int = 0
    flags_out: int = 0
    flags_in: int = 0
    icmp_type: int = -1
    app: str = ""
    name: str = ""
    mid_stream: bool = False
    tunnel: str = ""
    vlan: int = 0


class DnsAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One resource record: type as text (A, AAAA, CNAME, PTR, SRV, TXT ...), value, TTL in seconds."""

    name: str
    rrtype: str
    value: str
    ttl_s: int = 0


class DnsData(_Data, frozen=True, kw_only=True, tag="dns"):
    """A query (no answers) or a response; src of the envelope is the client, dst the resolver.

    Attributes:
        transport: `dns`, `mdns`, `llmnr`, `nbns`.
        rcode: 0 no error, 3 no such name; -1 for a query.
    """

    qname: str
    qtype: str = "A"
    rcode: int = -1
    transport: str = "dns"
    answers: tuple[DnsAnswer, ...] = ()


class IdentityData(_Data, frozen=True, kw_only=True, tag="identity"):
    """Evidence of who the src endpoint is.

    Attributes:
        protocol: `arp`, `ndp`, `dhcp`, `mdns`, `ssdp`, `http`, `tls`, `ssh`, `mqtt`, `lldp`, `frame` ...
        attributes: (name, value) pairs, names as listed in docs/protocols.md.
        confidence: 0 to 1; 1 for what the device says of itself in a protocol made for it.
    """

    protocol: str
    attributes: tuple[tuple[str, str], ...] = ()
    confidence: float = 1.0


class LeaseData(_Data, frozen=True, kw_only=True, tag="lease"):
    """A DHCP exchange: src is the client, dst the server if it answered.

    Attributes:
        message: `discover`, `request`, `ack`, `nak`, `offer`, `release`, `inform`, `decline`.
        address: assigned or requested address, empty if none.
        routers, resolvers, time_servers: what the server handed out.
    """

    message: str
    address: str = ""
    hostname: str = ""
    lease_s: int = 0
    routers: tuple[str, ...] = ()
    resolvers: tuple[str, ...] = ()
    time_servers: tuple[str, ...] = ()


class HttpData(_Data, frozen=True, kw_only=True, tag="http"):
    """One clear-text HTTP request with its answer's status, if seen."""

    method: str
    host: str = ""
    path: str = ""
    user_agent: str = ""
    status: int = 0


class TlsData(_Data, frozen=True, kw_only=True, tag="tls"):
    """One TLS handshake's hello: names and fingerprint, version as text (`1.2`)."""

    sni: str = ""
    alpn: tuple[str, ...] = ()
    version: str = ""
    ja4: str = ""
    certificate_subject: str = ""


class MqttData(_Data, frozen=True, kw_only=True, tag="mqtt"):
    """One MQTT event: `connect`, `publish`, `subscribe`, `disconnect`; never the password."""

    operation: str
    client_id: str = ""
    user: str = ""
    topic: str = ""
    return_code: int = -1
    version: int = 4


class CredentialData(_Data, frozen=True, kw_only=True, tag="credential"):
    """A log-in seen in clear text: src tries it on dst.

    Attributes:
        protocol: `telnet`, `ftp`, `http-basic`, `http-form`, `mqtt`, `pop3`, `imap`, `smtp`, `snmp`, `rtsp`, `ssh`.
        user: as sent (community for SNMP is not a user: empty).
        pair: digest of user and password (`pair_digest`), empty if no password was seen.
        password_empty: an empty password was sent.
        lists: names of the lists that hold the pair (`mirai`, `vendor`); detection fills it in and drops `pair`.
        tries: different pairs that src lately tried in vain at dst by this protocol.
        listed: different pairs of an attack list that src lately tried in vain, at whatever target.
        outcome: what the answer looked like.
    """

    protocol: str
    user: str = ""
    pair: str = ""
    password_empty: bool = False
    lists: tuple[str, ...] = ()
    tries: int = 0
    listed: int = 0
    outcome: Literal["success", "failure", "unknown"] = "unknown"


class AlertData(_Data, frozen=True, kw_only=True, tag="alert"):
    """A finding that another engine made (Suricata, Zeek notice): severity is OCSF's 1 to 5."""

    engine: str
    signature: str
    signature_id: str = ""
    category: str = ""
    severity: int = 2


class LogData(_Data, frozen=True, kw_only=True, tag="log"):
    """A syslog line: numeric facility and severity (RFC 5424), host and text, at most 2 KiB."""

    host: str
    app: str = ""
    facility: int = 1
    severity: int = 6
    message: str = ""


class CaptureData(_Data, frozen=True, kw_only=True, tag="capture"):
    """What was read of one file or interface so far.

    Attributes:
        first, last: seconds since 1970 of the earliest and latest packet, 0 if none.
        malformed: reason to count.
        unknown_links: link type number (as text) to count of packets not understood.
        dropped: what bounds threw away, by kind (`kernel`, `flow_table` ...).
        complete: the end was reached.
        error: why reading stopped early, empty if it did not.
    """

    file: str
    format: str = ""
    packets: int = 0
    bytes: int = 0
    first: float = 0.0
    last: float = 0.0
    malformed: dict[str, int] = {}
    unknown_links: dict[str, int] = {}
    dropped: dict[str, int] = {}
    complete: bool = False
    error: str = ""


class StatusData(_Data, frozen=True, kw_only=True, tag="status"):
    """Life of a source or process: `started`, `alive`, `stopped`, `gap`, `drops`; details as text pairs."""

    status: str
    detail: str = ""
    gap_s: float = 0.0
    counts: dict[str, int] = {}


Data = (
    FlowData
    | DnsData
    | IdentityData
    | LeaseData
    | HttpData
    | TlsData
    | MqttData
    | CredentialData
    | AlertData
    | LogData
    | CaptureData
    | StatusData
    | Malformed
)


class Observation(Record, frozen=True, kw_only=True, tag="observation"):
    """What a source said: where, who with whom, and one typed body."""

    site: str = DEFAULT_SITE
    src: Endpoint | None = None
    dst: Endpoint | None = None
    data: Data


def pair_digest(user: str, password: str) -> str:
    """Digest a user and password pair so that lists can be compared without keeping the secret.

    Not a password hash: weak passwords can be found again by trying lists, so it is used in memory only and
    dropped when the observation becomes an event.
    """
    text = f"{len(user)}:{user}:{password}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=12, key=_PAIR_KEY).hexdigest()
