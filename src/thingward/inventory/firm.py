"""Firm evidence: what one device says of itself and no second device says by chance."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from thingward.inventory.members import Member

# Words that whole product lines share: a host name made of them alone names no single device.
_SHARED_WORDS: Final = frozenset({
    "android", "iphone", "ipad", "ipod", "apple", "watch", "macbook", "imac", "mac", "mini", "air", "pro", "max",
    "plus", "ultra", "lite", "galaxy", "samsung", "pixel", "redmi", "xiaomi", "poco", "mi", "note", "oneplus",
    "huawei", "honor", "realme", "vivo", "oppo", "moto", "motorola", "nokia", "sony", "xperia", "lg", "htc", "google",
    "nexus", "windows", "desktop", "laptop", "pc", "phone", "tablet", "linux", "localhost", "local", "unknown",
    "null", "none", "default", "host", "device", "esp", "espressif", "esp32", "esp8266", "esp32s2", "esp32s3",
    "esp32c3", "lwip", "lwip0", "wlan", "wlan0", "eth0", "raspberrypi", "openwrt", "router", "gateway", "camera",
    "ipcam", "cam", "plug", "bulb", "light", "lamp", "switch", "hub", "bridge", "sensor", "tv", "smart", "home",
    "wifi", "wlink", "printer", "speaker", "chromecast", "mqtt", "client", "mosq", "user", "admin", "my", "the", "of",
})  # fmt: skip
_EUI_CLIENT_ID: Final = re.compile(r"^(?:01|00)?[0-9a-f]{12}$")
_UUID: Final = re.compile(r"uuid:([0-9a-z_-]{8,64})", re.IGNORECASE)
_SINGLE: Final = ("client_id", "usn", "serial", "chassis", "hostname", "vendor")


def is_distinctive(name: str) -> bool:
    """Tell whether a host name or client id can belong to one device only.

    A word that product lines do not share, or a run of at least four digits or hexadecimal digits, makes it so.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower().removesuffix(".local")) if word]
    for word in words:
        letters = word.rstrip("0123456789")
        if word in _SHARED_WORDS or letters in _SHARED_WORDS:
            continue
        has_digit = any(c.isdigit() for c in word)
        if has_digit and (len(word) >= 6 or (word.isdigit() and len(word) >= 4)):
            return True
        if not has_digit and len(word) >= 4:
            return True
    return False


def firm_keys(member: Member) -> tuple[str, ...]:
    """Give everything that identifies this member, as `kind=value` texts, sorted."""
    singles = _single_values(member)
    keys = {f"{kind}={value}" for kind in ("client_id", "usn", "serial", "chassis") for value in singles[kind]}
    keys |= {f"mdns={name}" for name in member.values("mdns.name") if is_distinctive(name)}
    keys |= {f"mqtt={name}" for name in member.values("mqtt.client_id") if len(name) >= 8 and is_distinctive(name)}
    keys |= {f"iid={iid}" for address in member.addresses if (iid := _interface_id(address, member.mac))}
    vendors, lists = member.values("dhcp.vendor_class"), member.values("dhcp.parameters")
    for hostname in singles["hostname"]:
        keys |= {f"dhcp={hostname}|{vendor}|{asked}" for vendor in vendors for asked in lists}
    return tuple(sorted(keys))


def conflict(one: Member, two: Member) -> str:
    """Name what speaks against two members being one device; empty if nothing does."""
    first, second = _single_values(one), _single_values(two)
    for kind in _SINGLE:
        if first[kind] and second[kind] and not first[kind] & second[kind]:
            return f"{kind} differs: {min(first[kind])[:60]} and {min(second[kind])[:60]}"
    return ""


def _single_values(member: Member) -> dict[str, set[str]]:
    bare = member.mac.replace(":", "")
    ids = {value.lower().replace(":", "") for value in member.values("dhcp.client_id")}
    usns = {found.group(1).lower() for value in member.values("ssdp.usn") if (found := _UUID.search(value))}
    return {
        "client_id": {value for value in ids if not (bare and bare in value) and not _EUI_CLIENT_ID.match(value)},
        "usn": {value for value in usns if value.strip("0-")},
        "serial": member.values("lldp.serial"),
        "chassis": {value for value in member.values("lldp.chassis") if not (bare and bare in value.replace(":", ""))},
        "hostname": {value.lower() for value in member.values("dhcp.hostname") if is_distinctive(value)},
        "vendor": {re.sub(r"[^a-z]+", "", value.lower()) for value in member.values("dhcp.vendor_class")},
    }


def _interface_id(address: str, mac: str) -> str:
    """Give an IPv6 address's last 64 bits as text; empty for short ones and those made from a hardware address."""
    if ":" not in address:
        return ""
    try:
        number = int(ipaddress.IPv6Address(address)) & ((1 << 64) - 1)
    except ValueError:
        return ""
    if number < 1 << 32 or (number >> 24) & 0xFFFF == 0xFFFE:
        return ""
    return f"{number:016x}"
