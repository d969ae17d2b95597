"""Numbers and records as short plain text for tables and reports."""

from __future__ import annotations

from datetime import UTC, datetime

from thingward.model.device import Device
from thingward.model.ocsf import SEVERITY_NAMES
from thingward.model.profile import Acl, MudProfile, PeerKind
from thingward.runtime.guard_result import GuardResult

#: Roles that are protocols of the link rather than somebody.
_LINK_ROLES = {
    "arp": "ARP (who has which address)",
    "link": "link control (joining the network)",
    "nd": "IPv6 neighbour discovery",
    "icmp": "ICMP (errors, being pinged)",
    "igmp": "IGMP (multicast groups)",
    "mdns": "mDNS (local names)",
    "ssdp": "SSDP (local discovery)",
}
_ROLES = {"dns": "DNS resolver", "ntp": "time server", "dhcp": "DHCP server"}
_PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6", -1: "any"}


def bytes_text(count: float) -> str:
    """Give a size in binary units with at most three digits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def count_text(count: int, noun: str) -> str:
    """Give a count with its noun: `1 flow`, `2 flows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration_text(seconds: float) -> str:
    """Give a span in the largest unit that fits, with its next smaller one."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for index, (unit, size) in enumerate(units):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            text = f"{whole:.0f} {unit}"
            if index + 1 < len(units):
                smaller, small = units[index + 1]
                if rest >= small:
                    text += f" {rest // small:.0f} {smaller}"
            return text
    return "0 s"


def time_text(seconds: float) -> str:
    """Give a moment as UTC, to the second; a dash where there is none."""
    if seconds <= 0:
        return "-"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "-"


def is_blank(result: GuardResult) -> bool:
    """Tell whether nothing at all could be read, so that silence means nothing."""
    return not result.views and not any(report.is_capture and report.data.packets for report in result.sources)


def severity_text(severity: int) -> str:
    """Give the OCSF name of a severity."""
    return SEVERITY_NAMES.get(severity, "Unknown").lower()


def identity_text(device: Device) -> str:
    """Give what it is, `unknown` where nobody can say."""
    parts = [part for part in (device.maker, device.model, device.kind) if part]
    return " ".join(parts) if parts and device.identified else ("unknown" if not parts else f"unknown ({parts[0]})")


def protocol_text(proto: int, port: int, ethertype: int = 0) -> str:
    """Give `tcp/443`, `udp`, or the ethertype of a frame without IP."""
    if ethertype:
        return f"ethertype 0x{ethertype:04x}"
    name = _PROTOCOLS.get(proto, f"ip-proto {proto}")
    return f"{name}/{port}" if port else name


def acl_text(acl: Acl) -> str:
    """Give one entry as a sentence."""
    arrow = "to" if acl.direction == "out" else "from"
    if acl.peer is PeerKind.ROLE and acl.value in _LINK_ROLES:
        return f"{_LINK_ROLES[acl.value]}, {'sent' if acl.direction == 'out' else 'received'}"
    whom = {
        PeerKind.ROLE: f"the site's {_ROLES.get(acl.value, acl.value)}",
        PeerKind.LOCAL: "any device of the site",
    }.get(acl.peer, acl.value)
    ports = protocol_text(acl.proto, acl.port, acl.ethertype)
    if acl.port_to and acl.port_to != acl.port:
        ports += f"-{acl.port_to}"
    return f"{arrow} {whom}, {ports}"


def settled_text(profile: MudProfile) -> str:
    """Give how settled a profile is, with everything that is missing."""
    state = profile.settled
    if state.is_settled:
        return f"settled ({count_text(state.flows, 'flow')}, nothing new for {duration_text(state.since_new_s)})"
    return f"still learning: {'; '.join(state.missing) or 'too little seen'}"


def settled_short(profile: MudProfile) -> str:
    """Give how settled a profile is, in a few words."""
    state = profile.settled
    return (
        "settled"
        if state.is_settled
        else f"learning ({count_text(state.flows, 'flow')}, {duration_text(state.observed_s)})"
    )
