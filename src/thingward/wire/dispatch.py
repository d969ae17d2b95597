"""Which decoder reads these bytes: content first, port second."""

from __future__ import annotations

from collections.abc import Callable

from thingward.model.record import Malformed
from thingward.wire.coap import decode_coap
from thingward.wire.dhcp import MAGIC, decode_dhcp, decode_dhcp6
from thingward.wire.dns import decode_dns, decode_llmnr, decode_mdns
from thingward.wire.lldp import decode_lldp
from thingward.wire.message import Message, StreamDecoder
from thingward.wire.nbns import decode_nbns
from thingward.wire.ntp import decode_ntp
from thingward.wire.quic import decode_quic, is_quic
from thingward.wire.sip import decode_sip, is_sip
from thingward.wire.snmp import decode_snmp
from thingward.wire.ssdp import decode_ssdp
from thingward.wire.stun import decode_stun, is_stun
from thingward.wire.syslog import decode_syslog
from thingward.wire.tftp import decode_tftp

UDP = 17
TCP = 6
LLDP_ETHERTYPE = 0x88CC

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
    5060: decode_sip,
    5353: decode_mdns,
    5355: decode_llmnr,
    5683: decode_coap,
}
_SSDP_STARTS = (b"NOTIFY * HTTP/", b"M-SEARCH * HTTP/", b"HTTP/1.1 200")


def _by_content(payload: bytes) -> DatagramDecoder | None:
    """Name the decoder that the first bytes give away, on whatever port."""
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
    proto: int, sport: int, dport: int, first: bytes, from_initiator: bool = True
) -> StreamDecoder | None:
    """Choose the machine for a connection by the first bytes that either side sent; None if nobody claims it.

    Args:
        proto: IP protocol number; only 6 is known.
        sport, dport: the initiator's port and the responder's.
        first: the first bytes of the connection that carry data, not empty; they are not consumed: feed them.
        from_initiator: which side sent them.
    """
    return None


def _with_problem(message: Message | Malformed) -> tuple[Message | Malformed, ...]:
    if isinstance(message, Message) and message.problem is not None:
        return message, message.problem
    return (message,)
