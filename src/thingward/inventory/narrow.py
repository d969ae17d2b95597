"""Safe defaults made as narrow as what a device was seen doing, once it was watched for days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from thingward.inventory.network import time_service_of
from thingward.inventory.settle import DAYS, OBSERVED_S
from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import ICMP6, UDP, FlowTerms, address_kind

STARTS: Final = 2
_DHCP: Final = 67
_DHCP6: Final = 547
_NTP: Final = 123


def is_watched(observed_s: float, days: int) -> bool:
    """Tell whether a device was watched long enough that what it did not use can be called unused."""
    return observed_s >= OBSERVED_S and days >= DAYS


def signs_of(terms: FlowTerms) -> Iterator[str]:
    """Name what a flow shows of which safe defaults are needed.

    `start`: it asks everybody for an address, as after a start. `ipv6`: it speaks IPv6. `time`: it asks for the time;
    `site_time`: and not a public service.
    """
    if terms.proto == ICMP6 or (":" in terms.address and address_kind(terms.address) != "none"):
        yield "ipv6"  # hardware addresses hold colons too
    if terms.direction != "out" or terms.proto != UDP:
        return
    if terms.port == _DHCP and terms.group:
        yield "start"
    elif terms.port == _NTP:
        yield "time"
        if "ntp" in terms.roles and own_time_service(terms) is terms:
            yield "site_time"


def own_time_service(terms: FlowTerms) -> FlowTerms:
    """Write a question to a public time service as one to that very service: its servers rotate, its domain stays."""
    if terms.roles != ("ntp",) or terms.direction != "out" or terms.device:
        return terms
    service = next(filter(None, map(time_service_of, terms.names)), "")
    return msgspec.structs.replace(terms, roles=(), names=(f"*.{service}",)) if service else terms


def is_time_entry(acl: Acl) -> bool:
    """Tell whether a learnt entry names a time server that the device asks."""
    return acl.origin == "learnt" and (acl.direction, acl.proto, acl.port) == ("out", UDP, _NTP)


def is_needless(acl: Acl, seen: Mapping[str, int], *, has_time: bool) -> bool:
    """Tell whether a device that was watched for days shows no need of a safe default.

    Every public time service goes if it asks one of its own, or was seen to start and asked none. What only IPv6 needs
    goes if it spoke none: it would have, at a start and at each announcement of a router.

    Args:
        seen: flows by sign, as `signs_of` names them.
        has_time: another entry names a time server that it asks.
    """
    if acl.origin != "default" or acl.peer is not PeerKind.ROLE:
        return False
    if acl.value == "ntp":
        return not seen.get("site_time") and (has_time or (not seen.get("time") and seen.get("start", 0) >= STARTS))
    return not seen.get("ipv6") and (acl.proto == ICMP6 or (acl.value == "dhcp" and acl.port == _DHCP6))
