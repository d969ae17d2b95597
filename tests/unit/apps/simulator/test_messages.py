"""What simulated devices say is understood by the platform's own decoders."""

import pytest

from thingward.apps.simulator import messages
from thingward.apps.simulator.site import ROUTER, sample_site
from thingward.model.record import Malformed
from thingward.wire.dhcp import decode_dhcp
from thingward.wire.dns import decode_dns
from thingward.wire.ntp import decode_ntp
from thingward.wire.ssdp import decode_ssdp

SITE = sample_site(1)
CAMERA = SITE.rogue


def test_a_question_and_its_answer_read_back() -> None:
    query = messages.dns_query(7, "api.cloud.example")
    assert messages.dns_question(query) == (7, "api.cloud.example", messages.A)
    answer = messages.dns_answer(7, "api.cloud.example", messages.A, ["203.0.113.5", "203.0.113.6"], known=True)
    assert messages.dns_addresses(answer) == ["203.0.113.5", "203.0.113.6"]
    assert messages.dns_addresses(messages.dns_answer(7, "no.example", messages.A, [], known=False)) == []
    assert messages.dns_question(b"short") is None


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (decode_dns, messages.dns_query(7, "api.cloud.example")),
        (decode_dns, messages.dns_answer(7, "a.example", messages.A, ["203.0.113.5"], known=True)),
        (decode_dns, messages.mdns_announcement(SITE.device("lamps") or CAMERA)),
        (decode_ssdp, messages.ssdp_notify(CAMERA)),
        (decode_dhcp, messages.dhcp_request(CAMERA, messages.DHCP_REQUEST, 9, ROUTER)),
        (decode_dhcp, messages.dhcp_reply(CAMERA, messages.DHCP_ACK, 9, ROUTER)),
        (decode_ntp, messages.ntp_packet(1_700_000_000.25)),
    ],
)
def test_the_platforms_decoders_take_it(decode, data: bytes) -> None:
    assert not isinstance(decode(data), Malformed)


def test_dhcp_names_the_device_and_its_kind_of_message() -> None:
    asked = messages.dhcp_request(CAMERA, messages.DHCP_REQUEST, 9, ROUTER)
    assert messages.dhcp_kind(asked) == messages.DHCP_REQUEST
    assert CAMERA.hostname.encode() in asked
    assert asked[28:34].hex(":") == CAMERA.mac
    assert messages.dhcp_kind(b"no dhcp") == 0


def test_mqtt_lengths_above_127_take_two_bytes() -> None:
    packet = messages.mqtt_publish("t", bytes(300))
    assert packet[1] & 0x80
    size = (packet[1] & 0x7F) | packet[2] << 7
    assert len(packet) == 3 + size
    assert messages.mqtt_answer(0x10)[:1] == b"\x20"
    assert messages.mqtt_answer(0x30) == b""
