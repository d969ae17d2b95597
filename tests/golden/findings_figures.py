"""What the rules find on captures with known content: alerts per device-day where all is well, rules where it is not.

Run `python -m tests.golden.findings_figures` for the table of docs/findings.md.
"""

import sys
from collections import Counter
from pathlib import Path

from tests.conftest import shared_data
from thingward.model.finding import Finding
from thingward.runtime.guard import GuardOptions, run_guard

BENIGN = {
    "fit-iot (days of three smart homes)": "fit-iot-dataset/pcaps/*.pcap",
    "mud-pairs (a sensor, a plug)": "mud-pairs/*/*.pcap*",
    "iot-sentinel (232 set-ups)": "iot-sentinel/captures_IoT_Sentinel/**/*.pcap",
    "mqttset benign (sensors and a broker)": "mqttset-reduced/benign-5mb/*.pcap",
    "iot23 benign (Zeek logs)": "iot23-benign/Zeek",
}
# Files in which something is wrong, and the rules that must say so.
ATTACKS = {
    "mqttset-reduced/bruteforce/bruteforce-train.pcapng": {"login.bruteforce"},
    "mqttset-reduced/flood/flood-train.pcap": {"mqtt.flood"},
    "mqttset-reduced/malariados/malariados-train.pcap": {"mqtt.flood"},
    "mqttset-reduced/malformed/malformed-train.pcap": {"mqtt.connections", "mqtt.listen_all"},
    "mqttset-reduced/slowite/slowite-train.pcap": {"mqtt.connections"},
    "iot23/data": {"flood.syn", "flood.tcp"},
    "slips/dataset/port-scans/vertical": {"scan.ports"},
    "slips/dataset/test7-malicious.pcap": {"scan.hosts"},
    "slips/dataset/test9-mixed-zeek-dir": {"external.alert"},
    "slips/dataset/test10-mixed-zeek-dir": {"external.alert"},
    "zeek-traces/Traces/nmap-vsn.pcap": {"scan.arp"},
}


def findings_of(path: Path) -> tuple[list[Finding], float]:
    """Give the findings of one source, and how many device-days it holds."""
    result = run_guard([str(path)], GuardOptions())
    devices = [view.device for view in result.views if not view.device.group]
    days = sum(max(device.last_seen - device.first_seen, 0.0) for device in devices) / 86_400
    return list(result.findings), days


def benign_row(pattern: str) -> tuple[int, float, Counter[str], Counter[str]]:
    """Give files, device-days, alerts by rule, and what is no alert by rule."""
    files, days = 0, 0.0
    alerts: Counter[str] = Counter()
    rest: Counter[str] = Counter()
    for path in sorted(shared_data().glob(pattern)):
        found, part = findings_of(path)
        files, days = files + 1, days + part
        for finding in found:
            (alerts if finding.is_alert else rest)[finding.rule] += 1
    return files, days, alerts, rest


def main() -> None:
    """Print both tables as Markdown."""
    write = sys.stdout.write
    write("| benign set | files | device-days | alerts | other findings |\n|---|---|---|---|---|\n")
    for name, pattern in BENIGN.items():
        files, days, alerts, rest = benign_row(pattern)
        # Logs that were cut together from many weeks say nothing of how long a device was watched.
        watched = f"{days:.1f}" if "pcap" in pattern else "-"
        write(f"| {name} | {files} | {watched} | {_shown(alerts)} | {_shown(rest)} |\n")
    write("\n| attack | alerts | first packet behind it to the first alert |\n|---|---|---|\n")
    for name in ATTACKS:
        found, _ = findings_of(shared_data() / name)
        alerts = [finding for finding in found if finding.is_alert]
        first = min((f.time - f.first for f in alerts), default=0.0)
        write(f"| {name} | {_shown(Counter(f.rule for f in alerts))} | {first:.1f} s |\n")


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in sorted(counts.items())) or "none"


if __name__ == "__main__":
    main()
