"""Zeek logs that others made: every line is read, or told."""

from collections import Counter

import pytest

from thingward.model.observation import CaptureData, FlowData
from thingward.model.record import Malformed
from thingward.sensing.log_files import LogContext
from thingward.sensing.zeek import read_zeek_file, read_zeek_folder

CONTEXT = LogContext(source="zeek:test")


def kinds(observations) -> Counter:
    return Counter(type(one.data).__name__ for one in observations)


@pytest.mark.data
def test_iot_23_with_its_labels(data_dir):
    found = list(read_zeek_file(data_dir / "iot23" / "data" / "conn.log.labeled", CONTEXT))
    assert kinds(found) == {"FlowData": 23145, "CaptureData": 1}
    assert {one.src.ip for one in found if isinstance(one.data, FlowData)} >= {"192.168.1.195"}
    assert found[-1].data.malformed == {}
    assert len({one.uid for one in found}) == len(found)


@pytest.mark.data
def test_folders_in_columns_and_in_json(data_dir):
    folders = data_dir / "slips" / "dataset"
    json = list(read_zeek_folder(folders / "test9-mixed-zeek-dir", CONTEXT))
    assert kinds(json) == {
        "FlowData": 576, "DnsData": 239, "HttpData": 516, "TlsData": 205, "LeaseData": 5,
        "AlertData": 18, "IdentityData": 780, "CaptureData": 13,
    }  # fmt: skip
    columns = list(read_zeek_folder(folders / "test10-mixed-zeek-dir", CONTEXT))
    counts = kinds(columns)
    assert (counts["FlowData"], counts["DnsData"], counts["TlsData"], counts["AlertData"]) == (141, 93, 13, 12)
    damaged = [one.parents[0].rpartition("/")[2] for one in columns if isinstance(one.data, Malformed)]
    assert sorted(damaged) == ["conn.log#1", "notice.log#21"]


@pytest.mark.data
def test_logs_under_other_names_are_known_by_their_headers(data_dir):
    found = list(read_zeek_folder(data_dir / "iot23-benign", CONTEXT))
    ends = [one.data for one in found if isinstance(one.data, CaptureData)]
    assert len(ends) == 7
    assert all(not one.malformed and one.complete for one in ends)
    assert kinds(found)["FlowData"] == 1570
