"""LLDP (IEEE 802.1AB) with the MUD URL of RFC 8520, clause 11: what a device says to its switch."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.address import ipv4_text, ipv6_text, mac_text
from thingward.wire.message import Message, Unreadable, clean_text, fenced

MAX_TLVS = 64
_MUD_PREFIX = b"\x00\x00\x5e\x01"
_CAPABILITIES = ("other", "repeater", "bridge", "wlan-ap", "router", "telephone", "docsis", "station")


class LldpMessage(Message, frozen=True, kw_only=True):
    """One LLDP frame.

    Attributes:
        chassis, port: identifiers as text, hardware addresses with colons.
        capabilities: what is enabled (`bridge`, `telephone` ...).
        inventory: LLDP-MED strings by name (`hardware`, `firmware`, `software`, `serial`, `manufacturer`, `model`).
    """

    protocol: ClassVar[str] = "lldp"
    chassis: str
    port: str = ""
    ttl_s: int = 0
    port_description: str = ""
    system_name: str = ""
    system_description: str = ""
    capabilities: tuple[str, ...] = ()
    management: str = ""
    mud_url: str = ""
    inventory: tuple[tuple[str, str], ...] = ()


_MED = {5: "hardware", 6: "firmware", 7: "software", 8: "serial", 9: "manufacturer", 10: "model", 11: "asset"}


def _identifier(value: bytes, mac_subtype: int, address_subtype: int) -> str:
    if not value:
        raise Unreadable("empty identifier", 0)
    subtype, body = value[0], value[1:]
    if subtype == mac_subtype and len(body) == 6:
        return mac_text(body)
    if subtype == address_subtype and body:
        return _address(body)
    return clean_text(body)


def _address(body: bytes) -> str:
    if body[0] == 1 and len(body) == 5:
        return ipv4_text(body[1:])
    if body[0] == 2 and len(body) == 17:
        return ipv6_text(body[1:])
    return body.hex()[:64]


def _management(value: bytes) -> str:
    length = value[0] if value else 0
    return _address(value[1 : 1 + length]) if 1 < length <= len(value) - 1 else ""


def _enabled(value: bytes) -> tuple[str, ...]:
    bits = int.from_bytes(value[2:4], "big")
    return tuple(name for index, name in enumerate(_CAPABILITIES) if bits >> index & 1)


@fenced("lldp")
def decode_lldp(data: bytes) -> LldpMessage:
    """Decode the payload of Ethernet type 0x88cc."""
    values: dict[int, bytes] = {}
    mud = ""
    inventory: list[tuple[str, str]] = []
    offset = 0
    for _ in range(MAX_TLVS):
        if offset + 2 > len(data):
            break
        header = data[offset] << 8 | data[offset + 1]
        kind, length = header >> 9, header & 0x1FF
        value = data[offset + 2 : offset + 2 + length]
        if len(value) != length:
            raise Unreadable("element truncated", offset)
        offset += 2 + length
        if kind == 0:
            break
        if kind == 127 and value.startswith(_MUD_PREFIX):
            mud = clean_text(value[4:])
        elif kind == 127 and value[:3] == b"\x00\x12\xbb" and length > 4 and value[3] in _MED:
            inventory.append((_MED[value[3]], clean_text(value[4:])))
        else:
            values.setdefault(kind, value)
    if 1 not in values:
        raise Unreadable("no chassis identifier", 0)
    return LldpMessage(
        chassis=_identifier(values[1], 4, 5),
        port=_identifier(values[2], 3, 4) if values.get(2) else "",
        ttl_s=int.from_bytes(values.get(3, b"")[:2], "big"),
        port_description=clean_text(values.get(4, b"")),
        system_name=clean_text(values.get(5, b"")),
        system_description=clean_text(values.get(6, b""), 512),
        capabilities=_enabled(values.get(7, b"")),
        management=_management(values.get(8, b"")),
        mud_url=mud,
        inventory=tuple(inventory[:8]),
    )
