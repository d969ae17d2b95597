"""The process `logs` with real files and sockets, in front of a core that only takes notes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys

from thingward.adapters.link.unix import UnixLinkServer
from thingward.model.codec import decode_batch
from thingward.model.observation import DnsData, LogData, StatusData
from thingward.runtime.channels import OBSERVATIONS

EVE = {
    "timestamp": "2026-01-02T03:04:05.000000+0000",
    "event_type": "dns",
    "src_ip": "192.168.1.20",
    "src_port": 40000,
    "dest_ip": "192.168.1.1",
    "dest_port": 53,
    "proto": "UDP",
    "dns": {"type": "query", "id": 1, "rrname": "one.example.org", "rrtype": "A"},
}
ZEEK = "#separator \\x09\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tquery\tqtype_name\n"


class NotedCore:
    """Keeps what came."""

    def __init__(self, path):
        self.records = {}
        self.server = UnixLinkServer(path, name="core")
        self.server.serve(OBSERVATIONS, self.take)

    async def take(self, peer, frame):
        for record in decode_batch(frame.body):
            self.records[record.uid] = record

    def bodies(self, kind):
        return [record.data for record in self.records.values() if isinstance(record.data, kind)]

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.05)


def eve_line(name: str) -> str:
    return json.dumps({**EVE, "dns": {**EVE["dns"], "rrname": name}}) + "\n"


def free_port() -> int:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return tcp.getsockname()[1]


@contextlib.asynccontextmanager
async def logs_process(home, **settings):
    environment = {**os.environ, "THINGWARD_DATA_DIR": str(home)}
    environment |= {f"THINGWARD_SENSOR__{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "thingward.apps.logs", env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def append(path, text):
    with path.open("a") as stream:
        stream.write(text)


def test_files_are_followed_over_rotation_and_a_killed_process(tmp_path):
    async def run():
        core = NotedCore(tmp_path / "data" / "run" / "core.sock")
        await core.server.start()
        eve, zeek = tmp_path / "eve.json", tmp_path / "zeek"
        zeek.mkdir()
        append(eve, eve_line("one.example.org"))
        append(zeek / "dns.log", ZEEK + "1.0\tC1\t192.168.1.9\t5\t192.168.1.1\t53\tudp\tz1.example.org\tA\n")
        append(
            zeek / "dns.2026-01-01-00-00-00.log",
            ZEEK + "0.5\tC0\t192.168.1.9\t5\t192.168.1.1\t53\tudp\told.example\tA\n",
        )

        def names():
            return {body.qname for body in core.bodies(DnsData)}

        inputs = {"eve_files": str(eve), "zeek_folders": str(zeek)}
        async with logs_process(tmp_path / "data", **inputs) as process:
            await core.until(lambda: {"one.example.org", "z1.example.org"} <= names())
            eve.rename(tmp_path / "eve.json.1")
            append(eve, eve_line("two.example.org"))
            await core.until(lambda: "two.example.org" in names())
            positions = tmp_path / "data" / "logs" / "positions.json"
            await core.until(
                lambda: str(eve) in json.loads(positions.read_text() or "{}") if positions.exists() else False
            )
            process.send_signal(signal.SIGKILL)
            await process.wait()
        count = len(core.bodies(DnsData))
        append(eve, eve_line("three.example.org"))
        append(zeek / "dns.log", "2.0\tC2\t192.168.1.9\t5\t192.168.1.1\t53\tudp\tz2.example.org\tA\n")
        async with logs_process(tmp_path / "data", **inputs):
            await core.until(lambda: {"three.example.org", "z2.example.org"} <= names())
        assert "old.example" not in names()
        assert len(core.bodies(DnsData)) == count + 2  # nothing twice: what is read again has the same uid
        assert "alive" in {body.status for body in core.bodies(StatusData)}
        await core.server.close()

    asyncio.run(run())


def test_syslog_arrives_over_both_transports_and_in_both_framings(tmp_path):
    async def run():
        port = free_port()
        async with logs_process(tmp_path / "data", syslog_listen=f"127.0.0.1:{port}") as process:
            core = NotedCore(tmp_path / "data" / "run" / "core.sock")
            await until_listening(port, process)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(b"<13>Jan  2 03:04:05 camera app: by datagram", ("127.0.0.1", port))
            with socket.create_connection(("127.0.0.1", port)) as tcp:
                counted = b"<14>1 2026-01-02T03:04:05Z camera app - - - counted"
                tcp.sendall(b"%d %s<13>camera: by line\n" % (len(counted), counted))
                tcp.sendall(b"\xff\xfe no syslog\n")
            await asyncio.sleep(0)
            await core.server.start()  # core was away: the spool has kept it
            await core.until(lambda: len(core.bodies(LogData)) == 3)
            assert {body.message for body in core.bodies(LogData)} == {"by datagram", "counted", "by line"}
            assert {record.src.ip for record in core.records.values() if isinstance(record.data, LogData)} == {
                "127.0.0.1"
            }
            assert any(body.status == "started" for body in core.bodies(StatusData))
            process.terminate()
            assert await process.wait() == 0
            await core.server.close()

    asyncio.run(run())


async def until_listening(port, process):
    async with asyncio.timeout(60):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            await asyncio.sleep(0.05)
    raise AssertionError("the process ended")
