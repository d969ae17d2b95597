"""How far our decoders agree with tshark's, field by field. Run it: `python -m tests.golden.agreement [--every N]`.

A value counts once per frame (datagrams) or once per connection (streams). `both` is what tshark and we see, `theirs`
what tshark alone sees, `ours` what we alone see. The table in docs/protocols.md is this program's output over all
captures; the test takes a sample.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.golden.streams import follow_streams
from tests.golden.tshark_oracle import Frame, read_frames
from thingward.model.record import Malformed
from thingward.wire.coap import CoapMessage
from thingward.wire.dhcp import Dhcp6Message, DhcpMessage
from thingward.wire.dispatch import decode_datagram
from thingward.wire.dns import DnsMessage, DnsRecord
from thingward.wire.http import HttpExchange
from thingward.wire.lines import ServiceBanner
from thingward.wire.message import Credential, Message
from thingward.wire.mqtt import MqttConnect, MqttTopic
from thingward.wire.nbns import NbnsMessage
from thingward.wire.ntp import NtpMessage
from thingward.wire.sip import SipMessage
from thingward.wire.snmp import SnmpMessage
from thingward.wire.ssdp import SsdpMessage
from thingward.wire.stun import StunMessage
from thingward.wire.syslog import SyslogMessage
from thingward.wire.tftp import TftpMessage
from thingward.wire.tls import TlsClientHello

CAPTURE_ENDS = (".pcap", ".pcapng", ".cap", ".trace", ".pcap.gz")
_ESCAPES = re.compile(r"\\(\d{3}|[abfnrtv])")
_MODES = ("reserved", "active", "passive", "client", "server", "broadcast", "control", "private")


@dataclass(frozen=True)
class Row:
    """One line of the table: what is compared, tshark's field, and how to get ours from a message."""

    protocol: str
    what: str
    oracle: str
    layer: str
    ours: Callable[[Message], Iterable[str]]


@dataclass
class Tally:
    """Counts of one row over all captures; a few examples of differences."""

    both: int = 0
    theirs: int = 0
    ours: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Agreement: both over all values that either side saw; 1.0 if nobody saw any."""
        total = self.both + self.theirs + self.ours
        return self.both / total if total else 1.0


def _records(message: Message, kind: str) -> Iterator[DnsRecord]:
    if isinstance(message, DnsMessage):
        for record in (*message.answers, *message.authorities, *message.additionals):
            if record.rrtype == kind:
                yield record


def _record_values(kind: str, part: str = "value") -> Callable[[Message], Iterable[str]]:
    return lambda message: [getattr(record, part) for record in _records(message, kind)]


def _texts(message: Message) -> Iterable[str]:
    return [text for record in _records(message, "TXT") for text in record.texts]


def _names(message: Message) -> Iterable[str]:
    return [question.name or "<Root>" for question in message.questions] if isinstance(message, DnsMessage) else []


def _of(kind: type, *parts: str) -> Callable[[Message], Iterable[str]]:
    return lambda message: [str(getattr(message, part)) for part in parts] if type(message) is kind else []


def _dhcp_parameters(message: Message) -> Iterable[str]:
    return [str(code) for code in message.parameters] if isinstance(message, DhcpMessage) else []


def _duid(message: Message) -> Iterable[str]:
    return [message.client_id, message.server_id] if isinstance(message, Dhcp6Message) else []


def _community(message: Message) -> Iterable[str]:
    held = message.community if isinstance(message, SnmpMessage) else None
    return [held.reveal()] if held is not None else []


def _coap_path(message: Message) -> Iterable[str]:
    return message.path.split("/") if isinstance(message, CoapMessage) else []


def _mode(message: Message) -> Iterable[str]:
    return [str(_MODES.index(message.mode))] if isinstance(message, NtpMessage) else []


def _nbns(message: Message) -> Iterable[str]:
    return [message.name] if isinstance(message, NbnsMessage) else []


def _status(message: Message) -> Iterable[str]:
    return [str(message.status)] if type(message) is HttpExchange and message.status else []


def _users(scheme: str) -> Callable[[Message], Iterable[str]]:
    return lambda message: [message.user] if isinstance(message, Credential) and message.scheme == scheme else []


def _pairs(message: Message) -> Iterable[str]:
    if not isinstance(message, Credential) or message.scheme != "http-basic" or message.password is None:
        return []
    return [f"{message.user}:{message.password.reveal()}"]


def _conack(message: Message) -> Iterable[str]:
    known = isinstance(message, MqttConnect) and message.return_code >= 0
    return [str(message.return_code)] if known else []


def _banner(message: Message) -> Iterable[str]:
    return [message.text] if isinstance(message, ServiceBanner) and message.scheme == "ssh" else []


def _alpn(message: Message) -> Iterable[str]:
    return message.alpn if isinstance(message, TlsClientHello) else []


DATAGRAM_ROWS = (
    Row("DNS, mDNS, LLMNR", "question names", "dns.qry.name", "dns", _names),
    Row("DNS, mDNS, LLMNR", "A", "dns.a", "dns", _record_values("A")),
    Row("DNS, mDNS, LLMNR", "AAAA", "dns.aaaa", "dns", _record_values("AAAA")),
    Row("DNS, mDNS, LLMNR", "CNAME", "dns.cname", "dns", _record_values("CNAME")),
    Row("DNS, mDNS, LLMNR", "PTR", "dns.ptr.domain_name", "dns", _record_values("PTR")),
    Row("DNS, mDNS, LLMNR", "SRV target", "dns.srv.target", "dns", _record_values("SRV", "target")),
    Row("DNS, mDNS, LLMNR", "TXT strings", "dns.txt", "dns", _texts),
    Row("DHCP", "host name", "dhcp.option.hostname", "dhcp", _of(DhcpMessage, "hostname")),
    Row("DHCP", "vendor class", "dhcp.option.vendor_class_id", "dhcp", _of(DhcpMessage, "vendor_class")),
    Row("DHCP", "assigned address", "dhcp.ip.your", "dhcp", _of(DhcpMessage, "assigned_address")),
    Row("DHCP", "requested address", "dhcp.option.requested_ip_address", "dhcp", _of(DhcpMessage, "requested_address")),
    Row("DHCP", "parameter list", "dhcp.option.request_list_item", "dhcp", _dhcp_parameters),
    Row("DHCPv6", "name", "dhcpv6.client_domain", "dhcpv6", _of(Dhcp6Message, "fqdn")),
    Row("DHCPv6", "DUIDs", "dhcpv6.duid.bytes", "dhcpv6", _duid),
    Row("SSDP", "server", "http.server", "ssdp", _of(SsdpMessage, "server")),
    Row("SSDP", "user agent", "http.user_agent", "ssdp", _of(SsdpMessage, "user_agent")),
    Row("NTP", "mode", "ntp.flags.mode", "ntp", _mode),
    Row("NBNS", "name", "nbns.name", "nbns", _nbns),
    Row("SNMP", "community", "snmp.community", "snmp", _community),
    Row("CoAP", "path segments", "coap.opt.uri_path", "coap", _coap_path),
    Row("syslog", "facility", "syslog.facility", "syslog", _of(SyslogMessage, "facility")),
    Row("syslog", "severity", "syslog.level", "syslog", _of(SyslogMessage, "severity")),
    Row("STUN", "software", "stun.att.software", "stun", _of(StunMessage, "software")),
    Row("SIP", "user agent or server", "sip.User-Agent sip.Server", "sip", _of(SipMessage, "software")),
    Row("TFTP", "file", "tftp.source_file", "tftp", _of(TftpMessage, "file")),
)
STREAM_ROWS = (
    Row("TLS", "SNI", "tls.handshake.extensions_server_name", "tls", _of(TlsClientHello, "sni")),
    Row("TLS", "offered ALPN", "tls.handshake.extensions_alpn_str", "tls", _alpn),
    Row("HTTP", "method", "http.request.method", "http", _of(HttpExchange, "method")),
    Row("HTTP", "host", "http.host", "http", _of(HttpExchange, "host")),
    Row("HTTP", "user agent", "http.user_agent", "http", _of(HttpExchange, "user_agent")),
    Row("HTTP", "status", "http.response.code", "http", _status),
    Row("HTTP", "server", "http.server", "http", _of(HttpExchange, "server")),
    Row("HTTP", "Basic pairs", "http.authbasic", "http", _pairs),
    Row("MQTT", "client id", "mqtt.clientid", "mqtt", _of(MqttConnect, "client_id")),
    Row("MQTT", "user name", "mqtt.username", "mqtt", _users("mqtt")),
    Row("MQTT", "CONNACK code", "mqtt.conack.val mqtt.connack.reason_code", "mqtt", _conack),
    Row("MQTT", "first 16 topics", "mqtt.topic", "mqtt", _of(MqttTopic, "topic")),
    Row("SSH", "identification", "ssh.protocol", "ssh", _banner),
    Row("FTP", "USER", "ftp.request.arg", "ftp", _users("ftp")),
)
_ROWS = (*DATAGRAM_ROWS, *STREAM_ROWS)
FIELDS = (*dict.fromkeys(name for row in _ROWS for name in row.oracle.split()), "ftp.request.command")


def plain(row: Row, value: str) -> str:
    """Give the form in which both sides' values are compared."""
    if row.protocol == "NBNS":
        value = value.partition("<")[0]
    if row.protocol == "DNS, mDNS, LLMNR" and row.what != "TXT strings":
        value = value.replace("\\.", ".")
    if row.what in ("host", "SNI"):
        value = value.lower().rstrip(".")
    if row.what == "DUIDs":
        value = value.replace(":", "")
    value = _ESCAPES.sub(" ", value)[:200]
    return " ".join("".join(character if 32 < ord(character) < 127 else " " for character in value).split())


def compare(row: Row, theirs: Iterable[str], ours: Iterable[str], tally: Tally, where: str) -> None:
    """Count one frame's or connection's values."""
    left = {plain(row, value) for value in theirs} - {"", "0.0.0.0"}
    right = {plain(row, value) for value in ours} - {"", "0.0.0.0"}
    if row.what == "first 16 topics" and len(right) >= 8:
        left &= right
    tally.both += len(left & right)
    tally.theirs += len(left - right)
    tally.ours += len(right - left)
    if left != right and len(tally.examples) < 5:
        tally.examples.append(f"{where}: theirs {sorted(left - right)[:3]} ours {sorted(right - left)[:3]}")


def _oracle(row: Row, values: dict[str, list[str]]) -> list[str]:
    return [value for name in row.oracle.split() for value in values.get(name, [])]


def _values(row: Row, messages: Iterable[Message | Malformed]) -> list[str]:
    return [value for message in messages if isinstance(message, Message) for value in row.ours(message)]


def compare_datagrams(frames: list[Frame], tallies: dict[Row, Tally], where: str) -> None:
    """Compare frame by frame, where tshark's layer and our decoder both claim the payload or either does."""
    for frame in frames:
        if frame.proto != 17:
            continue
        layers = frame.protocols.replace("mdns", "dns").replace("llmnr", "dns").split(":")
        messages = decode_datagram(17, frame.sport, frame.dport, frame.payload)
        for row in DATAGRAM_ROWS:
            if row.layer in layers:
                compare(
                    row,
                    _oracle(row, frame.values),
                    _values(row, messages),
                    tallies[row],
                    f"{where} frame {frame.number}",
                )


def compare_streams(frames: list[Frame], tallies: dict[Row, Tally], where: str) -> None:
    """Compare connection by connection."""
    theirs: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for frame in frames:
        if frame.proto == 6:
            for name, values in frame.values.items():
                if name != "ftp.request.arg" or "USER" in frame.values.get("ftp.request.command", []):
                    theirs[frame.stream][name] += values
    for number, stream in follow_streams(frames).items():
        for row in STREAM_ROWS:
            ours = _values(row, stream.messages)
            compare(row, _oracle(row, theirs[number]), ours, tallies[row], f"{where} stream {number}")


def captures(folder: Path, every: int = 1) -> list[Path]:
    """List the captures below a folder, every n-th of them in sorted order."""
    return sorted(path for path in folder.rglob("*") if path.name.endswith(CAPTURE_ENDS))[::every]


def measure(tshark: str, paths: Iterable[Path], limit_frames: int = 0) -> dict[Row, Tally]:
    """Compare all rows over the captures."""
    tallies: dict[Row, Tally] = {row: Tally() for row in _ROWS}
    for path in paths:
        frames = list(read_frames(tshark, path, FIELDS, limit_frames))
        compare_datagrams(frames, tallies, path.name)
        compare_streams(frames, tallies, path.name)
    return tallies


def table(tallies: dict[Row, Tally]) -> str:
    """Render the counts as a Markdown table."""
    lines = ["| protocol | field | both | tshark only | thingward only | agreement |", "|---|---|---:|---:|---:|---:|"]
    for row, tally in tallies.items():
        share = f"{100 * tally.share:.2f} %" if tally.both + tally.theirs + tally.ours else "-"
        lines.append(f"| {row.protocol} | {row.what} | {tally.both} | {tally.theirs} | {tally.ours} | {share} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table, and examples of differences to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=os.environ.get("THINGWARD_TEST_DATA", "../shared/data"))
    parser.add_argument("--every", type=int, default=1, help="take every n-th capture")
    parser.add_argument("--examples", action="store_true", help="show differences")
    options = parser.parse_args()
    tshark = shutil.which("tshark")
    if tshark is None:
        print("tshark is not installed: apt-get install tshark", file=sys.stderr)
        return 1
    tallies = measure(tshark, captures(Path(options.folder), options.every))
    print(table(tallies))
    for row, tally in tallies.items():
        for example in tally.examples if options.examples else ():
            print(f"{row.protocol} {row.what}: {example}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
