"""Words for people: times, sizes, severities, services, and what a profile's entry allows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from thingward.model import device as model
from thingward.model.action import Action, Limits
from thingward.model.device import Device
from thingward.model.profile import Acl, PeerKind

SEVERITIES: Final = {1: "Info", 2: "Low", 3: "Medium", 4: "High", 5: "Critical", 6: "Critical"}
MODES: Final = {"observe": "Observed", "enforce": "Enforced", "quarantine": "Quarantined"}
PROTOCOLS: Final = {-1: "any", 1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
SERVICES: Final = {
    (6, 22): "SSH",
    (6, 23): "Telnet",
    (6, 25): "SMTP",
    (6, 53): "DNS",
    (17, 53): "DNS",
    (17, 67): "DHCP",
    (17, 68): "DHCP",
    (6, 80): "HTTP",
    (17, 123): "NTP",
    (6, 443): "HTTPS",
    (17, 443): "QUIC",
    (6, 445): "SMB",
    (6, 554): "RTSP",
    (6, 853): "DNS over TLS",
    (6, 1883): "MQTT",
    (17, 1900): "SSDP",
    (6, 2323): "Telnet",
    (6, 3389): "RDP",
    (17, 5353): "mDNS",
    (17, 5683): "CoAP",
    (6, 8080): "HTTP",
    (6, 8443): "HTTPS",
    (6, 8883): "MQTT over TLS",
    (6, 9100): "Printing",
    (6, 631): "IPP",
}
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))
ROLE_NAMES: Final = {
    "dns": "the site's DNS resolver",
    "ntp": "the site's time server",
    "dhcp": "the site's DHCP server",
    "gateway": "the gateway",
    "mdns": "mDNS (local names)",
    "ssdp": "SSDP (local discovery)",
    "arp": "ARP",
    "icmp": "ICMP",
    "igmp": "IGMP",
    "nd": "neighbour discovery",
}
INTENT_WORDS: Final = {
    "approve_profiles": "Approved profiles",
    "withdraw_approval": "Withdrew an approval",
    "quarantine_device": "Quarantined",
    "release_device": "Released",
    "edit_device": "Corrected",
    "update_case": "Changed a case",
    "suppress_findings": "Called findings expected",
    "remove_suppression": "Removed a suppression",
    "import_pack": "Imported an indicator pack",
    "remove_pack": "Removed an indicator pack",
    "load_packs": "Loaded indicator packs",
    "put_rule": "Changed a rule",
    "delete_rule": "Deleted a rule",
    "put_limits": "Changed limits",
    "put_setting": "Changed a setting",
    "put_user": "Changed a user",
    "set_password": "Set a password",
    "create_token": "Made a token",
    "revoke_token": "Revoked a token",
    "create_session": "Signed in",
    "create_login_link": "Made a login link",
    "end_session": "Signed out",
    "import_records": "Imported a capture",
    "import_observations": "Sent observations",
    "test_notification": "Sent a test message",
    "export_evidence": "Made an evidence bundle",
    "note_export": "Exported",
    "start_attack": "Started the demo attack",
}


def duration(seconds: float) -> str:
    """Say a length of time shortly: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    rest = int(max(seconds, 0))
    if rest < 60:
        return f"{rest} s"
    parts = []
    for size, unit in _UNITS:
        if rest >= size:
            parts.append(f"{rest // size} {unit}")
            rest %= size
    return " ".join(parts[:2])


def minutes(seconds: float) -> str:
    """Say blind time in minutes."""
    if seconds <= 0:
        return "0 min"
    return f"{seconds // 60:.0f} min" if seconds >= 60 else "< 1 min"


def ago(then: float, now: float) -> str:
    """Say how long ago something was; `never` for 0."""
    if not then:
        return "never"
    passed = now - then
    return "just now" if -60 < passed < 10 else f"{duration(passed)} ago" if passed > 0 else f"in {duration(-passed)}"


def clock(then: float) -> str:
    """Say a moment in UTC; the browser shows it in its own zone."""
    if not then:
        return "never"
    return datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%d %H:%M:%S")


def moment(then: float, now: float) -> Markup:
    """A time element: how long ago, the full time when pointed at."""
    if not then:
        return Markup('<span class="muted">never</span>')
    iso = datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}" data-ago title="{} UTC">{}</time>').format(iso, clock(then), ago(then, now))


def stamp(then: float) -> Markup:
    """A time element with the clock time."""
    if not then:
        return Markup('<span class="muted">never</span>')
    iso = datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}" data-clock title="{} UTC">{}</time>').format(iso, clock(then), clock(then))


def until(then: float, now: float) -> Markup:
    """A time element that counts down; `until withdrawn` for 0."""
    if not then:
        return Markup('<span class="muted">until withdrawn</span>')
    iso = datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    left = duration(then - now) if then > now else "ended"
    return Markup('<time datetime="{}" data-left title="until {} UTC">{}</time>').format(iso, clock(then), left)


def size(count: float) -> str:
    """Say a number of bytes."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def number(count: float) -> str:
    """Say a whole number with thin spaces between thousands."""
    return f"{count:,.0f}".replace(",", "\u202f")


def percent(share: float) -> str:
    """Say a share; small ones are not rounded to nothing."""
    value = share * 100
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %" if value >= 0.1 else "< 0.1 %"


def severity_word(severity: int) -> str:
    """Name a severity."""
    return SEVERITIES.get(severity, "Unknown")


def device_name(device: Device | None, fallback: str = "") -> str:
    """What to call a device that may be gone."""
    return model.device_name(device) if device else fallback or "unknown device"


def service(proto: int, port: int, port_to: int = 0) -> str:
    """Name a service: `HTTPS (TCP 443)`."""
    word = PROTOCOLS.get(proto, f"protocol {proto}")
    if not port:
        return word if proto in (1, 2, 58, -1) else f"{word}, any port"
    ports = f"{port}-{port_to}" if port_to and port_to != port else str(port)
    name = SERVICES.get((proto, port))
    return f"{name} ({word} {ports})" if name else f"{word} {ports}"


def peer_word(acl: Acl, names: dict[str, str]) -> str:
    """Say whom an entry names; `names` gives devices' names by uid."""
    if acl.peer is PeerKind.ROLE:
        return ROLE_NAMES.get(acl.value, acl.value)
    if acl.peer is PeerKind.DEVICE:
        return names.get(acl.value, acl.value)
    if acl.peer is PeerKind.LOCAL:
        return "any device of the site"
    if acl.peer is PeerKind.GROUP:
        return f"group {acl.value}"
    if acl.peer is PeerKind.SAME_MAKER:
        return f"devices of the same maker ({acl.value})"
    if acl.peer is PeerKind.CONTROLLER:
        return f"its controller ({acl.value})"
    return acl.value


def action_word(action: Action) -> str:
    """Say an action's state for people."""
    return str(action.state).replace("_", " ")


def intent_word(tag: str) -> str:
    """Say an audited action for people."""
    return INTENT_WORDS.get(tag, tag.replace("_", " "))


def count(number_of: int, noun: str) -> str:
    """Give a count with its noun: `1 entry`, `2 entries`."""
    if number_of == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number(number_of)} {many}"


def kind_word(kind: str) -> str:
    """Give a kind of device as a heading: `Camera`, `TV`."""
    return kind.upper() if kind in ("tv", "nas", "ups") else kind[:1].upper() + kind[1:]


def limits_line(limits: Limits) -> str:
    """Say the limits in one line."""
    share = percent(limits.fleet_share_per_hour)
    return (
        f"At most {share} of a site's devices an hour (at least {limits.min_devices_per_hour}), "
        f"never longer than {duration(limits.max_ttl_s)}."
    )
