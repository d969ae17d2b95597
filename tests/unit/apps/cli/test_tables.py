"""The commands against the server's own application: tables with names, dry runs that change nothing, parity."""

from __future__ import annotations

import json

import pytest

from tests.unit.apps.server.conftest import *  # noqa: F403
from tests.unit.apps.server.sample import token_secret, uid_of
from thingward.apps.cli import app as cli
from thingward.apps.cli.client import Client
from thingward.model.device import Device, Mode, device_name
from thingward.model.finding import Case
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.principal import Session, Token

GARAGE = uid_of("cam-garage")


class Wire:
    """Carries a client's requests into the application."""

    def __init__(self, http, secret):
        self._http = http
        self._secret = secret

    def request(self, method, path, *, params, content, headers=None, timeout=None):
        headers = {**(headers or {}), "authorization": f"Bearer {self._secret}"}
        content = content.read() if hasattr(content, "read") else content
        return self._http.request(method, f"/api/v1{path}", params=params, content=content, headers=headers)


@pytest.fixture
def run(http, core, monkeypatch, capsysbinary):
    def wired(self, url, token, ca_file=""):
        self.url, self._http = url, Wire(http, token)

    monkeypatch.setattr(Client, "__init__", wired)
    monkeypatch.setenv("THINGWARD_URL", "http://testserver.local")

    def call(*words, user="admin", code=0):
        monkeypatch.setenv("THINGWARD_TOKEN", token_secret(core, user, ("*",)))
        assert cli.main(words) == code, capsysbinary.readouterr().err
        return capsysbinary.readouterr().out.decode()

    return call


@pytest.mark.parametrize(
    "words",
    [("finding", "list"), ("case", "list"), ("action", "list"), ("action", "in-force"), ("approval", "list"), ("approval", "queue")],
)  # fmt: skip
def test_tables_name_devices_and_people_and_json_keeps_uids(run, words):
    table = run(*words)
    named = {
        "queue": "Garage camera",
        "in-force": "Robot vacuum",
        "list": "vacuum" if words[0] == "action" else "camera",
    }[words[1]]
    assert named in " ".join(table.split())
    if words != ("approval", "queue"):
        assert "d-" not in table.replace("d-hall", "")
    assert "u-" not in table
    assert '"d-' in run(*words, "-o", "json")


def test_people_keep_their_uids_for_whoever_may_not_list_users(run):
    assert "Hall camera" in run("approval", "list", user="vera")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("status",), "running since"),
        (("limits", "show"), "never blocked"),
        (("settings", "list"), "notify.daily_budget"),
        (("site", "list"), "quarantined"),
        (("capture", "list"), "None."),
    ],
)
def test_tables_by_default(run, words, expected):
    assert expected in run(*words)
    json.loads(run(*words, "-o", "json"))


@pytest.mark.parametrize(
    "words",
    [
        ("token", "create", "robot", "--scope", "devices:read"),
        ("user", "link", "admin"),
        ("notify", "test", "webhook"),
        ("settings", "set", "notify.daily_budget", "3"),
        ("device", "quarantine", GARAGE, "--reason", "scans"),
        ("site", "approve", "home", "--include-unsettled"),
        ("user", "set", "bob", "--role", "viewer"),
        ("rule", "put", "scans", "--finding", "scan.*"),
    ],
)
def test_dry_runs_say_so_and_change_nothing(run, core, words):
    def state():
        kinds = (Token, Session, Device)
        return len(core.audit()), [len(core.control.page("default", kind, limit=1000).items) for kind in kinds]

    run("status")
    tokens = state()
    text = run(*words, "--dry-run")
    assert text.startswith("Dry run, nothing was changed. The plan:\n  ")
    assert "tw" + "t_" not in text and "/login/" not in text
    after = state()
    assert (after[0], after[1][1:], after[1][0] - tokens[1][0]) == (tokens[0], tokens[1][1:], 1), (
        "only this test's token"
    )
    assert core.control.get("default", Device, GARAGE).mode is Mode.OBSERVE


def test_a_case_is_assigned_noted_and_closed(run, core):
    case = core.control.page("default", Case, where={"device": GARAGE}, limit=1).items[0].uid
    run("case", "assign", case, "ann")
    run("case", "note", case, "called the owner")
    run("case", "close", case, "--resolution", "ours")
    found = json.loads(run("case", "show", case))
    assert (found["assignee"], found["state"], found["resolution"]) == ("ann", "closed", "ours")


def test_a_setting_is_changed(run):
    run("settings", "set", "notify.daily_budget", "3")
    rows = {row["name"]: row["value"] for row in json.loads(run("settings", "list", "-o", "json"))}
    assert rows["notify.daily_budget"] == "3"


def test_site_export_and_a_devices_own(run, tmp_path):
    run("site", "export", "home", "--to", str(tmp_path / "site.nft"))
    assert "profiles of 7 devices" in (tmp_path / "site.nft").read_text()
    only = run("site", "export", "home", "--device", uid_of("meter"), "--device", uid_of("cam-hall"))
    assert "profiles of 2 devices" in only
    assert "Only this device" in run("device", "export", GARAGE, "--format", "nftables")


def test_captures_can_be_sent_and_forgotten(run, tmp_path):
    file = tmp_path / "x.pcap"
    file.write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(20))
    assert "send" in run("capture", "upload", str(file), "--dry-run")
    run("capture", "upload", str(tmp_path / "none"), code=2)


def test_a_device_without_a_name_goes_by_ipv4():
    base = {"uid": Uid("d-1"), "tenant": DEFAULT_TENANT, "time": 0.0, "source": "t"}
    addresses = ("fe80::1", "2001:db8::7", "192.168.1.7")
    assert device_name(Device(**base, addresses=addresses)) == "192.168.1.7"
    assert device_name(Device(**base, addresses=addresses[:2], maker="M")) == "M (2001:db8::7)"
    assert device_name(Device(**base, addresses=("fe80::1",), macs=("00:00:5e:00:53:01",))) == "00:00:5e:00:53:01"
    assert device_name(Device(**base, addresses=("fe80::1",))) == "fe80::1"
