"""What messages mean is worked out once, also where it depends on the kind of sender."""

from __future__ import annotations

from thingward.model.observation import Endpoint, IdentityData
from thingward.sensing.meanings import RECEIVER, SENDER, Meanings
from thingward.sensing.sensor_payloads import PayloadLimits
from thingward.wire.dhcp import DhcpMessage
from thingward.wire.dns import DnsMessage, DnsRecord

GROUP = Endpoint(mac="01:00:5e:00:00:fb", ip="224.0.0.251", port=5353)


def host(last: int) -> Endpoint:
    return Endpoint(mac=f"02:00:00:00:00:{last:02x}", ip=f"10.0.0.{last}", port=5353)


def announcement() -> tuple[DnsMessage, ...]:
    record = DnsRecord(name="cam.local", rrtype="A", value="10.0.0.1", ttl_s=120)
    return (DnsMessage(transport="mdns", is_response=True, answers=(record,)),)


def test_an_announcement_counts_less_from_another_and_is_worked_out_once_for_all_others() -> None:
    meanings, messages = Meanings(PayloadLimits()), announcement()
    own, one, other = (meanings.of(messages, host(last), GROUP) for last in (1, 2, 3))
    weights = [[b.data.confidence for b in m.bodies if isinstance(b.data, IdentityData)] for m in (own, one, other)]
    assert weights == [[1.0], [0.3], [0.3]]
    assert other is one and meanings.of(messages, host(1), GROUP) is own
    assert all(body.src is SENDER and body.dst is RECEIVER for body in (*own.bodies, *one.bodies))


def test_what_names_its_sender_is_not_taken_for_another_sender() -> None:
    meanings = Meanings(PayloadLimits())
    messages = (DhcpMessage(message="discover", is_reply=False, hostname="cam"),)
    first, second = (meanings.of(messages, host(last), GROUP) for last in (1, 2))
    assert [body.src.mac for body in (*first.bodies, *second.bodies) if body.src] == [
        *["02:00:00:00:00:01"] * len(first.bodies),
        *["02:00:00:00:00:02"] * len(second.bodies),
    ]
    assert meanings.of(messages, host(1), GROUP) is first
