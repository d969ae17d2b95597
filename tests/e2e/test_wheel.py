"""The wheel built from a clean tree installs by the hashed lock into an empty environment and does its job there."""

from __future__ import annotations

import json
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from thingward import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
MAX_INSTALLED_MB = 600
DEVICE, ROUTER = "02:00:5e:00:00:17", "02:00:5e:00:00:01"


def run(command: list[object], **options) -> str:
    """The output of a program that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from what is committed, so that nothing left in the working tree can help."""
    folder = tmp_path_factory.mktemp("wheel")
    archive = folder / "tree.tar"
    run(["git", "archive", "--output", archive, "HEAD"], cwd=ROOT)
    with tarfile.open(archive) as tree:
        tree.extractall(folder / "tree", filter="data")
    # `pip wheel` in an environment of its own is what a user's pip does; here its build tools are the locked ones.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*command, "--wheel-dir", folder, folder / "tree"])
    (built,) = folder.glob("thingward-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Iterator[Path]:
    """An empty environment with the locked packages and the wheel; removed afterwards, for it is large."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run([sys.executable, "-m", "venv", venv])
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", ROOT / "requirements.lock"])
    run([*pip, "--no-deps", wheel])
    run([venv / "bin/python", "-m", "pip", "check"])
    yield venv
    shutil.rmtree(venv)


@pytest.fixture
def outside(tmp_path, monkeypatch) -> Path:
    """A place outside the checkout, with a home of its own and nothing of this environment."""
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_brings_the_front_end_and_its_licences(wheel):
    vendor = {Path(name).name for name in names_in(wheel) if "/static/vendor/" in name}
    assert {"htmx.min.js", "htmx-sse.min.js", "uplot.min.js", "uplot.min.css"} <= vendor
    assert {"htmx.LICENSE.txt", "uplot.LICENSE.txt"} <= vendor
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names_in(wheel))
    assert {"thingward/py.typed", "thingward/docs/adr/0001-the-house.md"} <= set(names_in(wheel))


def test_wheel_holds_nothing_but_the_package(wheel):
    strange = [name for name in names_in(wheel) if not name.startswith(("thingward/", "thingward-"))]
    assert strange == []
    kinds = {Path(name).suffix for name in names_in(wheel)}
    assert not kinds & {".pcap", ".pcapng", ".cap", ".gz", ".log", ".pyc", ".map", ".nbi", ".nbc"}


def test_installed_size(installed):
    size = sum(path.lstat().st_blocks * 512 for path in installed.rglob("*") if not path.is_dir())
    assert size / 1e6 <= MAX_INSTALLED_MB


def test_version(installed, outside):
    assert __version__ in run([installed / "bin/thingward", "--version"])
    assert __version__ in run([installed / "bin/python", "-m", "thingward", "--version"])


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet_udp(source: str, target: str, ports: tuple[int, int], body: bytes, hosts: tuple[int, int]) -> bytes:
    """One frame between two hosts of 192.0.2.0/24."""
    udp = struct.pack("!HHHH", *ports, 8 + len(body), 0) + body
    addresses = bytes([192, 0, 2, hosts[0], 192, 0, 2, hosts[1]])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
    return mac_bytes(target) + mac_bytes(source) + b"\x08\x00" + header + udp


def write_capture(path: Path) -> int:
    """A device asks the router for a name every minute; gives the number of packets."""
    question = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06device\x07example\x00\x00\x01\x00\x01"
    answer = (
        b"\x00\x01\x81\x80\x00\x01\x00\x01"
        + question[8:]
        + b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x50"
    )
    answer = answer[:6] + b"\x00\x01\x00\x00\x00\x00" + answer[12:]
    records = b""
    for minute in range(30):
        asked = ethernet_udp(DEVICE, ROUTER, (40000 + minute, 53), question, (23, 1))
        told = ethernet_udp(ROUTER, DEVICE, (53, 40000 + minute), answer, (1, 23))
        for part, frame in enumerate((asked, told)):
            records += struct.pack("<IIII", 1_700_000_000 + 60 * minute, part * 1000, len(frame), len(frame)) + frame
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records)
    return 60


def test_guard_works_outside_the_checkout(installed, outside):
    packets = write_capture(outside / "small.pcap")
    output = run([installed / "bin/thingward", "guard", "small.pcap", "-o", "ndjson"])
    rows = [json.loads(line) for line in output.splitlines()]
    (capture,) = [row for row in rows if row["kind"] == "capture"]
    assert capture["packets"] == packets
    macs = {mac for row in rows if row["kind"] == "device" for mac in row["macs"]}
    assert {DEVICE, ROUTER} <= macs


def test_guard_works_where_nothing_can_be_cached(installed, outside, monkeypatch):
    """No home: the kernels are then compiled in memory."""
    write_capture(outside / "small.pcap")
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    output = run([installed / "bin/thingward", "guard", "small.pcap", "-o", "ndjson"])
    assert [row["kind"] for row in map(json.loads, output.splitlines())].count("device") == 2


def fetch(address: str, jar: CookieJar) -> str:
    """Give a page's text; an answer that is no 2xx raises."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with opener.open(address, timeout=30) as answer:
        return answer.read().decode()


def test_the_platform_runs_from_the_wheel(installed, outside, monkeypatch):
    monkeypatch.setenv("THINGWARD_ENFORCE__PATH", "off")
    command = [installed / "bin/thingward", "up", "--data-dir", outside / "data", "--port", "0"]
    platform = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert platform.stdout is not None
        said = ""
        for line in platform.stdout:
            said += line
            if line.startswith("Log in"):
                break
        console, login = re.findall(r"http://127\.0\.0\.1:\d+\S*", said)[:2]
        assert console.rstrip("/") in login, said
        jar = CookieJar()
        assert fetch(console.rstrip("/") + "/healthz", jar)
        page = fetch(login, jar)
        if "<form" in page and "/static/" not in page:
            page = fetch(console, jar)
        scripts = re.findall(r'(?:src|href)="(/static/[^"]+\.(?:js|css))', page)
        assert scripts, page[:2000]
        for name in scripts:
            assert len(fetch(console.rstrip("/") + name, jar)) > 100, name
        assert len(fetch(console.rstrip("/") + "/static/vendor/htmx.min.js", jar)) > 10_000
        platform.send_signal(signal.SIGINT)
        assert platform.wait(60) == 0
    finally:
        platform.kill()
        platform.wait()
