"""Dropped captures: the child's bounds hold, the sender gets a plain error, and nothing is left lying about."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_api_platform import Running, judged
from tests.e2e.test_sensor import mixed, write_capture
from thingward.apps.server.backend import Options
from thingward.apps.server.captures import Capture, CaptureDesk, bound_command
from thingward.apps.server.metrics import Metrics

pytestmark = pytest.mark.servers

PATIENCE_S = 120.0


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


def judge_with(tmp_path: Path, program: str, **bounds: int) -> Capture:
    """Drop a capture on a desk that judges with this program."""
    command = (sys.executable, "-c", program, "{capture}", "{output}")
    desk = CaptureDesk(Options(data_dir=tmp_path, guard_command=command, **bounds), Metrics(), time.time)

    async def scenario() -> Capture:
        await desk.start()
        uid = (await desk.receive(pieces(b"capture"), "a.pcap", "u-1")).uid
        async with asyncio.timeout(PATIENCE_S):
            while desk.get(uid).state not in ("done", "failed"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        await desk.stop()
        return desk.get(uid)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(600)",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', *sys.argv])",
    ],
    ids=["working", "sleeping", "with a child of its own"],
)
def test_time_is_bounded(tmp_path: Path, program: str) -> None:
    row = judge_with(tmp_path, program, capture_time_limit_s=2)
    assert row.state == "failed"
    assert re.search(r"longer than the 2 s|more time or memory", row.error), row.error
    left = subprocess.run(["pgrep", "-f", re.escape(str(tmp_path))], capture_output=True, check=False)
    assert left.stdout == b""
    assert [path.name for path in (tmp_path / "captures" / row.uid).iterdir()] == ["capture.json"]


def test_memory_is_bounded(tmp_path: Path) -> None:
    taking = "import sys; open(sys.argv[2] + '.tried', 'w'); x = bytearray(2 << 30)"
    row = judge_with(tmp_path, taking, capture_memory_bytes=1 << 30)
    assert row.state == "failed"
    assert "MemoryError" in row.error, "what a child says last is passed on"
    assert (tmp_path / "captures" / row.uid / "result.msgpack.tried").exists()


def test_guard_itself_out_of_memory_says_so(tmp_path: Path) -> None:
    """The real child's own words, with a guard that asks for too much."""
    greedy = (
        "import sys\nimport thingward.runtime.guard as g\n"
        "def run_guard(*_): bytearray(4 << 30)\n"
        "g.run_guard = run_guard\nfrom thingward.apps.server.judge import main\n"
        "sys.exit(main([sys.argv[1], sys.argv[2], 'home']))"
    )
    row = judge_with(tmp_path, greedy, capture_memory_bytes=3 << 30)
    assert row.error == "it needs more memory than a dropped capture may use (server.capture_memory_mb)."


def test_the_size_of_what_it_writes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thingward.apps.server.captures.RESULT_LIMIT_BYTES", 1 << 20)
    row = judge_with(tmp_path, "import sys; open(sys.argv[2], 'wb').write(b'x' * (2 << 20))")
    assert row.state == "failed"
    assert row.error
    assert sum(path.stat().st_size for path in (tmp_path / "captures").rglob("*") if path.is_file()) <= 2 << 20


LOOK = """
import json, os, resource, socket, sys
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
said = {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Uid")}
said["files"] = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
said["core"] = resource.getrlimit(resource.RLIMIT_CORE)[1]
said["interfaces"] = [name for _, name in socket.if_nameindex()]
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
    said["reached"] = True
except OSError:
    said["reached"] = False
open("made", "w").close()
print(json.dumps(said))
"""


def test_it_has_no_capability_and_no_network(tmp_path: Path) -> None:
    may = subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = bound_command(
            [sys.executable, "-c", LOOK, str(listener.getsockname()[1])], Options(data_dir=tmp_path)
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    said = json.loads(done.stdout)
    assert {said[name].strip("0") for name in ("CapEff", "CapPrm")} == {""}
    assert said["NoNewPrivs"] == "1"
    assert (said["files"], said["core"]) == (256, 0)
    assert (tmp_path / "made").stat().st_uid == os.geteuid()
    if may:
        assert not said["reached"]
        assert said["interfaces"] == ["lo"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("THINGWARD_SERVER__CAPTURE_TIME_LIMIT_S", "30")
    patch.setenv("THINGWARD_SERVER__UPLOAD_LIMIT_MB", "8")
    running = Running(tmp_path_factory.mktemp("bounds"))
    patch.undo()
    yield running
    running.close()


def kept(platform) -> set[str]:
    """Files below the folder of captures, but for the notes of what came of them."""
    files = (path for path in (platform.folder / "captures").rglob("*") if path.is_file())
    return {path.name for path in files} - {"capture.json", "result.msgpack"}


def drop(platform, content, name="a.pcap"):
    with platform.client() as http:
        made = http.post("/captures", params={"name": name}, content=content)
        assert made.status_code == 201, made.text
        row = judged(platform, http, made.json()["uid"])
    assert "Traceback" not in row["error"]
    assert kept(platform) == set()
    return row


def pcap(tmp_path, packets=200) -> bytes:
    write_capture(tmp_path / "c.pcap", mixed(packets))
    return (tmp_path / "c.pcap").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["text", "random", "gz of text", "zip", "only the head of gz", "truncated gz head"])
def test_what_is_no_capture_gets_a_plain_error(platform, tmp_path, what):
    content = {
        "text": b"this is no capture\n" * 100,
        "random": random.Random(1).randbytes(100_000),
        "gz of text": gzip.compress(b"nothing to see\n" * 1000),
        "zip": b"PK\x03\x04" + bytes(200),
        "only the head of gz": b"\x1f\x8b\x08\x00",
        "truncated gz head": gzip.compress(pcap(tmp_path))[:12],
    }[what]
    row = drop(platform, content)
    assert row["state"] == "failed"
    assert re.search(r"not a capture|gzip|ZIP", row["error"]), row


@pytest.mark.slow
def test_of_a_cut_archive_what_came_before_is_judged_and_the_cut_is_said(platform, tmp_path):
    packed = gzip.compress(pcap(tmp_path, 3000))
    row = drop(platform, packed[: len(packed) // 2], "cut.pcap.gz")
    assert row["state"] == "done", row
    assert 0 < row["summary"]["packets"] < 3020
    assert row["summary"]["malformed"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("what", ["zeros", "packets of nothing"])
def test_an_archive_that_unpacks_to_far_more_is_ended_in_time(platform, tmp_path, what):
    head = pcap(tmp_path, 1)[:24] if what == "packets of nothing" else b""
    bomb = gzip.compress(head) + gzip.compress(bytes(64 << 20)) * 60  # members one after the other: 3.8 GB
    assert len(bomb) < 8 << 20
    row = drop(platform, bomb, "bomb.pcap.gz")
    assert row["state"] == "failed" or row["summary"]["packets"] > 0
    if row["state"] == "failed":
        assert re.search(r"not a capture|longer than the|more time or memory", row["error"]), row


def test_nothing_and_too_much_are_refused_and_leave_nothing(platform):
    before = set((platform.folder / "captures").glob("*"))
    with platform.client() as http:
        empty = http.post("/captures", content=b"")
        assert (empty.status_code, empty.json()["code"]) == (422, "input.invalid")
        large = http.post("/captures", content=b"x" * (9 << 20))
        assert (large.status_code, large.json()["code"]) == (413, "input.too_large")
    assert set((platform.folder / "captures").glob("*")) == before


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_connection_cut_midway_leaves_nothing_and_is_judged_by_nobody(platform, how):
    before = set((platform.folder / "captures").glob("*"))
    url = httpx.URL(platform.address)
    head = f"POST /api/v1/captures?name=cut HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {platform.access.token}\r\n"
    head += "Content-Length: 1000000\r\n\r\n" if how == "length" else "Transfer-Encoding: chunked\r\n\r\n2710\r\n"
    with socket.create_connection((url.host, url.port)) as sock:
        sock.sendall(head.encode() + b"x" * 10_000 + (b"\r\n" if how == "chunked" else b""))
        platform.until(lambda: set((platform.folder / "captures").glob("*")) != before)
    platform.until(lambda: set((platform.folder / "captures").glob("*")) == before)
    with platform.client() as http:
        assert not [row for row in http.get("/captures").json()["items"] if row["name"] == "cut"]
        assert http.get("/status").status_code == 200
