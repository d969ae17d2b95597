"""MQTT against the events that Suricata's own tests expect of their captures."""

from pathlib import Path

import msgspec
import pytest

from tests.golden.streams import follow_streams
from tests.golden.tshark_oracle import read_frames
from thingward.model.observation import CredentialData, MqttData
from thingward.model.record import Malformed
from thingward.sensing.eve import EveLog
from thingward.sensing.log_files import LogContext
from thingward.wire.message import Credential
from thingward.wire.mqtt import MqttConnect, MqttTopic

yaml = pytest.importorskip("yaml")


def matches(path: Path) -> list[dict]:
    """The MQTT events that must occur at least once, as flat `mqtt.connect.client_id` keys."""
    checks = yaml.safe_load(path.read_text()).get("checks") or []
    filters = [check["filter"] for check in checks if "filter" in check]
    return [one["match"] for one in filters if one.get("count", 1) and one.get("match", {}).get("event_type") == "mqtt"]


def nested(flat: dict) -> dict:
    """Turn `a.b: c` into objects."""
    out: dict = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        at = out
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    return out


def cases(data_dir: Path) -> list[tuple[Path, list[dict]]]:
    """(capture, expected events) of each test that has both."""
    found = []
    for path in sorted((data_dir / "suricata-verify").rglob("test.yaml")):
        captures = list(path.parent.glob("*.pcap"))
        events = matches(path)
        if len(captures) == 1 and events:
            found.append((captures[0], events))
    return found


@pytest.mark.data
@pytest.mark.slow
def test_connects_and_topics_are_those_that_suricata_expects(data_dir, need_program):
    checked = 0
    for capture, events in cases(data_dir):
        messages = [
            one
            for stream in follow_streams(read_frames(need_program("tshark"), capture, ())).values()
            for one in stream.messages
        ]
        if any(isinstance(one, Malformed) for one in messages):
            continue
        clients = {(one.client_id, one.version) for one in messages if isinstance(one, MqttConnect)}
        users = {one.user for one in messages if isinstance(one, Credential)}
        codes = {one.return_code for one in messages if isinstance(one, MqttConnect)}
        topics = {one.topic for one in messages if isinstance(one, MqttTopic)}
        for event in events:
            if "mqtt.connect.client_id" in event and "mqtt.connect.protocol_version" in event:
                assert (str(event["mqtt.connect.client_id"]), event["mqtt.connect.protocol_version"]) in clients, (
                    capture
                )
                checked += 1
            if "mqtt.connect.username" in event:
                assert str(event["mqtt.connect.username"]) in users, capture
                checked += 1
            if "mqtt.connack.return_code" in event:
                assert event["mqtt.connack.return_code"] in codes, capture
                checked += 1
            if "mqtt.publish.topic" in event and len(topics) < 16:
                assert str(event["mqtt.publish.topic"]) in topics, capture
                checked += 1
    assert checked >= 20


@pytest.mark.data
def test_suricatas_own_field_names_are_read(data_dir):
    """The expectations, put into EVE's form, give the events that they describe."""
    log = EveLog(LogContext(source="test"), "eve.json")
    checked = 0
    for capture, events in cases(data_dir):
        for event in events:
            line = {**nested(event), "timestamp": "2026-01-01T00:00:00+0000"}
            found = [one.data for one in log.feed(msgspec.json.encode(line))]
            if "mqtt.connect.client_id" in event:
                connect = next(one for one in found if isinstance(one, MqttData) and one.operation == "connect")
                assert connect.client_id == str(event["mqtt.connect.client_id"]), capture
                checked += 1
            if "mqtt.connect.password" in event:
                assert next(one for one in found if isinstance(one, CredentialData)).pair
                checked += 1
            if "mqtt.publish.topic" in event:
                assert [one.topic for one in found if isinstance(one, MqttData)] == [str(event["mqtt.publish.topic"])]
                checked += 1
    assert checked >= 20
