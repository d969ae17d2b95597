"""Captures and logs in, findings out: nothing cries wolf on ordinary traffic, and attacks have their names."""

import pytest

from tests.golden.findings_figures import ATTACKS, BENIGN, benign_row, findings_of

pytestmark = [pytest.mark.data, pytest.mark.slow]

# Not false: these plugs do take the password that they were shipped with, and the captures show it.
TRUE = {"iot-sentinel (232 set-ups)": {"login.default_credentials": 9}}


@pytest.mark.parametrize("name", BENIGN)
def test_ordinary_traffic_raises_no_alert(name):
    files, days, alerts, rest = benign_row(BENIGN[name])
    assert files > 0
    assert days > 0
    assert dict(alerts) == TRUE.get(name, {})
    assert set(rest) <= {"device.unidentified", "device.new", "login.cleartext"}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_have_their_names(data_dir, name):
    found, _ = findings_of(data_dir / name)
    assert ATTACKS[name] <= {finding.rule for finding in found}
    assert ATTACKS[name] - {"mqtt.listen_all"} <= {finding.rule for finding in found if finding.is_alert}
    for finding in found:
        assert finding.first <= finding.time
        assert finding.device or finding.rule == "external.alert"


def test_a_worm_is_named_by_its_device(data_dir):
    found, _ = findings_of(data_dir / "slips/dataset/test7-malicious.pcap")
    telnet = [finding for finding in found if finding.rule == "scan.hosts" and "tcp/23" in finding.title]
    assert len(telnet) == 1
    assert telnet[0].severity == 4
    assert telnet[0].confidence >= 0.9
    assert telnet[0].src is not None
    assert telnet[0].src.ip == "192.168.2.16"
