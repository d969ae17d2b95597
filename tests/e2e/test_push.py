"""Pushed lines on the real platform: a token for nothing else, onto the journal first, once, over a killed core."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.e2e.test_api_platform import Running

pytestmark = [pytest.mark.slow, pytest.mark.servers]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("push"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def token(platform):
    """Secret of a token that may push and do nothing else."""
    with platform.client() as http:
        assert http.put("/users/shipper", json={"role": "operator"}).status_code == 200
        uid = next(row["uid"] for row in http.get("/users").json()["items"] if row["name"] == "shipper")
        made = http.post("/tokens", json={"name": "push", "principal": uid, "scopes": ["observations:write"]})
        assert made.status_code in (200, 201), made.text
        return made.json()["secret"]


def dns(name, *, at=None, address="192.168.1.44"):
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000000+0000", time.gmtime(at or time.time()))
    row = {
        "timestamp": moment, "event_type": "dns", "src_ip": address, "src_port": 40000, "dest_ip": "192.168.1.1",
        "dest_port": 53, "proto": "UDP", "dns": {"type": "query", "id": 1, "rrname": name, "rrtype": "A"},
    }  # fmt: skip
    return json.dumps(row).encode() + b"\n"


def send(platform, token, body, **query):
    with httpx.Client(base_url=platform.address + "/api/v1", timeout=30, trust_env=False) as http:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"}
        return http.post("/observations", params={"name": "e2e", **query}, content=body, headers=headers)


def names(platform):
    with platform.client() as http:
        try:
            items = http.get("/events", params={"kind": "dns", "limit": 1000}).json()["items"]
        except httpx.HTTPError:
            return []
        return [row["data"]["qname"] for row in items if row["source"] == "push:e2e"]


def test_what_is_pushed_takes_the_whole_road(platform, token):
    answer = send(platform, token, dns("one.example.org"))
    assert (answer.status_code, answer.json()["taken"]) == (200, 1), answer.text
    platform.until(lambda: "one.example.org" in names(platform))
    with platform.client() as http:
        platform.until(lambda: any("192.168.1.44" in row["addresses"] for row in http.get("/devices").json()["items"]))
        assert http.get("/audit?action=import_observations").json()["items"][0]["target"] == "e2e"


def test_the_token_opens_nothing_else(platform, token):
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=platform.address + "/api/v1", headers=headers, trust_env=False) as http:
        assert {http.get(path).status_code for path in ("/events", "/devices", "/status", "/users")} == {403}


def test_what_was_answered_outlives_a_killed_core_and_a_repeat_is_stored_once(platform, token):
    bodies = [dns(f"kill{number}.example.org") for number in range(20)]
    taken = []
    for number, body in enumerate(bodies):
        if number == 10:
            os.kill(platform.pid("core"), signal.SIGKILL)
        answer = send(platform, token, body)
        if answer.status_code == 200:
            taken.append(f"kill{number}.example.org")
        else:
            assert answer.status_code == 503, answer.text
            assert answer.json()["retryable"]
    assert len(taken) >= 10
    platform.until(lambda: send(platform, token, dns("after.example.org")).status_code == 200)
    for body in bodies:  # a sender that does not know what arrived sends all of it again, in other pieces
        assert send(platform, token, body + dns("more.example.org", at=1_763_000_000)).status_code == 200
    platform.until(lambda: {f"kill{n}.example.org" for n in range(20)} <= set(names(platform)))
    found = names(platform)
    assert set(taken) <= set(found)
    for name in {*taken, "more.example.org"}:
        assert found.count(name) == 1, name


def test_bad_lines_are_named_by_the_command_too(platform, token, tmp_path):
    file = tmp_path / "eve.json"
    file.write_bytes(dns("cli1.example.org") + b"no JSON\n" + dns("cli2.example.org"))
    environment = {**os.environ, "THINGWARD_URL": platform.address, "THINGWARD_TOKEN": token}

    def run(*arguments, stdin=None):
        command = [sys.executable, "-m", "thingward", "push", "--name", "e2e", *arguments]
        return subprocess.run(command, capture_output=True, check=False, env=environment, input=stdin)

    refused = run(str(file))
    assert refused.returncode == 2
    assert b"line 2: eve: not JSON" in refused.stderr
    assert b"Traceback" not in refused.stderr
    partly = run(str(file), "--partial", "-o", "json")
    assert (partly.returncode, json.loads(partly.stdout)["taken"]) == (1, 2)
    piped = run("-", stdin=dns("piped.example.org"))
    assert (piped.returncode, piped.stdout) == (0, b"took 1 observations of 1 lines; 0 rejected\n"), piped.stderr
    platform.until(lambda: {"cli1.example.org", "cli2.example.org", "piped.example.org"} <= set(names(platform)))
