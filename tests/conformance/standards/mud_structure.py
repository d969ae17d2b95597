"""What RFC 8520 (`ietf-mud`, `ietf-acldns`) and RFC 8519 (`ietf-access-control-list`, `ietf-packet-fields`) allow in a file.

Names, types and ranges written down from the modules in those documents, in the JSON form of RFC 7951: numbers of up to
32 bits are JSON numbers, an empty leaf is `[null]`, a node has its module's name where that differs from its parent's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

Check = Callable[[Any], str]

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")
_LABEL = r"[a-zA-Z0-9_]([a-zA-Z0-9\-_]{0,61}[a-zA-Z0-9])?"
_HOST = re.compile(rf"({_LABEL}\.)*{_LABEL}\.?")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_ETHERTYPES = frozenset(
    {"ipv4", "arp", "ipv6", "eap", "lldp", "vlan", "mac-security", "ptp", "rarp", "profinet", "goose"}
)


class NotConforming(Exception):
    """The place in the file, and what is wrong there."""


def verify_mud_structure(document: Any) -> None:
    """Raise NotConforming unless the document is one that a strict reader of both RFCs takes."""
    top = _members(
        document, "", {"ietf-mud:mud": _any, "ietf-access-control-list:acls": _any}, required={"ietf-mud:mud"}
    )
    used = _verify_mud(top["ietf-mud:mud"])
    acls = top.get("ietf-access-control-list:acls", {"acl": []})
    _members(acls, "acls", {"acl": _any})
    names: list[str] = []
    for index, acl in enumerate(acls.get("acl", [])):
        names.append(_verify_acl(acl, f"acl[{index}]"))
    _unique(names, "acl/name")
    if missing := used - set(names):
        raise NotConforming(f"access-list: {sorted(missing)} is no acl of this file")


def _verify_mud(mud: Any) -> set[str]:
    text = _text(0, 1 << 16)
    leaves: dict[str, Check] = {
        "mud-version": _number(0, 255), "mud-url": _https, "last-update": _time, "mud-signature": _uri,
        "cache-validity": _number(1, 168), "is-supported": _boolean, "systeminfo": _text(0, 60), "mfg-name": text,
        "model-name": text, "firmware-rev": text, "software-rev": text, "documentation": _uri, "extensions": _list,
        "from-device-policy": _any, "to-device-policy": _any,
    }  # fmt: skip
    found = _members(mud, "mud", leaves, required={"mud-version", "mud-url", "last-update", "is-supported"})
    used: set[str] = set()
    for policy in ("from-device-policy", "to-device-policy"):
        if policy not in found:
            continue
        lists = _members(found[policy], policy, {"access-lists": _any})["access-lists"]
        entries = _members(lists, f"{policy}/access-lists", {"access-list": _list})["access-list"]
        names = [
            _members(e, f"{policy}/access-list", {"name": _text(1, 64)}, required={"name"})["name"] for e in entries
        ]
        _unique(names, policy)
        used |= set(names)
    return used


def _verify_acl(acl: Any, where: str) -> str:
    kinds = {"ipv4-acl-type", "ipv6-acl-type", "eth-acl-type", "mixed-eth-ipv4-acl-type", "mixed-eth-ipv6-acl-type",
             "mixed-eth-ipv4-ipv6-acl-type"}  # fmt: skip
    leaves: dict[str, Check] = {"name": _text(1, 64), "type": _one_of(kinds), "aces": _any}
    found = _members(acl, where, leaves, required={"name", "type"})
    entries = _members(found.get("aces", {"ace": []}), f"{where}/aces", {"ace": _list})["ace"]
    names: list[str] = []
    for index, ace in enumerate(entries):
        at = f"{where}/ace[{index}]"
        parts = _members(
            ace, at, {"name": _text(1, 64), "matches": _any, "actions": _any}, required={"name", "actions"}
        )
        names.append(parts["name"])
        # A MUD file says accept or drop; `reject` and logging are for other lists.
        _members(
            parts["actions"], f"{at}/actions", {"forwarding": _one_of({"accept", "drop"})}, required={"forwarding"}
        )
        _verify_matches(parts.get("matches", {}), f"{at}/matches", found["type"])
    _unique(names, f"{where}/ace/name")
    return str(found["name"])


def _verify_matches(matches: Any, where: str, kind: str) -> None:
    layers = {
        "eth": _ETH,
        "ipv4": _ip(4),
        "ipv6": _ip(6),
        "tcp": _TCP,
        "udp": _UDP,
        "icmp": _ICMP,
        "ietf-mud:mud": _MUD,
    }
    found = _members(matches, where, dict.fromkeys(layers, _any))
    for group in (("ipv4", "ipv6"), ("tcp", "udp", "icmp")):  # each is a choice of the model
        if len(set(group) & set(found)) > 1:
            raise NotConforming(f"{where}: only one of {group}")
    for layer in ("ipv4", "ipv6", "eth"):
        if layer in found and layer not in kind:
            raise NotConforming(f"{where}: {layer} in a list of type {kind}")
    for name, body in found.items():
        _members(body, f"{where}/{name}", layers[name])
    protocol = (found.get("ipv4") or found.get("ipv6") or {}).get("protocol")
    for name, number in (("tcp", 6), ("udp", 17)):
        if name in found and protocol not in (None, number):
            raise NotConforming(f"{where}: {name} ports with protocol {protocol}")


def _members(value: Any, where: str, known: Mapping[str, Check], required: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    if not isinstance(value, dict):
        raise NotConforming(f"{where}: no object")
    if strange := set(value) - set(known):
        raise NotConforming(f"{where}: unknown {sorted(strange)}")
    if missing := set(required) - set(value):
        raise NotConforming(f"{where}: {sorted(missing)} missing")
    for name, content in value.items():
        if trouble := known[name](content):
            raise NotConforming(f"{where}/{name}: {trouble}: {content!r}")
    return value


def _unique(names: list[str], where: str) -> None:
    if len(names) != len(set(names)):
        raise NotConforming(f"{where}: a key comes twice")


def _any(value: Any) -> str:
    return ""


def _list(value: Any) -> str:
    return "" if isinstance(value, list) else "no list"


def _boolean(value: Any) -> str:
    return "" if isinstance(value, bool) else "no boolean"


def _empty(value: Any) -> str:
    return "" if value == [None] else "an empty leaf is [null]"


def _number(least: int, most: int) -> Check:
    def check(value: Any) -> str:
        is_fine = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return "" if is_fine else f"no number from {least} to {most}"

    return check


def _text(least: int, most: int) -> Check:
    return lambda value: (
        "" if isinstance(value, str) and least <= len(value) <= most else f"no text of {least} to {most}"
    )


def _one_of(words: set[str]) -> Check:
    return lambda value: "" if isinstance(value, str) and value in words else f"none of {sorted(words)}"


def _time(value: Any) -> str:
    return "" if isinstance(value, str) and _TIME.fullmatch(value) else "no date-and-time"


def _uri(value: Any) -> str:
    is_uri = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s<>\"{}|\\^`]+", value)
    return "" if is_uri else "no URI"


def _https(value: Any) -> str:
    return _uri(value) or ("" if urlsplit(value).scheme == "https" and urlsplit(value).netloc else "not https")


def _host(value: Any) -> str:
    return "" if isinstance(value, str) and len(value) <= 253 and _HOST.fullmatch(value) else "no host"


def _mac(value: Any) -> str:
    return "" if isinstance(value, str) and _MAC.fullmatch(value) else "no MAC address"


def _ethertype(value: Any) -> str:
    return (
        ""
        if value in _ETHERTYPES or not _number(0, 65535)(value)
        else "no ethertype (a number, or a name of the module)"
    )


def _prefix(version: int) -> Check:
    def check(value: Any) -> str:
        try:
            network = ipaddress.ip_network(value, strict=True)
        except (ValueError, TypeError):
            return "no prefix"
        return "" if network.version == version and "/" in value else f"no prefix of IPv{version}"

    return check


def _port(value: Any) -> str:
    if not isinstance(value, dict):
        return "no object"
    number = _number(0, 65535)
    if set(value) == {"lower-port", "upper-port"}:
        trouble = number(value["lower-port"]) or number(value["upper-port"])
        return trouble or ("" if value["lower-port"] <= value["upper-port"] else "the range is upside down")
    if not {"port"} <= set(value) <= {"port", "operator"}:
        return "neither a range nor an operator with a port"
    return number(value["port"]) or _one_of({"lte", "gte", "eq", "neq"})(value.get("operator", "eq"))


def _ip(version: int) -> dict[str, Check]:
    own: dict[str, Check] = (
        {"ihl": _number(5, 60), "flags": _any, "offset": _number(20, 65535), "identification": _number(0, 65535)}
        if version == 4
        else {"flow-label": _number(0, (1 << 20) - 1)}
    )
    return {
        "dscp": _number(0, 63), "ecn": _number(0, 3), "length": _number(0, 65535), "ttl": _number(0, 255),
        "protocol": _number(0, 255), f"destination-ipv{version}-network": _prefix(version),
        f"source-ipv{version}-network": _prefix(version), "ietf-acldns:src-dnsname": _host,
        "ietf-acldns:dst-dnsname": _host, **own,
    }  # fmt: skip


_ETH: dict[str, Check] = {
    "destination-mac-address": _mac, "destination-mac-address-mask": _mac, "source-mac-address": _mac,
    "source-mac-address-mask": _mac, "ethertype": _ethertype,
}  # fmt: skip
_TCP: dict[str, Check] = {
    "source-port": _port, "destination-port": _port, "flags": _any,
    "ietf-mud:direction-initiated": _one_of({"from-device", "to-device"}),
}  # fmt: skip
_UDP: dict[str, Check] = {"length": _number(0, 65535), "source-port": _port, "destination-port": _port}
_ICMP: dict[str, Check] = {"type": _number(0, 255), "code": _number(0, 255)}
_MUD: dict[str, Check] = {
    "manufacturer": _host, "same-manufacturer": _empty, "model": _uri, "local-networks": _empty, "controller": _uri,
    "my-controller": _empty,
}  # fmt: skip
