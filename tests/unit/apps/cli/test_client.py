"""The command line as a client, against an API that a test plays; and how errors become exit codes."""

import json

import httpx
import pytest

from thingward.apps.cli import app as commands
from thingward.apps.cli.client import Client, Refused, connect, parse_duration, show
from thingward.model.errors import Conflict, InvalidInput, Unavailable


def client_of(answer):
    client = Client("http://localhost:1/", "twt_secret")
    client._http = httpx.Client(
        base_url=client._http.base_url, headers=client._http.headers, transport=httpx.MockTransport(answer)
    )
    return client


def test_reading_sends_the_token_and_only_what_was_given():
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(200, json={"uid": "d"})

    assert client_of(answer).call("GET", "/devices/d", params={"search": "", "site": "home"}) == {"uid": "d"}
    assert seen[0].url.path == "/api/v1/devices/d"
    assert dict(seen[0].url.params) == {"site": "home"}
    assert seen[0].headers["authorization"] == "Bearer twt_secret"
    assert "idempotency-key" not in seen[0].headers


def test_a_change_carries_a_key_and_says_when_it_is_only_a_trial():
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(204)

    client = client_of(answer)
    assert client.call("POST", "/approvals", body={"device": "d"}, dry_run=True) is None
    client.call("POST", "/approvals", body={"device": "d"})
    assert [request.url.params.get("dry_run") for request in seen] == ["true", None]
    assert seen[0].headers["idempotency-key"] != seen[1].headers["idempotency-key"]
    assert json.loads(seen[0].content) == {"device": "d"}


def test_pages_are_joined_and_bounded():
    def answer(request):
        number = int(request.url.params.get("cursor", "0"))
        return httpx.Response(200, json={"items": [{"n": number}], "cursor": str(number + 1) if number < 4 else ""})

    assert [item["n"] for item in client_of(answer).pages("/devices")] == [0, 1, 2, 3, 4]
    assert [item["n"] for item in client_of(answer).pages("/devices", most=2)] == [0, 1]


def test_a_problem_becomes_an_error_with_its_code_and_hint():
    problem = {"detail": "no.", "code": "limit.exceeded", "hint": "Wait.", "retryable": True}
    with pytest.raises(Refused, match=r"no\. Wait\.") as caught:
        client_of(lambda request: httpx.Response(429, json=problem)).call("GET", "/x")
    assert (caught.value.code, caught.value.status, caught.value.retryable) == ("limit.exceeded", 429, True)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b"\xff"])
def test_an_error_that_is_no_problem_document(content):
    with pytest.raises(Refused):
        client_of(lambda request: httpx.Response(502, content=content)).call("GET", "/x")


def test_nobody_answers():
    def answer(request):
        raise httpx.ConnectError("refused")

    with pytest.raises(Unavailable, match="no platform answers"):
        client_of(answer).call("GET", "/x")


def test_no_platform_and_a_url_without_a_token(tmp_path, monkeypatch):
    for name in ("THINGWARD_URL", "THINGWARD_TOKEN", "THINGWARD_TOKEN_FILE", "THINGWARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("THINGWARD_DATA_DIR", str(tmp_path))
    with pytest.raises(Unavailable, match="no platform runs"):
        connect()
    monkeypatch.setenv("THINGWARD_URL", "http://localhost:1")
    with pytest.raises(InvalidInput, match="no token"):
        connect()
    monkeypatch.setenv("THINGWARD_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="cannot read"):
        connect()


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800), ("5", 5)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1h", "0", "nan", "inf", "1w", "1e99d"])
def test_what_is_no_duration(text):
    with pytest.raises(InvalidInput):
        parse_duration(text)


def test_tables_show_markup_as_text(capsys):
    show("table", [{"name": "[red]x[/red]"}], {"name": "name"})
    assert "[red]x[/red]" in capsys.readouterr().out
    show("table", [], {"name": "name"})
    assert "None." in capsys.readouterr().out


class Away(Unavailable):
    code = "engine.unavailable"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Away("away"), commands.EXIT_AWAY),
        (InvalidInput("bad"), commands.EXIT_USAGE),
        (Conflict("no"), commands.EXIT_ERROR),
        (KeyboardInterrupt(), commands.EXIT_INTERRUPTED),
    ],
)
def test_errors_become_exit_codes(monkeypatch, capsys, error, code):
    def fail():
        raise error

    monkeypatch.setattr("thingward.apps.cli.devices.connect", fail)
    assert commands.main(["device", "list"]) == code
    assert capsys.readouterr().err.strip().startswith("thingward: ")


@pytest.mark.parametrize("arguments", [["no-such-command"], ["device", "show"], ["restore"], ["guard", "--no-such"]])
def test_a_wrong_call_is_exit_code_2(arguments, capsys):
    assert commands.main(arguments) == commands.EXIT_USAGE


def test_keeping_commands_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("THINGWARD_CONFIG", raising=False)
    home, file = tmp_path / "data", tmp_path / "b.tar.gz"
    home.mkdir()
    (home / "evidence.key").write_text("key")
    where = ["--data-dir", str(home)]
    assert commands.main(["backup", str(file), *where, "--dry-run"]) == 0
    assert not file.exists()
    assert commands.main(["backup", str(file), *where]) == 0
    assert commands.main(["restore", str(file), *where]) == commands.EXIT_ERROR
    assert commands.main(["restore", str(file), "--data-dir", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "evidence.key").read_text() == "key"
    assert commands.main(["upgrade", "--check", *where]) == 0
    assert "cannot know" in capsys.readouterr().out
    (tmp_path / "list.txt").write_text("198.51.100.7\n")
    assert commands.main(["pack", "import", str(tmp_path / "list.txt"), *where]) == 0
    assert commands.main(["pack", "list", *where]) == 0
    assert "1 indicator packs with 1 indicators" in capsys.readouterr().out
