"""What a device needs: a MUD profile (RFC 8520), learnt or declared, and what its replay says."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from thingward.model.ids import DEFAULT_SITE
from thingward.model.record import Record


class PeerKind(StrEnum):
    """How an entry names the other side.

    NAME a DNS name (`value`, may begin with `*.`); ROLE a service role of the site (`dns`, `ntp`, `dhcp`,
    `gateway`, `mdns`, `ssdp`, `arp`, `icmp`, `igmp`, `nd`); DEVICE another device of the site by uid; LOCAL any
    device of the site (MUD local-networks); GROUP a multicast or broadcast address; ADDRESS an address or prefix;
    SAME_MAKER MUD same-manufacturer; CONTROLLER a MUD controller class URI.
    """

    NAME = "name"
    ROLE = "role"
    DEVICE = "device"
    LOCAL = "local"
    GROUP = "group"
    ADDRESS = "address"
    SAME_MAKER = "same-manufacturer"
    CONTROLLER = "controller"


class Acl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One allowed communication of the device.

    Attributes:
        direction: `out` the device initiates, `in` the peer initiates.
        peer, value: whom, see PeerKind.
        proto: IP protocol number (6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6), -1 any or non-IP with `ethertype`.
        port, port_to: the service's port (the responder's), inclusive range; 0 means any.
        flows: flows that stand behind it (0 for a safe default or a declared entry).
        first, last: seconds since 1970 it was first and last used.
        days: distinct days on which it was used.
        origin: `learnt`, `declared` (the maker's MUD), `default` (safe default), `person`.
        addresses: addresses last seen behind a name, bounded; informative.
        resolved: false where a name cannot be enforced through the resolver (the device did not ask it).
    """

    direction: Literal["out", "in"]
    peer: PeerKind
    value: str
    proto: int
    port: int = 0
    port_to: int = 0
    ethertype: int = 0
    flows: int = 0
    first: float = 0.0
    last: float = 0.0
    days: int = 0
    origin: Literal["learnt", "declared", "default", "person"] = "learnt"
    addresses: tuple[str, ...] = ()
    resolved: bool = True


def acl_identity(acl: Acl) -> tuple[str, str, str, int, int, int, int, bool]:
    """Give what makes an entry the same entry: all that enforcement depends on, no figures of use."""
    return (
        acl.direction, acl.peer.value, acl.value.lower(), acl.proto, acl.port, acl.port_to or acl.port, acl.ethertype,
        acl.resolved,
    )  # fmt: skip


class Settledness(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How settled a profile is.

    Attributes:
        observed_s: time between first and last flow, in seconds.
        flows: flows learnt from.
        since_new_s: time since the last entry was added, in seconds.
        week_share: share of the week's 168 hours in which the device was seen, 0 to 1.
        unseen_bound: upper 95 % bound of the share of flows that are new to the profile (rule of three).
        is_settled: all thresholds of docs/profiles.md are met.
        curve: learning curve, (flows seen, entries so far) pairs, at most 64.
        missing: what is still lacking, one plain line each.
    """

    observed_s: float = 0.0
    flows: int = 0
    since_new_s: float = 0.0
    week_share: float = 0.0
    unseen_bound: float = 1.0
    is_settled: bool = False
    curve: tuple[tuple[int, int], ...] = ()
    missing: tuple[str, ...] = ()


class Adoption(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Learning that another run did and that this profile went on from.

    Attributes:
        record: uid of the `Learnt` record; the same one is taken once.
        source: who brought it, for example `import:monday.pcap`.
        first, last: what it covers, seconds since 1970. flows: flows that it had learnt from.
        time: when it was taken over, seconds since 1970.
    """

    record: str
    source: str
    first: float = 0.0
    last: float = 0.0
    flows: int = 0
    time: float = 0.0


class MudProfile(Record, frozen=True, kw_only=True, tag="profile"):
    """Allowed communication of one device; uid is hashed from device and content version.

    Attributes:
        device: uid of the device.
        version: grows with every change of the entries.
        acls: entries, sorted, bounded to 512.
        origin: `learnt`, `declared` or `merged`.
        mud_url: where a declared one came from.
        dropped: entries that the bound refused.
        adopted: learning of other runs that it includes, oldest first.
    """

    device: str
    site: str = DEFAULT_SITE
    version: int = 1
    acls: tuple[Acl, ...] = ()
    origin: Literal["learnt", "declared", "merged"] = "learnt"
    mud_url: str = ""
    systeminfo: str = ""
    settled: Settledness = Settledness()
    dropped: int = 0
    adopted: tuple[Adoption, ...] = ()


class Learnt(Record, frozen=True, kw_only=True, tag="learnt"):
    """A device's learning as another run left it, so that the platform goes on from there instead of anew.

    Attributes:
        state: what `thingward.inventory.adoption` packs: entries, times, counts and the recorded traffic.
    """

    device: str
    site: str = DEFAULT_SITE
    state: bytes


class FlowVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One group of like flows judged against a profile.

    Attributes:
        permitted: what enforcement would have done.
        reason: why, in one line (`no entry allows tcp/23 to 10.0.0.7`).
        peer: name if known, else device or address.
        flows, bytes: how much traffic stands behind it.
        breaks: what would stop working (`dns`, `ntp`, `dhcp`, `update server`), empty if nothing known.
    """

    direction: str
    proto: int
    port: int
    peer: str
    permitted: bool
    reason: str
    flows: int = 0
    bytes: int = 0
    first: float = 0.0
    last: float = 0.0
    breaks: str = ""
    examples: tuple[str, ...] = ()


class Preview(Record, frozen=True, kw_only=True, tag="preview"):
    """The recorded traffic replayed against a profile, judged on traffic that it did not learn from.

    Attributes:
        learnt_until: split time, seconds since 1970; flows after it were judged.
        flows_learnt, flows_judged, flows_refused: counts.
        refused_bound: upper 95 % bound of the refused share that the amount of data allows (0 of 100: 3 %).
        verdicts: groups of flows, refused first, at most 200.
        reach_before, reach_after: how many peers and services of the site it could reach, and still would.
        not_by_name: destinations that cannot be enforced by name, with why.
        warnings: what might break, plain lines.
    """

    device: str
    profile: str
    site: str = DEFAULT_SITE
    learnt_until: float = 0.0
    flows_learnt: int = 0
    flows_judged: int = 0
    flows_refused: int = 0
    refused_bound: float = 1.0
    verdicts: tuple[FlowVerdict, ...] = ()
    reach_before: int = 0
    reach_after: int = 0
    not_by_name: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
