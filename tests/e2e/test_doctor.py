"""The doctor names what is wrong and how to mend it, and never fails itself."""

from __future__ import annotations

import socket
from pathlib import Path

from thingward.runtime.config import Settings, load_settings
from thingward.runtime.doctor import Check, examine


def checks(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in examine(settings)}


def test_every_fault_says_what_it_means_and_how_to_mend_it(tmp_path: Path) -> None:
    for check in checks(load_settings(environ={"THINGWARD_DATA_DIR": str(tmp_path)})).values():
        assert check.found
        assert check.verdict == "ok" or (check.means and check.mend), check


def test_open_data_folder_is_a_fault(tmp_path: Path) -> None:
    home = tmp_path / "data"
    home.mkdir(mode=0o755)
    found = checks(load_settings(environ={"THINGWARD_DATA_DIR": str(home)}))
    assert found["data folder"].verdict == "fail"
    home.chmod(0o700)
    assert checks(load_settings(environ={"THINGWARD_DATA_DIR": str(home)}))["data folder"].verdict == "ok"


def test_no_programs_means_less_not_nothing(tmp_path: Path, monkeypatch: object) -> None:
    import thingward.runtime.doctor as doctor

    monkeypatch.setattr(doctor, "_find", lambda program: None)  # type: ignore[attr-defined]
    found = checks(load_settings(environ={"THINGWARD_DATA_DIR": str(tmp_path)}))
    assert found["nftables"].verdict == "warn" and "apt-get install nftables" in found["nftables"].mend
    assert found["names (dnsmasq)"].verdict == "warn"
    assert found["network namespaces"].verdict == "warn"


def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = load_settings(environ={"THINGWARD_DATA_DIR": str(tmp_path), "THINGWARD_SERVER__PORT": str(port)})
        assert checks(settings)["console port"].verdict == "fail"
