"""Which decoder reads these bytes: content first, port second."""

from __future__ import annotations

from collections.abc import Callable

from thingward.model.record import Malformed
from thingward.wire.coap import decode_coap
from thingward.wire.dhcp import MAGIC, decode_dhcp, decode_dhcp6
from thingward.wire.dns import DnsStreamDecoder, decode_dns, decode_llmnr, decode_mdns, is_dns
from thingward.wire.ftp import FtpDecoder
from thingward.wire.http import HttpDecoder, is_http_request
from thingward.wire.lldp import decode_lldp
from thingward.wire.mail import ImapDecoder, PopDecoder, SmtpDecoder
from thingward.wire.message import Message, StreamDecoder
from thingward.wire.mqtt import MqttDecoder, is_mqtt_connect
from thingward.wire.nbns import decode_nbns
from thingward.wire.ntp import decode_ntp
from thingward.wire.quic import decode_quic, is_quic
from thingward.wire.rtsp import RtspDecoder, is_rtsp_request
from thingward.wire.sip import decode_sip, is_sip
from thingward.wire.snmp import decode_snmp
from thingward.wire.ssdp import decode_ssdp
from thingward.wire.ssh import SshDecoder
from thingward.wire.stun import decode_stun, is_stun
from thingward.wire.syslog import decode_syslog
from thingward.wire.telnet import TelnetDecoder
from thingward.wire.tftp import decode_tftp
from thingward.wire.tls import TlsDecoder, is_client_hello, is_server_hello
from thingward.wire.wsd import decode_wsd

UDP = 17
TCP = 6
LLDP_ETHERTYPE = 0x88CC
SHORTEST_START = 8

DatagramDecoder = Callable[[bytes], Message | Malformed]

_BY_PORT: dict[int, DatagramDecoder] = {
    53: decode_dns,
    67: decode_dhcp,
    68: decode_dhcp,
    69: decode_tftp,
    123: decode_ntp,
    137: decode_nbns,
    161: decode_snmp,
    162: decode_snmp,
    514: decode_syslog,
    546: decode_dhcp6,
    547: decode_dhcp6,
    1900: decode_ssdp,
    3702: decode_wsd,
    5060: decode_sip,
    5353: decode_mdns,
    5355: decode_llmnr,
    5683: decode_coap,
}
_SSDP_STARTS = (b"NOTIFY * HTTP/", b"M-SEARCH * HTTP/", b"HTTP/1.1 200")


def _by_content(payload: bytes) -> DatagramDecoder | None:
    """Name the decoder that the first bytes give away, on whatever port."""
    if is_dns(payload):
        return decode_dns
    first = payload[0]
    if first & 0x80:
        return decode_quic if is_quic(payload) else None
    if first < 4:
        if first in (1, 2) and payload[236:240] == MAGIC:
            return decode_dhcp
        return decode_stun if is_stun(payload) else None
    if payload.startswith(_SSDP_STARTS):
        return decode_ssdp
    return decode_sip if 65 <= first <= 90 and is_sip(payload) else None


def decode_datagram(proto: int, sport: int, dport: int, payload: bytes) -> tuple[Message | Malformed, ...]:
    """Decode one UDP payload; an empty tuple means that no decoder claims it.

    Args:
        proto: IP protocol number; only 17 is known.
        sport, dport: ports of the sender and of the receiver.
        payload: all of the datagram's bytes that were captured.
    """
    if proto != UDP or not payload:
        return ()
    decode = _BY_PORT.get(dport) or _BY_PORT.get(sport) or _by_content(payload)
    if decode is None:
        return ()
    message = decode(payload)
    if type(message) is Malformed:
        other = _by_content(payload)
        if other is not None and other is not decode:
            message = other(payload)
    return _with_problem(message)


def decode_frame(ethertype: int, payload: bytes) -> tuple[Message | Malformed, ...]:
    """Decode what a layer 2 frame carries above its Ethernet type; only LLDP (0x88cc) is known."""
    return _with_problem(decode_lldp(payload)) if ethertype == LLDP_ETHERTYPE else ()


def stream_decoder(
    proto: int, sport: int, dport: int, first: bytes, from_initiator: bool = True, mid_stream: bool = False
) -> StreamDecoder | None:
    """Choose the machine for a connection by the first bytes that either side sent; None if nobody claims it.

    Args:
        proto: IP protocol number; only 6 is known.
        sport, dport: the initiator's port and the responder's.
        first: the first bytes of the connection that carry data, not empty; they are not consumed: feed them.
        from_initiator: which side sent them.
        mid_stream: the connection's start was not seen: then content alone decides, never the port.
    """
    if proto != TCP or not first:
        return None
    for recognises, machine in _STREAMS_BY_CONTENT:
        if recognises(first):
            return machine()
    if mid_stream:
        return None
    greeting = None if from_initiator else _greeter(first, dport)
    by_port = greeting or _STREAMS_BY_PORT.get(dport)
    if by_port is None and len(first) < SHORTEST_START:
        by_port = _SHORT_STARTS_BY_PORT.get(dport)
    return by_port() if by_port is not None else None


def _greeter(first: bytes, dport: int) -> Callable[[], StreamDecoder] | None:
    """Name the machine by a server's greeting; 220 is shared by FTP and SMTP."""
    if first.startswith((b"220 ", b"220-")):
        if dport in (25, 587, 2525) or b"SMTP" in first[:512].upper():
            return SmtpDecoder
        return FtpDecoder
    if first.startswith(b"+OK"):
        return PopDecoder
    return ImapDecoder if first.startswith(b"* OK") else None


def _is_telnet(first: bytes) -> bool:
    return len(first) >= 3 and first[0] == 255 and 251 <= first[1] <= 254


def _is_http_answer(first: bytes) -> bool:
    return first.startswith(b"HTTP/1.")


def _is_ssh(first: bytes) -> bool:
    return first.startswith(b"SSH-")


_STREAMS_BY_CONTENT: tuple[tuple[Callable[[bytes], bool], Callable[[], StreamDecoder]], ...] = (
    (is_client_hello, TlsDecoder),
    (is_server_hello, TlsDecoder),
    (is_rtsp_request, RtspDecoder),
    (is_http_request, HttpDecoder),
    (_is_http_answer, HttpDecoder),
    (is_mqtt_connect, MqttDecoder),
    (_is_ssh, SshDecoder),
    (_is_telnet, TelnetDecoder),
)
# Protocols whose start says little: here the port decides.
_STREAMS_BY_PORT: dict[int, Callable[[], StreamDecoder]] = {
    21: FtpDecoder,
    23: TelnetDecoder,
    25: SmtpDecoder,
    53: DnsStreamDecoder,
    110: PopDecoder,
    143: ImapDecoder,
    587: SmtpDecoder,
    1883: MqttDecoder,
    2323: TelnetDecoder,
}
# Protocols whose start says all, once there are enough bytes of it.
_SHORT_STARTS_BY_PORT: dict[int, Callable[[], StreamDecoder]] = {
    22: SshDecoder,
    80: HttpDecoder,
    443: TlsDecoder,
    554: RtspDecoder,
    8080: HttpDecoder,
    8443: TlsDecoder,
    8883: TlsDecoder,
}


def _with_problem(message: Message | Malformed) -> tuple[Message | Malformed, ...]:
    if isinstance(message, Message) and message.problem is not None:
        return message, message.problem
    return (message,)
