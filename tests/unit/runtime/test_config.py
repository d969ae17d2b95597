"""Settings: order of sources, unknown keys named with their place, types kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from thingward.runtime.config import SettingsError, describe_settings, load_settings


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "thingward.toml"
    path.write_text(text)
    return path


def test_later_sources_win(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nport = 1000\nhost = 'a'\n[site]\nname='x'\n")
    settings = load_settings(
        path, environ={"THINGWARD_SERVER__PORT": "2000", "THINGWARD_SITE__NAME": "y"}, overrides={"site.name": "z"}
    )
    assert (settings.server.host, settings.server.port, settings.site.name) == ("a", 2000, "z")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nprot = 1\n", "server.prot"),
        ("[sever]\nport = 1\n", "sever"),
        ("server = 1\n", "server"),
        ("[server.port]\nx = 1\n", "server.port"),
        ("[server]\nport = 70000\n", "server.port"),
        ("[server]\nport = 'eighty'\n", "server.port"),
        ("[[\n", "TOML"),
    ],
)
def test_bad_file_names_the_place(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(write(tmp_path, text), environ={})


def test_bad_environment_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"server\.prot"):
        load_settings(environ={"THINGWARD_SERVER__PROT": "1", "HOME": "/nowhere"})
    with pytest.raises(SettingsError, match=r"server\.port"):
        load_settings(environ={"THINGWARD_SERVER__PORT": "x", "HOME": "/nowhere"})


def test_lists_and_switches_from_the_environment() -> None:
    environ = {"HOME": "/nowhere", "THINGWARD_SENSOR__INTERFACES": "eth0, br0", "THINGWARD_SENSOR__PROMISCUOUS": "no"}
    settings = load_settings(environ=environ)
    assert settings.sensor.interfaces == ("eth0", "br0")
    assert settings.sensor.promiscuous is False


def test_missing_named_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(tmp_path / "none.toml", environ={})


def test_every_setting_is_described() -> None:
    rows = describe_settings()
    assert len(rows) > 30
    assert all(description.endswith(".") for _, _, _, description in rows)
