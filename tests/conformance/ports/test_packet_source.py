"""What every source of live packets promises."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.unit.wire.frames import batch, ether, ip4, udp
from thingward.adapters.packets.afpacket import AfPacketSource, RingLimits
from thingward.adapters.packets.memory import MemoryPackets
from thingward.model.errors import InvalidInput, Unavailable
from thingward.ports.packet_source import PacketSource
from thingward.wire.packets.scan import scan_ring

FRAME = ether(ip4(udp(b"conformance", 40001, 40002)))


@dataclass
class Case:
    """A source, and how a frame gets to it."""

    source: PacketSource
    send: Callable[[bytes], object]


def on_loopback() -> Iterator[Case]:
    limits = RingLimits(block_bytes=1 << 16, blocks=4, retire_ms=10)
    source = AfPacketSource("lo", walk=scan_ring, uid="lo", limits=limits).open()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("lo", 0))
        yield Case(source, sender.send)
    source.close()


@pytest.fixture(params=["memory", pytest.param("afpacket", marks=pytest.mark.root)])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "memory":
        source = MemoryPackets()
        yield Case(source, lambda frame: source.offer(batch([frame])))
    else:
        yield from on_loopback()


def frames(source: PacketSource, wanted: int) -> list[bytes]:
    """Read until so many of our frames have come, or nothing comes any more."""
    found: list[bytes] = []
    while len(found) < wanted and (one := source.read(1.0)) is not None:
        for at, size in zip(one.offset.tolist(), one.caplen.tolist(), strict=True):
            frame = one.data[at : at + size].tobytes()
            if frame[:40] == FRAME[:40]:
                found.append(frame)
    return found


def test_packets_arrive_whole_and_in_order(case: Case) -> None:
    sent = [FRAME + bytes([i]) for i in range(5)]
    for frame in sent:
        case.send(frame)
    got = frames(case.source, 5)
    assert list(dict.fromkeys(got)) == sent


def test_a_batch_is_complete(case: Case) -> None:
    case.send(FRAME)
    while (one := case.source.read(1.0)) is not None:
        size = len(one)
        assert size == len(one.caplen) == len(one.wirelen) == len(one.ts_ns) == len(one.link)
        assert len(one.vlan) in (0, size)
        assert (one.ts_ns > 1_500_000_000 * 10**9).all()
        if any(one.data[at : at + 40].tobytes() == FRAME[:40] for at in one.offset.tolist()):
            return
    pytest.fail("the frame did not come")


def test_nothing_is_none(case: Case) -> None:
    frames(case.source, 1000)
    assert case.source.read(0.0) is None


def test_losses_are_told_once(case: Case) -> None:
    case.source.losses()
    case.send(FRAME)
    frames(case.source, 1)
    assert case.source.losses().packets >= 1
    assert case.source.losses().packets == 0


def test_close_twice_then_it_is_away(case: Case) -> None:
    case.source.close()
    case.source.close()
    assert case.source.fileno() == -1
    with pytest.raises(Unavailable):
        case.source.read(0.0)


def test_memory_counts_what_has_no_room() -> None:
    source = MemoryPackets(room=1)
    source.offer(batch([FRAME]))
    source.offer(batch([FRAME, FRAME]))
    losses = source.losses()
    assert (losses.packets, losses.dropped) == (3, 2)


@pytest.mark.root
def test_an_interface_can_be_opened_again() -> None:
    for case in on_loopback():
        source = case.source
        assert isinstance(source, AfPacketSource)
        for turn in range(3):
            case.send(FRAME + bytes([turn]))
            assert FRAME + bytes([turn]) in frames(source, 2)
            source.open()


@pytest.mark.root
def test_no_such_interface() -> None:
    with pytest.raises(InvalidInput, match="no interface nowhere0"):
        AfPacketSource("nowhere0", walk=scan_ring).open()
