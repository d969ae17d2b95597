"""What a flow report says about the conversation: opened, unanswered, by whom."""

from __future__ import annotations

from thingward.model.observation import FlowData

TCP, UDP, ICMP, ICMPV6, GRE = 6, 17, 1, 58, 47
SYN, RST, ACK = 0x02, 0x04, 0x10

# Source ports of answers and announcements: such a "first" packet is no attempt to reach a service.
REPLY_PORTS = frozenset({1900, 3702, 5353, 5355, 5683, 1812, 1813, 3478, 4500, 5060, 10001})


def is_first_report(data: FlowData) -> bool:
    """Tell whether this is the first (or only) report of its flow."""
    return data.state == "new" or data.state == "whole"


def is_last_report(data: FlowData) -> bool:
    """Tell whether this is the last (or only) report of its flow."""
    return data.state == "end" or data.state == "whole"


def is_attempt(data: FlowData) -> bool:
    """Tell whether the initiator is sure and tried to open something.

    A TCP flow without the initiator's SYN began before we looked, unless it carries neither SYN nor ACK, as no
    honest connection does (FIN, null and Xmas probes). Sources without flags (0 both ways) are believed.
    """
    if data.proto != TCP:
        return not data.mid_stream
    if data.flags_out & SYN:
        return True
    if not data.flags_out and not data.flags_in:
        return not data.mid_stream
    return bool(data.flags_out) and not data.flags_out & ACK and not data.flags_out & RST


def is_unanswered(data: FlowData) -> bool:
    """Tell whether a finished flow got nothing back, or a reset where a connection was asked for."""
    if not is_last_report(data):
        return False
    if data.proto == TCP and data.flags_out | data.flags_in:
        return not data.flags_in & SYN and data.flags_out & ACK == 0
    return data.packets_in == 0


def is_answered(data: FlowData) -> bool:
    """Tell whether the responder took part: completed the handshake, or sent anything on other protocols."""
    if data.proto == TCP and data.flags_out | data.flags_in:
        return bool(data.flags_in & SYN) and bool(data.flags_out & SYN)
    return data.packets_in > 0


def packet_rate_hz(data: FlowData) -> float:
    """Give the initiator's packets per second over this report; a report shorter than a second counts as one."""
    return data.packets_out / max(data.last - data.first, 1.0)
