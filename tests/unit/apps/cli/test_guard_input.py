"""What `thingward guard` does with arguments that are unusual or wrong."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from thingward.apps.cli.app import main
from thingward.wire.capture_write import CapturedPacket, write_pcap

_FRAME = bytes.fromhex("ffffffffffff" + "020000000001" + "0800") + bytes(46)


def _capture() -> bytes:
    return write_pcap([CapturedPacket(ts_ns=1_700_000_000_000_000_000 + n, data=_FRAME) for n in range(3)])


def test_a_named_pipe_is_read_from_its_first_byte(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(_capture(),), daemon=True)
    writer.start()
    assert main(["guard", str(pipe), "-o", "ndjson"]) == 0
    writer.join()
    capture = json.loads(capfdbinary.readouterr().out.splitlines()[0])
    assert (capture["kind"], capture["packets"]) == ("capture", 3)


def test_a_network_that_is_none_is_a_wrong_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(_capture())
    assert main(["guard", str(path), "--network", "foo"]) == 2
    assert "'foo' is no address range" in capsys.readouterr().err


def test_closed_standard_input_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["guard", "-"]) == 2
    assert "standard input is closed" in capsys.readouterr().err
