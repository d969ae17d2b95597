"""API and console on the real platform: sign in, drop a capture, import it, approve, follow the stream, survive a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.conftest import chromium
from thingward.runtime.local_access import read_local_access
from thingward.runtime.platform_status import read_platform_status

pytestmark = [pytest.mark.slow, pytest.mark.servers]


class Running:
    """The supervisor and everything below it, on a data folder of its own."""

    def __init__(self, folder, *arguments, scheme="http"):
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "thingward.apps.supervisor",
            "--data-dir",
            str(folder),
            "--port",
            "0",
            *arguments,
        ]
        environment = {**os.environ, "THINGWARD_ENFORCE__PATH": "off"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        assert line.startswith("Console: "), line
        self.address = line.removeprefix("Console: ").strip().rstrip("/")
        assert self.address.startswith(scheme + "://")
        self.link = self.process.stdout.readline().split()[-1]
        self.until(lambda: read_local_access(folder / "run") is not None)
        self.access = read_local_access(folder / "run")

    def client(self, **more):
        headers = {"authorization": f"Bearer {self.access.token}"}
        return httpx.Client(base_url=self.address + "/api/v1", headers=headers, timeout=30, trust_env=False, **more)

    @staticmethod
    def until(condition, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.1)
        return found

    def pid(self, name):
        status = read_platform_status(self.folder / "run")
        return next(row.pid for row in status.processes if row.name == name)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("platform"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def capture(data_dir):
    found = sorted((data_dir / "mqttset-reduced").rglob("*.pcap"), key=lambda path: path.stat().st_size)
    assert found
    return next(path for path in found if path.stat().st_size > 100_000)


def judged(platform, http, uid):
    def ended():
        row = http.get(f"/captures/{uid}").json()
        return row if row["state"] in ("done", "failed") else None

    return platform.until(ended, 180.0)


@pytest.mark.data
def test_capture_is_judged_by_a_child_and_imported(platform, capture):
    with platform.client() as http:
        made = http.post("/captures", params={"name": capture.name}, content=capture.read_bytes())
        assert made.status_code == 201, made.text
        row = judged(platform, http, made.json()["uid"])
        assert row["state"] == "done", row
        assert row["summary"]["packets"] > 0
        assert row["summary"]["devices"] > 0
        assert not (platform.folder / "captures" / row["uid"] / "capture").exists()
        taken = http.post(f"/captures/{row['uid']}/import")
        assert taken.status_code == 200, taken.text
        platform.until(lambda: http.get("/devices").json()["items"])
        assert http.get("/audit?action=import_records").json()["items"]


def test_what_is_no_capture_is_said(platform):
    with platform.client() as http:
        made = http.post("/captures", params={"name": "x.pcap"}, content=b"this is no capture" * 100)
        row = judged(platform, http, made.json()["uid"])
        assert row["state"] == "failed"
        assert row["error"]


def test_empty_and_unreadable_uploads_are_refused(platform):
    with platform.client() as http:
        empty = http.post("/captures", content=b"")
        assert (empty.status_code, empty.json()["code"]) == (422, "input.invalid")


def test_changes_reach_the_stream_and_the_audit_log(platform):
    with platform.client() as http, http.stream("GET", "/events/stream?kind=rule") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": listening"
        with platform.client() as other:
            made = other.post("/rules", json={"name": "seen", "rules": ["scan.*"]})
            assert made.status_code == 200, made.text
        found = next(json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
        assert found["name"] == "seen"
    with platform.client() as http:
        assert http.get("/audit?action=put_rule").json()["items"][0]["result"] == "ok"


def test_status_names_every_process(platform):
    with platform.client() as http:
        status = http.get("/status").json()
    assert status["ready"]
    assert {row["name"] for row in status["processes"]} >= {"core", "store", "server"}


def test_server_comes_back_after_kill_and_sessions_stay(platform):
    with platform.client() as http:
        assert http.get("/me").status_code == 200
        before = platform.pid("server")
        os.kill(before, signal.SIGKILL)

        def back():
            try:
                return platform.pid("server") not in (0, before) and http.get("/me").status_code == 200
            except httpx.HTTPError:
                return False

        platform.until(back)


def test_off_loopback_it_speaks_tls_of_its_own(tmp_path):
    running = Running(tmp_path / "data", "--host", "0.0.0.0", scheme="https")
    try:
        import ssl

        trust = ssl.create_default_context(cafile=running.access.ca_file)
        port = running.address.rsplit(":", 1)[1]
        with httpx.Client(verify=trust, trust_env=False) as http:
            answer = http.get(f"https://127.0.0.1:{port}/login")
        assert answer.status_code == 200
        assert "SHA-256" in answer.text
        assert "strict-transport-security" in answer.headers
        assert oct((tmp_path / "data" / "tls" / "console.key").stat().st_mode & 0o777) == "0o600"
    finally:
        running.close()


@pytest.mark.browser
@pytest.mark.data
def test_dropping_a_capture_in_the_browser(platform, capture):
    playwright = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with platform.client() as http:
        path = http.post("/users/admin/login-link").json()["path"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=arguments)
        page = browser.new_page()
        page.goto(platform.address + path)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state()
        page.goto(platform.address + "/captures")
        page.locator("input[type=file]").set_input_files(str(capture))
        page.wait_for_url("**/captures/c-*")
        page.get_by_role("heading", name="Devices").wait_for(timeout=180_000)
        page.get_by_role("button", name="Import into the platform").click()
        page.get_by_text("Imported: devices, profiles and findings are here now.").wait_for()
        assert page.locator("tbody tr").count() > 0
        browser.close()
