"""Each way out against a real listener on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from thingward.adapters.notifier.email import EmailNotifier
from thingward.adapters.notifier.memory import MemoryNotifier
from thingward.adapters.notifier.ocsf_file import OcsfFileNotifier
from thingward.adapters.notifier.syslog import SyslogNotifier
from thingward.adapters.notifier.webhook import WebhookNotifier
from thingward.model.errors import InvalidInput, NotFound, Unavailable
from thingward.model.finding import Finding
from thingward.model.flow import Notify
from thingward.runtime.notify import Dispatcher, NotifySettings, Outbox

pytestmark = pytest.mark.servers

MESSAGE = Notify(
    uid="n1", tenant="default", key="k", title="Camera\r\nX: shut out", text="It scanned.", urgency=5, case="c1"
)
FINDING = Finding(uid="f1", tenant="default", time=1.0, source="s", rule="scan.ports", title="Port scan", device="d1")


class Receiver(BaseHTTPRequestHandler):
    status = 200
    calls: list[tuple[dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).calls.append((dict(self.headers), body))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[type[Receiver], str]]:
    handler = type("Handler", (Receiver,), {"calls": [], "status": 200})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def test_webhook_is_signed(receiver: tuple[type[Receiver], str]) -> None:
    handler, url = receiver
    asyncio.run(WebhookNotifier(url, b"secret", lambda: 1000.0).notify("default", MESSAGE))
    (headers, body), *rest = handler.calls
    assert not rest
    lower = {name.lower(): value for name, value in headers.items()}
    expected = hmac.new(b"secret", b"1000." + body, hashlib.sha256).hexdigest()
    assert lower["x-thingward-signature"] == f"sha256={expected}"
    assert json.loads(body)["message"]["case"] == "c1"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_webhook_failure_is_retryable(receiver: tuple[type[Receiver], str], status: int) -> None:
    handler, url = receiver
    handler.status = status
    with pytest.raises(Unavailable, match=str(status)):
        asyncio.run(WebhookNotifier(url, b"", lambda: 0.0).notify("default", MESSAGE))


def test_email_reaches_a_server_and_no_line_break_reaches_a_header() -> None:
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        data = False
        while line := await reader.readline():
            lines.append(line)
            if data:
                if line == b".\r\n":
                    data = False
                    writer.write(b"250 ok\r\n")
            elif line.upper().startswith(b"DATA"):
                data = True
                writer.write(b"354 go\r\n")
            elif line.upper().startswith(b"QUIT"):
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        channel = EmailNotifier(
            "127.0.0.1",
            port,
            sender="t@example.org",
            to=("o@example.org",),
            security="none",
            console="https://thingward.example/",
        )
        await channel.notify("default", MESSAGE)
        server.close()

    asyncio.run(run())
    assert b"Subject: [thingward] Camera X: shut out\r\n" in lines
    assert not any(line.startswith(b"X:") for line in lines)
    assert b"It scanned.\r\n" in lines
    assert any(line.startswith(b"Date: ") for line in lines), "RFC 5322, clause 3.6"
    assert any(line.startswith(b"Message-ID: <") for line in lines)
    assert any(line.startswith(b"https://thingward.example") for line in lines)


def test_syslog_over_udp_and_tcp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        channel = SyslogNotifier(f"udp://127.0.0.1:{listener.getsockname()[1]}", lambda: 0.0)
        asyncio.run(channel.export("default", FINDING))
        line = listener.recv(4096)
    assert b" thingward - finding [thingward@32473 " in line and line.endswith(b"Port scan")

    async def over_tcp() -> bytes:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.read(4096))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        channel = SyslogNotifier(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: 0.0)
        await channel.export("default", FINDING)
        data = await asyncio.wait_for(got, 5)
        server.close()
        return data

    framed = asyncio.run(over_tcp())
    length, _, rest = framed.partition(b" ")
    assert len(rest) == int(length)


def test_syslog_wrong_address() -> None:
    with pytest.raises(InvalidInput, match="udp://"):
        SyslogNotifier("http://x", lambda: 0.0)


def test_ocsf_lines(tmp_path: Path) -> None:
    path = tmp_path / "ocsf.jsonl"
    channel = OcsfFileNotifier(path, lambda record: {"uid": record.uid} if isinstance(record, Finding) else None)
    asyncio.run(channel.export("default", FINDING))
    asyncio.run(channel.export("default", FINDING))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"uid": "f1"}, {"uid": "f1"}]
    assert path.stat().st_mode & 0o077 == 0


def test_a_dead_channel_stops_no_other() -> None:
    async def run() -> tuple[MemoryNotifier, MemoryNotifier, Dispatcher]:
        dead, alive = MemoryNotifier("dead"), MemoryNotifier("alive")
        dead.away = True
        dispatcher = Dispatcher([dead, alive], Outbox(NotifySettings()), lambda: 1000.0, retry_s=0.0)
        dispatcher.start()
        assert dispatcher.notify(MESSAGE)
        dispatcher.export("default", [FINDING])
        async with asyncio.timeout(5):
            while not alive.records or dispatcher.dropped.get("dead") != 2:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0)
        await dispatcher.test("alive", MESSAGE)
        with pytest.raises(NotFound, match="alive"):
            await dispatcher.test("none", MESSAGE)
        await dispatcher.close()
        return dead, alive, dispatcher

    dead, alive, dispatcher = asyncio.run(run())
    assert len(alive.messages) == 2 and not dead.messages
    assert "dead is away" in dispatcher.failed["dead"]
