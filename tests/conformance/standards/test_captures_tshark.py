"""All shared captures, the broken ones too: packets, times, lengths and senders are those that tshark sees."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thingward.inventory.stage import InventoryStage
from thingward.model.columns import NO_MAC, mac_text
from thingward.model.observation import FlowData, Observation
from thingward.sensing.flows import FlowLimits
from thingward.sensing.normalise import NormaliseStage
from thingward.sensing.sensor import Sensor, SensorLimits
from thingward.wire.capture import SNIFF_BYTES, NotACapture, is_capture
from thingward.wire.capture_read import CaptureReader
from thingward.wire.packets.parse import PacketParser

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(600)]

FIELDS = ("frame.time_epoch", "frame.cap_len", "frame.len", "eth.src", "wlan.sa", "sll.src.eth")
NAMES = (".pcap", ".pcapng", ".cap", ".pcap.gz", ".dmp", ".trace")
SETS = (
    "fit-iot-dataset",
    "ics-pcaps",
    "icsnpp",
    "icsnpp-opcua",
    "iot-sentinel",
    "ja4",
    "mqttset-reduced",
    "mud-pairs",
    "ndpi",
    "slips",
    "suricata-verify",
    "zeek-traces",
)


def captures(folder: Path) -> list[Path]:
    """All files that are captures by their name or their first bytes."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                head = stream.read(SNIFF_BYTES)
            is_packed = head[:2] == b"\x1f\x8b"
            if path.name.endswith(NAMES) or (is_capture(head) and not is_packed):
                found.append(path)
    return found


def ask_tshark(tshark: str, path: Path) -> tuple[list[list[str]], bool, set[str]]:
    """Give one list of FIELDS per packet, whether tshark calls it a capture, and all senders."""
    command = [tshark, "-n", "-r", str(path), "-T", "fields"]
    for field in FIELDS:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, check=False)
    lines = [line.split("\t") for line in done.stdout.decode("utf-8", "replace").splitlines()]
    senders = {mac for line in lines for cell in line[3:] for mac in cell.split(",") if mac}
    return lines, b"isn't a capture file" not in done.stderr, senders


def nanoseconds(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def compare(path: Path, lines: list[list[str]], is_one: bool, senders: set[str]) -> list[str]:
    """Name every difference between tshark and what we read."""
    sensor = Sensor(source="test", producer="test", limits=SensorLimits(flows=FlowLimits(flows=8192)))
    parser = PacketParser()
    mine: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    named: set[str] = set()
    normalise, inventory = NormaliseStage(), InventoryStage()
    with path.open("rb") as stream:
        reader = CaptureReader(stream)
        try:
            for batch in reader:
                mine += zip(batch.ts_ns.tolist(), batch.caplen.tolist(), batch.wirelen.tolist(), strict=True)
                for columns in parser.parse(batch):
                    seen.update(columns.rows["src_mac"].tolist())
                records = sensor.feed(batch, 0.0).records
                named |= senders_in(records)
                inventory.feed(normalise.feed(records, 0.0).records, 0.0)
        except NotACapture:
            return ["is a capture"] if is_one else []
        records = sensor.finish(0.0).records
        named |= senders_in(records)
        inventory.feed(normalise.feed(records, 0.0).records, 0.0)
    differences = [] if is_one else ["is no capture"]
    if len(mine) != len(lines):
        differences.append(f"{len(mine)} packets, not {len(lines)}")
    theirs = [(nanoseconds(line[0] or "0"), int(line[1]), int(line[2])) for line in lines]
    for number, (one, other) in enumerate(zip(mine, theirs, strict=False), 1):
        if one != other:
            differences.append(f"packet {number}: {one}, not {other}")
            break
    if missing := senders - {mac_text(mac) for mac in seen if mac < NO_MAC}:
        differences.append(f"senders not parsed: {sorted(missing)}")
    if missing := senders - named:
        differences.append(f"senders in no observation: {sorted(missing)}")
    macs = {mac for device in inventory.devices() for mac in device.macs}
    if missing := senders - macs:
        differences.append(f"senders in no device: {sorted(missing)}")
    return differences


def senders_in(records: list[Observation]) -> set[str]:
    """Addresses that observations name as senders."""
    found = set()
    for record in records:
        if record.src is not None:
            found.add(record.src.mac)
        if record.dst is not None and isinstance(record.data, FlowData) and record.data.packets_in:
            found.add(record.dst.mac)
    return found


@pytest.mark.parametrize("name", SETS)
def test_set(name: str, data_dir: Path, need_program) -> None:
    tshark = need_program("tshark")
    paths = captures(data_dir / name)
    assert paths, f"no captures in {data_dir / name}"
    differences = {}
    with ThreadPoolExecutor(2) as pool:
        for path, answer in zip(paths, pool.map(lambda path: ask_tshark(tshark, path), paths), strict=True):
            if found := compare(path, *answer):
                differences[str(path.relative_to(data_dir))] = found
    assert not differences


def test_no_set_is_forgotten(data_dir: Path) -> None:
    others = [folder.name for folder in data_dir.iterdir() if folder.is_dir() and folder.name not in SETS]
    assert [name for name in others if captures(data_dir / name)] == []
