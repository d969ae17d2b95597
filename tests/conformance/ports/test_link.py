"""What every link promises."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from thingward.adapters.link.memory import MemoryLinkClient, MemoryLinkServer
from thingward.adapters.link.spool import Spool, memory_spool
from thingward.adapters.link.unix import UnixLinkClient, UnixLinkServer
from thingward.model.errors import Conflict, InvalidInput, Unavailable
from thingward.ports.link import Frame


class Site:
    """A server and the way to make clients of it, by one adapter."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "link.sock"
        self.server: Any = self.make_server()

    def make_server(self) -> Any:
        return MemoryLinkServer() if self.kind == "memory" else UnixLinkServer(self.path, name="server")

    def client(self, spool: Spool | None = None) -> Any:
        if self.kind == "memory":
            return MemoryLinkClient(self.server, name="client", spool=spool)
        return UnixLinkClient(self.path, name="client", spool=spool, retry_s=(0.005, 0.02))


@pytest.fixture(params=["memory", "unix"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Callable[[Site], Awaitable[None]]], None]:
    def go(scenario: Callable[[Site], Awaitable[None]]) -> None:
        async def inside() -> None:
            await asyncio.wait_for(scenario(Site(request.param, tmp_path)), 20)

        asyncio.run(inside())

    return go


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def test_batches_arrive_in_order_and_are_acknowledged_when_the_handler_returned(run: Any) -> None:
    async def scenario(site: Site) -> None:
        taken: list[tuple[str, int, bytes]] = []
        gate = asyncio.Event()

        async def handler(peer: str, frame: Frame) -> None:
            taken.append((peer, frame.sequence, frame.body))
            await gate.wait()

        site.server.serve("observations", handler)
        await site.server.start()
        client = site.client()
        await client.start()
        numbers = [await client.send("observations", b"%d" % n) for n in range(5)]
        assert numbers == sorted(set(numbers))
        await until(lambda: bool(taken))
        assert await client.acknowledged() < numbers[0]
        gate.set()
        await until(lambda: client.spool.acknowledged == numbers[-1])
        assert [(number, body) for _, number, body in taken] == [(n, b"%d" % i) for i, n in enumerate(numbers)]
        assert {peer for peer, _, _ in taken} == {f"client#{client.spool.stream}"}
        await client.close()
        await site.server.close()

    run(scenario)


def test_what_was_sent_while_the_other_side_was_away_arrives_later(run: Any) -> None:
    async def scenario(site: Site) -> None:
        taken: list[bytes] = []

        async def handler(peer: str, frame: Frame) -> None:
            taken.append(frame.body)

        site.server.serve("observations", handler)
        client = site.client()
        await client.start()
        await client.send("observations", b"early")
        with pytest.raises(Unavailable):
            await client.call("ask", b"", timeout_s=0.02)
        assert taken == []
        await site.server.start()
        await until(lambda: taken == [b"early"])
        await client.close()
        await site.server.close()

    run(scenario)


def test_a_batch_that_should_be_tried_again_is_and_a_refused_one_is_not(run: Any) -> None:
    async def scenario(site: Site) -> None:
        attempts: list[bytes] = []

        async def handler(peer: str, frame: Frame) -> None:
            attempts.append(frame.body)
            if frame.body == b"later" and attempts.count(b"later") < 3:
                raise Unavailable("not now.")
            if frame.body == b"bad":
                raise InvalidInput("no batch.")

        site.server.serve("observations", handler)
        await site.server.start()
        client = site.client()
        await client.start()
        await client.send("observations", b"bad")
        await client.send("observations", b"later")
        last = await client.send("observations", b"good")
        await until(lambda: client.spool.acknowledged == last)
        assert attempts.count(b"later") == 3
        assert attempts[-1] == b"good"
        assert client.refused >= 1
        assert "input.invalid" in client.refusal
        await client.close()
        await site.server.close()

    run(scenario)


def test_a_call_gives_the_answer_or_the_other_sides_error(run: Any) -> None:
    async def scenario(site: Site) -> None:
        async def handler(peer: str, frame: Frame) -> Frame | None:
            if frame.body == b"conflict":
                raise Conflict("it changed.")
            if frame.body == b"nothing":
                return None
            return Frame(kind="answer", body=frame.body.upper())

        async def silent(peer: str, frame: Frame) -> None:
            await asyncio.Event().wait()

        site.server.serve("ask", handler)
        site.server.serve("silent", silent)
        await site.server.start()
        client = site.client()
        await client.start()
        assert await client.call("ask", b"hello") == b"HELLO"
        assert await client.call("ask", b"nothing") == b""
        with pytest.raises(Conflict, match="it changed"):
            await client.call("ask", b"conflict")
        with pytest.raises(InvalidInput):
            await client.call("nobody", b"")
        with pytest.raises(Unavailable):
            await client.call("silent", b"", timeout_s=0.02)
        answers = await asyncio.gather(*(client.call("ask", b"n%d" % n) for n in range(20)))
        assert answers == [b"N%d" % n for n in range(20)]
        await client.close()
        await site.server.close()

    run(scenario)


def test_pushes_reach_subscribers_only(run: Any) -> None:
    async def scenario(site: Site) -> None:
        async def pong(peer: str, frame: Frame) -> None:
            return None

        site.server.serve("ping", pong)
        await site.server.start()
        heard: list[bytes] = []

        async def listener(body: bytes) -> None:
            heard.append(body)

        subscriber, other = site.client(), site.client()
        subscriber.subscribe("live", listener)
        for client in (subscriber, other):
            await client.start()
            await client.call("ping", b"")
        assert await site.server.push("live", b"news") == 1
        assert await site.server.push("else", b"nothing") == 0
        await until(lambda: heard == [b"news"])
        await subscriber.close()
        await other.close()
        await site.server.close()

    run(scenario)


def test_a_server_that_comes_back_gets_what_it_never_acknowledged(run: Any) -> None:
    async def scenario(site: Site) -> None:
        taken: list[int] = []

        async def handler(peer: str, frame: Frame) -> None:
            taken.append(frame.sequence)
            if len(taken) == 3:
                raise Unavailable("crashing now.")

        site.server.serve("observations", handler)
        await site.server.start()
        client = site.client(memory_spool())
        await client.start()
        numbers = [await client.send("observations", bytes([n])) for n in range(10)]
        await until(lambda: len(taken) >= 3)
        await site.server.close()
        await site.server.start()
        await until(lambda: client.spool.acknowledged == numbers[-1])
        assert sorted(set(taken)) == numbers
        assert client.spool.pending == 0
        await client.close()
        await site.server.close()

    run(scenario)


def test_what_was_only_seen_stays_with_the_sender_and_comes_again_after_a_cut(run: Any) -> None:
    async def scenario(site: Site) -> None:
        taken: list[int] = []
        durable = False

        async def handler(peer: str, frame: Frame) -> Frame | None:
            taken.append(frame.sequence)
            return None if durable else Frame(kind="seen")

        site.server.serve("observations", handler)
        await site.server.start()
        client = site.client()
        await client.start()
        numbers = [await client.send("observations", b"%d" % n) for n in range(200)]
        await until(lambda: taken == numbers)
        assert await client.acknowledged() == 0
        assert client.spool.pending == 200
        durable = True
        site.server.cut(f"client#{client.spool.stream}")
        await until(lambda: client.spool.acknowledged == numbers[-1])
        assert taken == numbers * 2
        await client.close()
        await site.server.close()

    run(scenario)
