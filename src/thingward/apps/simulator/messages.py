"""The bytes that simulated devices say: DNS, DHCP, mDNS, SSDP, NTP, MQTT. Small encoders for well-formed messages."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final

from thingward.apps.simulator.site import LEASE_S, SimDevice

A, PTR, TXT, SRV = 1, 12, 16, 33
_FLUSH: Final = 0x8001
_COOKIE: Final = b"\x63\x82\x53\x63"
_NTP_EPOCH: Final = 2_208_988_800

DHCP_DISCOVER, DHCP_OFFER, DHCP_REQUEST, DHCP_ACK = 1, 2, 3, 5
DHCP_NAMES: Final = {"discover": DHCP_DISCOVER, "offer": DHCP_OFFER, "request": DHCP_REQUEST, "ack": DHCP_ACK}


def dns_name(name: str) -> bytes:
    """Encode a name without compression."""
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def dns_query(number: int, name: str, kind: int = A) -> bytes:
    """Ask one question, recursion desired."""
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + dns_name(name) + struct.pack("!2H", kind, 1)


def dns_question(message: bytes) -> tuple[int, str, int] | None:
    """Read number, name and type of a query; None if it is none."""
    if len(message) < 17:
        return None
    labels, at = [], 12
    while at < len(message) and message[at]:
        size = message[at]
        if size > 63 or at + 1 + size >= len(message):
            return None
        labels.append(message[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += 1 + size
    if at + 5 > len(message):
        return None
    return int.from_bytes(message[:2], "big"), ".".join(labels), int.from_bytes(message[at + 1 : at + 3], "big")


def dns_answer(number: int, name: str, kind: int, addresses: Sequence[str], *, known: bool, ttl_s: int = 60) -> bytes:
    """Answer with addresses; an unknown name does not exist."""
    flags = 0x8180 if known else 0x8183
    head = struct.pack("!6H", number, flags, 1, len(addresses), 0, 0) + dns_name(name) + struct.pack("!2H", kind, 1)
    record = struct.pack("!HHHIH", 0xC00C, A, 1, ttl_s, 4)
    return head + b"".join(record + socket.inet_aton(address) for address in addresses)


def dns_addresses(message: bytes) -> list[str]:
    """Read the IPv4 addresses of an answer made by `dns_answer` or dnsmasq."""
    question = dns_question(message)
    if question is None or len(message) < 12:
        return []
    at, found = 12 + len(dns_name(question[1])) + 4, []
    for _ in range(int.from_bytes(message[6:8], "big")):
        at += 2 if message[at] & 0xC0 else message.index(0, at) - at + 1
        kind, _, _, size = struct.unpack_from("!HHIH", message, at)
        if kind == A and size == 4:
            found.append(socket.inet_ntoa(message[at + 10 : at + 14]))
        at += 10 + size
    return found


def mdns_announcement(device: SimDevice) -> bytes:
    """Announce the device's services, host name and address."""
    host = f"{device.hostname}.local"
    records = []
    for service, text in device.mdns:
        instance = f"{device.hostname}.{service}.local"
        texts = b"".join(bytes([len(word)]) + word.encode() for word in text.split())
        records += [
            _record(f"{service}.local", PTR, 1, dns_name(instance)),
            _record(instance, SRV, _FLUSH, struct.pack("!3H", 0, 0, 80) + dns_name(host)),
            _record(instance, TXT, _FLUSH, texts or b"\0"),
        ]
    records.append(_record(host, A, _FLUSH, socket.inet_aton(device.address)))
    return struct.pack("!6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def _record(name: str, kind: int, cls: int, data: bytes) -> bytes:
    return dns_name(name) + struct.pack("!HHIH", kind, cls, 4500, len(data)) + data


def ssdp_notify(device: SimDevice) -> bytes:
    """Announce the device by UPnP."""
    kind, server = device.ssdp
    lines = (
        "NOTIFY * HTTP/1.1", "HOST: 239.255.255.250:1900", "CACHE-CONTROL: max-age=1800",
        f"LOCATION: http://{device.address}:80/description.xml", f"NT: {kind}", "NTS: ssdp:alive",
        f"SERVER: {server}", f"USN: uuid:2f402f80-da50-11e1-9b23-{device.mac.replace(':', '')}::{kind}", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


def dhcp_request(device: SimDevice, message: int, number: int, server: str = "") -> bytes:
    """Ask for the device's address."""
    options = [(53, bytes([message])), (61, b"\x01" + _mac(device)), (12, device.hostname.encode())]
    if device.vendor_class:
        options.append((60, device.vendor_class.encode()))
    if message == DHCP_REQUEST:
        options += [(50, socket.inet_aton(device.address)), (54, socket.inet_aton(server))]
    options.append((55, bytes(device.parameters)))
    return _bootp(1, device, number, "0.0.0.0", options)


def dhcp_reply(device: SimDevice, message: int, number: int, router: str) -> bytes:
    """Give the device its address."""
    address = socket.inet_aton(router)
    options = [
        (53, bytes([message])), (54, address), (51, LEASE_S.to_bytes(4, "big")),
        (1, socket.inet_aton("255.255.255.0")), (3, address), (6, address),
    ]  # fmt: skip
    return _bootp(2, device, number, device.address, options)


def dhcp_kind(message: bytes) -> int:
    """Read the message type of a DHCP packet, 0 if it has none."""
    at = message.find(_COOKIE, 236, 240)
    at = at + 4 if at >= 0 else len(message)
    while at + 2 <= len(message) and message[at] != 255:
        code, size = message[at], message[at + 1]
        if code == 53 and size == 1 and at + 2 < len(message):
            return message[at + 2]
        at += 2 + size
    return 0


def _bootp(op: int, device: SimDevice, number: int, yours: str, options: Sequence[tuple[int, bytes]]) -> bytes:
    head = struct.pack("!4BIHH", op, 1, 6, 0, number, 0, 0x8000)
    addresses = bytes(4) + socket.inet_aton(yours) + bytes(8)
    body = b"".join(bytes([code, len(value)]) + value for code, value in options) + b"\xff"
    return head + addresses + _mac(device) + bytes(10 + 192) + _COOKIE + body


def _mac(device: SimDevice) -> bytes:
    return bytes.fromhex(device.mac.replace(":", ""))


def ntp_packet(now: float, *, answer: bool = False, origin: bytes = bytes(8)) -> bytes:
    """Ask, or tell, the time."""
    whole = int(now)
    stamp = struct.pack("!II", (whole + _NTP_EPOCH) & 0xFFFFFFFF, int((now - whole) * 2**32))
    if not answer:
        return struct.pack("!BBBb", 0x23, 0, 6, -20) + bytes(36) + stamp
    head = struct.pack("!BBBb", 0x24, 2, 6, -20) + bytes(8) + b"\xcb\x00\x71\x01"
    return head + stamp + origin + stamp + stamp


def mqtt_connect(client_id: str, user: str = "") -> bytes:
    """Open an MQTT 3.1.1 session."""
    flags = 0x82 if user else 0x02
    body = _mqtt_text("MQTT") + bytes([4, flags]) + (60).to_bytes(2, "big") + _mqtt_text(client_id)
    return _mqtt(0x10, body + (_mqtt_text(user) if user else b""))


def mqtt_publish(topic: str, payload: bytes) -> bytes:
    """Publish at most once."""
    return _mqtt(0x30, _mqtt_text(topic) + payload)


def mqtt_answer(first: int) -> bytes:
    """Give what a broker answers to a packet that begins with this byte."""
    return {0x10: b"\x20\x02\x00\x00", 0xC0: b"\xd0\x00"}.get(first & 0xF0, b"")


def _mqtt_text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _mqtt(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | 0x80 if size else low])
        if not size:
            return bytes([first]) + length + body


def http_request(device: SimDevice, host: str, path: str) -> bytes:
    """Ask for a page."""
    agent = device.agent or f"{device.hostname}/1.0"
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n".encode()


def http_answer(body: bytes, server: str) -> bytes:
    """Answer with a page."""
    head = f"HTTP/1.1 200 OK\r\nServer: {server}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
