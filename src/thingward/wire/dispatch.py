"""Which decoder reads these bytes: content first, port second."""

from __future__ import annotations

from collections.abc import Callable

from thingward.model.record import Malformed
from thingward.wire.dns import decode_dns, decode_llmnr, decode_mdns
from thingward.wire.message import Message, StreamDecoder

UDP = 17
TCP = 6
LLDP_ETHERTYPE = 0x88CC

DatagramDecoder = Callable[[bytes], Message | Malformed]

_BY_PORT: dict[int, DatagramDecoder] = {
    53: decode_dns,
    5353: decode_mdns,
    5355: decode_llmnr,
}


def decode_datagram(proto: int, sport: int, dport: int, payload: bytes) -> tuple[Message | Malformed, ...]:
    """Decode one UDP payload; an empty tuple means that no decoder claims it.

    Args:
        proto: IP protocol number; only 17 is known.
        sport, dport: ports of the sender and of the receiver.
        payload: all of the datagram's bytes that were captured.
    """
    if proto != UDP or not payload:
        return ()
    decode = _BY_PORT.get(dport) or _BY_PORT.get(sport)
    if decode is None:
        return ()
    return _with_problem(decode(payload))


def decode_frame(ethertype: int, payload: bytes) -> tuple[Message | Malformed, ...]:
    """Decode what a layer 2 frame carries above its Ethernet type; LLDP only."""
    return ()


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
