"""DHCPv4 and DHCPv6."""

import pytest

from thingward.model.record import Malformed
from thingward.wire.dhcp import MAGIC, Dhcp6Message, DhcpMessage, decode_dhcp, decode_dhcp6

MAC = bytes.fromhex("021122334455")


def option(code: int, data: bytes) -> bytes:
    return bytes([code, len(data)]) + data


def packet(
    *options: bytes, operation: int = 1, given: bytes = bytes(4), held: bytes = bytes(4), end: bytes = b"\xff"
) -> bytes:
    head = bytes([operation, 1, 6, 0]) + b"\x01\x02\x03\x04" + bytes(4) + held + given + bytes(8)
    return head + MAC + bytes(10) + bytes(192) + MAGIC + b"".join(options) + end


def read(data: bytes) -> DhcpMessage:
    message = decode_dhcp(data)
    assert isinstance(message, DhcpMessage), message
    return message


def test_a_request_tells_who_the_client_is():
    message = read(
        packet(
            option(53, b"\3"),
            option(50, bytes([10, 0, 0, 7])),
            option(54, bytes([10, 0, 0, 1])),
            option(12, b"kettle\0"),
            option(60, b"udhcp 1.30"),
            option(61, b"\1" + MAC),
            option(55, bytes([1, 3, 6, 42])),
            option(81, b"\0\0\0kettle.example"),
            option(161, b"https://maker.example/kettle.json"),
        )
    )
    assert message.message == "request"
    assert not message.is_reply
    assert message.client_mac == "02:11:22:33:44:55"
    assert message.requested_address == "10.0.0.7"
    assert message.server == "10.0.0.1"
    assert message.hostname == "kettle"
    assert message.vendor_class == "udhcp 1.30"
    assert message.client_id == "01021122334455"
    assert message.parameters == (1, 3, 6, 42)
    assert message.fqdn == "kettle.example"
    assert message.mud_url == "https://maker.example/kettle.json"
    assert message.options == (53, 50, 54, 12, 60, 61, 55, 81, 161)


def test_an_ack_tells_what_the_server_hands_out():
    message = read(
        packet(
            option(53, b"\5"),
            option(51, (3600).to_bytes(4, "big")),
            option(3, bytes([10, 0, 0, 1])),
            option(6, bytes([10, 0, 0, 1, 9, 9, 9, 9])),
            option(42, bytes([10, 0, 0, 2])),
            operation=2,
            given=bytes([10, 0, 0, 7]),
        )
    )
    assert (message.message, message.is_reply, message.assigned_address) == ("ack", True, "10.0.0.7")
    assert (message.lease_s, message.routers, message.resolvers) == (3600, ("10.0.0.1",), ("10.0.0.1", "9.9.9.9"))
    assert message.time_servers == ("10.0.0.2",)


def test_options_continue_in_the_name_fields_when_overloaded():
    data = bytearray(packet(option(53, b"\1"), option(52, b"\2")))
    data[44:52] = option(12, b"lamp") + b"\xff\0"
    assert read(bytes(data)).hostname == "lamp"


def test_long_options_are_joined():
    assert read(packet(option(60, b"a" * 200), option(60, b"b" * 10))).vendor_class == "a" * 200 + "b" * 10


def test_a_name_in_label_form_is_read():
    assert read(packet(option(81, b"\x04\0\0\x04lamp\x04home\0"))).fqdn == "lamp.home"


def test_an_option_that_overruns_is_told_and_the_rest_kept():
    message = read(packet(option(12, b"lamp"), end=b"\x3c\x40udhcp"))
    assert message.hostname == "lamp"
    assert message.problem is not None
    assert message.problem.reason == "dhcp: option truncated"


def test_bootp_has_no_options():
    assert read(packet()[:236]).message == "bootp"


@pytest.mark.parametrize("data", [b"", b"\1\1\6", b"\3" + bytes(300), packet()[:200]])
def test_what_is_no_dhcp_is_malformed(data):
    assert isinstance(decode_dhcp(data), Malformed)


def option6(code: int, data: bytes) -> bytes:
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def read6(data: bytes) -> Dhcp6Message:
    message = decode_dhcp6(data)
    assert isinstance(message, Dhcp6Message), message
    return message


SOLICIT = (
    b"\x01\x01\x02\x03"
    + option6(1, b"\0\3\0\1" + MAC)
    + option6(39, b"\0\x04lamp")
    + option6(16, b"\0\0\1\x37\0\x06lampOS")
    + option6(6, b"\0\x17\0\x18")
    + option6(112, b"https://maker.example/lamp.json")
)


def test_a_solicit_tells_who_the_client_is():
    message = read6(SOLICIT)
    assert message.message == "solicit"
    assert message.client_id == "00030001021122334455"
    assert message.client_mac == "02:11:22:33:44:55"
    assert (message.fqdn, message.vendor_class) == ("lamp", "lampOS")
    assert message.mud_url == "https://maker.example/lamp.json"
    assert message.parameters == (23, 24)


def test_addresses_inside_an_association_are_read():
    address = bytes.fromhex("20010db8") + bytes(11) + b"\7"
    association = bytes(12) + option6(5, address + bytes(8))
    message = read6(b"\x07\1\2\3" + option6(3, association))
    assert (message.message, message.addresses) == ("reply", ("2001:db8::7",))


def test_relayed_messages_are_unwrapped_but_not_forever():
    relayed = b"\x0c\0" + bytes(32) + option6(9, SOLICIT)
    assert read6(relayed).client_mac == "02:11:22:33:44:55"
    for _ in range(9):
        relayed = b"\x0c\0" + bytes(32) + option6(9, relayed)
    deep = decode_dhcp6(relayed)
    assert isinstance(deep, Malformed)
    assert deep.reason == "dhcp6: relays nested too deep"
