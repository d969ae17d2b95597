"""DHCPv4 (RFC 2131, 2132, 8520) and DHCPv6 (RFC 8415): what a client says of itself, what a server hands out."""

from __future__ import annotations

import struct
from typing import ClassVar

from thingward.wire.address import ipv4_text, ipv6_text, mac_text
from thingward.wire.dns import read_name
from thingward.wire.message import Message, Unreadable, clean_text, fenced, malformed

MAGIC = b"\x63\x82\x53\x63"
MAX_OPTIONS = 128
MAX_ADDRESSES = 8

_TYPES = {
    1: "discover",
    2: "offer",
    3: "request",
    4: "decline",
    5: "ack",
    6: "nak",
    7: "release",
    8: "inform",
    9: "forcerenew",
    10: "leasequery",
}
_TYPES6 = {
    1: "solicit",
    2: "advertise",
    3: "request",
    4: "confirm",
    5: "renew",
    6: "rebind",
    7: "reply",
    8: "release",
    9: "decline",
    10: "reconfigure",
    11: "information-request",
}


class DhcpMessage(Message, frozen=True, kw_only=True):
    """One DHCPv4 message; addresses are text, empty where absent or 0.0.0.0.

    Attributes:
        message: `discover`, `request`, `ack` ...; `bootp` where no type option was sent.
        client_mac: the chaddr field, empty unless Ethernet.
        client_address: what the client holds (ciaddr); assigned_address: what it is given (yiaddr).
        parameters: option 55, in the order asked: a fingerprint of the client's software.
        options: all option numbers in the order sent.
        client_id: option 61 in hexadecimal.
    """

    protocol: ClassVar[str] = "dhcp"
    message: str
    is_reply: bool
    client_mac: str = ""
    client_address: str = ""
    assigned_address: str = ""
    requested_address: str = ""
    server: str = ""
    hostname: str = ""
    fqdn: str = ""
    vendor_class: str = ""
    user_class: str = ""
    client_id: str = ""
    parameters: tuple[int, ...] = ()
    options: tuple[int, ...] = ()
    mud_url: str = ""
    domain: str = ""
    lease_s: int = 0
    routers: tuple[str, ...] = ()
    resolvers: tuple[str, ...] = ()
    time_servers: tuple[str, ...] = ()


class Dhcp6Message(Message, frozen=True, kw_only=True):
    """One DHCPv6 message, relayed ones unwrapped.

    Attributes:
        client_id, server_id: DUIDs in hexadecimal; client_mac: the link-layer address inside the client's, if any.
        addresses: those in IA options. options: option numbers asked for (option 6).
    """

    protocol: ClassVar[str] = "dhcp6"
    message: str
    client_id: str = ""
    client_mac: str = ""
    server_id: str = ""
    fqdn: str = ""
    vendor_class: str = ""
    mud_url: str = ""
    addresses: tuple[str, ...] = ()
    parameters: tuple[int, ...] = ()
    resolvers: tuple[str, ...] = ()


def _ipv4(data: bytes) -> str:
    return ipv4_text(data) if len(data) == 4 and data != b"\0\0\0\0" else ""


def _ipv4_list(data: bytes) -> tuple[str, ...]:
    return tuple(ipv4_text(data[at : at + 4]) for at in range(0, min(len(data) - 3, 4 * MAX_ADDRESSES), 4))


def _label(data: bytes) -> str:
    return clean_text(data.rstrip(b"\0"))


def _read_options(data: bytes, offset: int, into: dict[int, bytes]) -> int:
    """Collect options, long ones joined (RFC 3396); gives the offset where reading had to stop, or -1 at the end."""
    for _ in range(MAX_OPTIONS):
        if offset >= len(data):
            return -1
        code = data[offset]
        if code == 255:
            return -1
        if code == 0:
            offset += 1
            continue
        if offset + 1 >= len(data):
            return offset
        length = data[offset + 1]
        value = data[offset + 2 : offset + 2 + length]
        if len(value) != length:
            return offset
        into[code] = into[code] + value if code in into else value
        offset += 2 + length
    return -1


def _fqdn(value: bytes) -> str:
    """Read option 81 (RFC 4702): flags, two result codes, then a name, as labels if the E flag is set."""
    if len(value) <= 3:
        return ""
    if value[0] & 4:
        try:
            return read_name(value + b"\0", 3)[0]
        except (Unreadable, IndexError):
            return ""
    return _label(value[3:])


@fenced("dhcp")
def decode_dhcp(data: bytes) -> DhcpMessage:
    """Decode a datagram of ports 67 and 68; BOOTP without options is accepted."""
    operation, hardware, length = data[0], data[1], data[2]
    if operation not in (1, 2):
        raise Unreadable("unknown operation", 0)
    if len(data) < 236:
        raise Unreadable("truncated", len(data))
    options: dict[int, bytes] = {}
    stopped = -1
    if data[236:240] == MAGIC:
        stopped = _read_options(data, 240, options)
        overload = options.get(52, b"")
        if overload in (b"\x01", b"\x03"):
            _read_options(data[108:236], 0, options)
        if overload in (b"\x02", b"\x03"):
            _read_options(data[44:108], 0, options)
    get = options.get
    kind = get(53, b"")
    return DhcpMessage(
        message=_TYPES.get(kind[0], f"type-{kind[0]}") if kind else "bootp",
        is_reply=operation == 2,
        client_mac=mac_text(data[28:34]) if hardware == 1 and length == 6 else "",
        client_address=_ipv4(data[12:16]),
        assigned_address=_ipv4(data[16:20]),
        requested_address=_ipv4(get(50, b"")),
        server=_ipv4(get(54, b"")),
        hostname=_label(get(12, b"")),
        fqdn=_fqdn(get(81, b"")),
        vendor_class=_label(get(60, b"")),
        user_class=_label(get(77, b"")),
        client_id=get(61, b"")[:64].hex(),
        parameters=tuple(get(55, b"")),
        options=tuple(options),
        mud_url=_label(get(161, b"")),
        domain=_label(get(15, b"")),
        lease_s=int.from_bytes(get(51, b"")[:4], "big"),
        routers=_ipv4_list(get(3, b"")),
        resolvers=_ipv4_list(get(6, b"")),
        time_servers=_ipv4_list(get(42, b"")),
        problem=malformed("dhcp", "option truncated", data, stopped) if stopped >= 0 else None,
    )


def _duid_mac(duid: bytes) -> str:
    """Give the Ethernet address inside a DUID-LLT or DUID-LL (RFC 8415, 11.2 and 11.4)."""
    if len(duid) == 14 and duid[:4] == b"\0\x01\0\x01":
        return mac_text(duid[8:])
    if len(duid) == 10 and duid[:4] == b"\0\x03\0\x01":
        return mac_text(duid[4:])
    return ""


def _read_options6(data: bytes, offset: int, into: dict[int, list[bytes]], depth: int = 0) -> int:
    """Collect options, those nested in IA options too; gives where reading had to stop, or -1."""
    for _ in range(MAX_OPTIONS):
        if offset >= len(data):
            return -1
        if offset + 4 > len(data):
            return offset
        code, length = struct.unpack_from("!HH", data, offset)
        value = data[offset + 4 : offset + 4 + length]
        if len(value) != length:
            return offset
        offset += 4 + length
        values = into.setdefault(code, [])
        if len(values) < MAX_ADDRESSES:
            values.append(value)
        if depth == 0 and code in (3, 25):
            _read_options6(value, 12, into, 1)
        elif depth == 0 and code == 4:
            _read_options6(value, 4, into, 1)
    return -1


def _vendor_class6(value: bytes) -> str:
    """Read option 16: enterprise number, then counted strings; gives the first."""
    if len(value) < 6:
        return ""
    length = int.from_bytes(value[4:6], "big")
    return _label(value[6 : 6 + length])


def _unwrap_relay(data: bytes) -> bytes:
    """Give the message inside relay-forward and relay-reply messages, at most eight deep."""
    for _ in range(8):
        if data[0] not in (12, 13):
            return data
        options: dict[int, list[bytes]] = {}
        _read_options6(data, 34, options, 1)
        inner = options.get(9)
        if not inner or not inner[0]:
            raise Unreadable("relay without message", 0)
        data = inner[0]
    raise Unreadable("relays nested too deep", 0)


def _fqdn6(value: bytes) -> str:
    try:
        return read_name(value + b"\0", 1)[0] if len(value) > 1 else ""
    except (Unreadable, IndexError):
        return ""


@fenced("dhcp6")
def decode_dhcp6(data: bytes) -> Dhcp6Message:
    """Decode a datagram of ports 546 and 547."""
    data = _unwrap_relay(data)
    name = _TYPES6.get(data[0])
    if name is None or len(data) < 4:
        raise Unreadable("unknown message type" if name is None else "truncated", 0)
    options: dict[int, list[bytes]] = {}
    stopped = _read_options6(data, 4, options)

    def first(code: int) -> bytes:
        values = options.get(code)
        return values[0] if values else b""

    client, asked, resolvers = first(1), first(6), first(23)
    return Dhcp6Message(
        message=name,
        client_id=client[:130].hex(),
        client_mac=_duid_mac(client),
        server_id=first(2)[:130].hex(),
        fqdn=_fqdn6(first(39)),
        vendor_class=_vendor_class6(first(16)),
        mud_url=_label(first(112)),
        addresses=tuple(ipv6_text(value[:16]) for value in options.get(5, []) if len(value) >= 24),
        parameters=struct.unpack(f"!{len(asked) // 2}H", asked[: len(asked) // 2 * 2])[:64],
        resolvers=tuple(ipv6_text(resolvers[at : at + 16]) for at in range(0, min(len(resolvers) - 15, 128), 16)),
        problem=malformed("dhcp6", "option truncated", data, stopped) if stopped >= 0 else None,
    )
