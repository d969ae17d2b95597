"""docs/findings.md lists every rule and every threshold, as they are."""

import re
from pathlib import Path

import msgspec
import pytest

from thingward.detection.content import built_in_pairs
from thingward.detection.rules import rule_infos
from thingward.detection.thresholds import Thresholds
from thingward.detection.triage import TriageSettings
from thingward.model import ocsf

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "findings.md").read_text(encoding="utf-8")
ROWS = {
    match[1]: [cell.strip() for cell in match[2].split("|")]
    for match in re.finditer(r"^\| `([a-z0-9_.]+)` \|(.*)\|$", PAGE, re.MULTILINE)
}


@pytest.mark.parametrize("info", rule_infos().values(), ids=lambda info: info.id)
def test_every_rule_is_documented_as_it_is(info):
    _, severity, confidence, attack = ROWS[info.id]
    assert (int(severity), float(confidence)) == (info.severity, info.confidence)
    assert tuple(filter(None, attack.split(", "))) == info.attack


@pytest.mark.parametrize("field", msgspec.structs.fields(Thresholds), ids=lambda field: field.name)
def test_every_threshold_is_documented_as_it_is(field):
    assert float(ROWS[field.name][0]) == float(field.default)


def test_nothing_else_is_listed():
    known = set(rule_infos()) | {field.name for field in msgspec.structs.fields(Thresholds)}
    assert set(ROWS) == known


def test_figures_in_the_text_are_true():
    lists, triage = built_in_pairs(), TriageSettings()
    assert f"tries ({len(lists['mirai'])})" in PAGE
    assert f"ship ({len(lists['vendor'])})" in PAGE
    assert f"At most {triage.daily_budget} alerts" in PAGE
    assert f"severity {triage.min_severity} and above, confidence {triage.min_confidence} and above" in PAGE
    assert f"OCSF {ocsf.OCSF_VERSION}" in PAGE
    for name in ("MQTT_ACTIVITY", "TLS_ACTIVITY", "MALFORMED_INPUT", "SOURCE_STATUS", "LOG_LINE"):
        assert f"| {getattr(ocsf, name)} |" in PAGE
