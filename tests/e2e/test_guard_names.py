"""Captures whose names are no text: every output holds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from thingward.wire.capture_write import CapturedPacket, pcap_header, pcap_record

FRAME = bytes.fromhex("ffffffffffffb827eb00000108060001080006040001b827eb000001c0a80105") + bytes(10)


def guard(*arguments: bytes | str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "thingward", "guard", *arguments]
    return subprocess.run(command, capture_output=True, check=False, cwd=folder)


@pytest.mark.parametrize("name", [b"\xff\xfe.pcap", "ä b.pcap".encode()])
def test_a_name_of_any_bytes_is_read_and_shown(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as stream:
        stream.write(pcap_header(nanoseconds=True) + pcap_record(CapturedPacket(1_700_000_000 * 10**9, FRAME)))
    done = guard(name, "-o", "json", "--html", "report.html", folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    rows = json.loads(done.stdout)
    assert rows[0]["file"] == name.decode("utf-8", "replace") and rows[0]["packets"] == 1
    assert name.decode("utf-8", "replace") in (tmp_path / "report.html").read_text("utf-8")
    assert guard(name + b".gone", "-o", "ndjson", folder=tmp_path).returncode == 2
