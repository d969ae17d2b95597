"""Every record that leaves as OCSF JSON against the compiled OCSF schema: classes, required attributes, enums, types."""

import json
import re

import pytest

from tests.unit.sensing.samples import EXPORTED, OBSERVATIONS
from thingward.model import ocsf
from thingward.sensing.normalise import normalise
from thingward.wire.ocsf_json import to_ocsf

pytestmark = pytest.mark.data

INTEGERS = {"integer_t", "long_t", "timestamp_t", "port_t"}


@pytest.fixture(scope="module")
def schema(data_dir):
    path = data_dir.parent / "standards" / "schemas" / "ocsf_compiled.json"
    if not path.is_file():
        pytest.skip(f"not applicable: no compiled schema at {path}")
    return json.loads(path.read_text())


def problems(schema, shape, value, path):
    """Say what of an object breaks its description."""
    for name, attribute in shape["attributes"].items():
        if attribute.get("requirement") == "required" and not attribute.get("profile") and name not in value:
            yield f"{path}.{name} is missing"
    for kind, names in (shape.get("constraints") or {}).items():
        count = sum(name in value for name in names)
        if (kind == "at_least_one" and not count) or (kind == "just_one" and count != 1):
            yield f"{path}: {kind} of {names}"
    for name, content in value.items():
        attribute = shape["attributes"].get(name)
        if attribute is None:
            yield f"{path}.{name} is not in the schema"
            continue
        if attribute.get("is_array") and not isinstance(content, list):
            yield f"{path}.{name} is no list"
            continue
        for part in content if attribute.get("is_array") else [content]:
            yield from value_problems(schema, attribute, part, f"{path}.{name}")


def value_problems(schema, attribute, value, path):
    enum = attribute.get("enum")
    if enum and attribute["type"] in INTEGERS and str(value) not in enum:
        yield f"{path}: {value} is not in the enumeration"
    if attribute["type"] == "object_t" or attribute.get("object_type"):
        if attribute.get("object_type") in (None, "object", "unmapped"):
            return
        yield from problems(schema, schema["objects"][attribute["object_type"]], value, path)
    elif attribute["type"] in schema["objects"] and isinstance(value, dict):
        if attribute["type"] != "object":
            yield from problems(schema, schema["objects"][attribute["type"]], value, path)
    elif attribute["type"] in INTEGERS:
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path}: {value!r} is no integer"
    elif attribute["type"] == "boolean_t":
        if not isinstance(value, bool):
            yield f"{path}: {value!r} is no boolean"
    elif attribute["type"] != "json_t" and attribute["type"] != "object":
        if not isinstance(value, str):
            yield f"{path}: {value!r} is no text"
        regex = (schema["types"].get(attribute["type"]) or {}).get("regex")
        if regex and attribute["type"] in ("mac_t", "ip_t") and not re.match(regex, value):
            yield f"{path}: {value!r} is no {attribute['type']}"


def shape_of(schema, body):
    """Give the description of the class; ours are the base event with endpoints."""
    for shape in schema["classes"].values():
        if shape["uid"] == body["class_uid"]:
            return shape
    assert body["class_uid"] // 100_000 == ocsf.EXTENSION_UID
    assert body["metadata"]["extensions"][0]["uid"] == str(ocsf.EXTENSION_UID)
    network = schema["classes"]["network_activity"]
    attributes = dict(network["attributes"])
    for name in ("activity_id", "class_uid", "category_uid", "type_uid"):
        attributes[name] = {"type": "integer_t", "requirement": "required"}
    return {"attributes": attributes, "constraints": None}


def check(schema, body):
    shape = shape_of(schema, body)
    assert list(problems(schema, shape, body, "event")) == []
    assert body["type_uid"] == body["class_uid"] * 100 + body["activity_id"]
    categories = {entry["uid"] for entry in schema["categories"].values()}
    assert body["category_uid"] in categories


@pytest.mark.parametrize("observation", OBSERVATIONS, ids=lambda o: type(o.data).__name__ + ":" + o.uid[:8])
def test_events_fit_the_schema(schema, observation):
    check(schema, json.loads(json.dumps(to_ocsf(normalise(observation)))))


@pytest.mark.parametrize("record", EXPORTED, ids=lambda r: type(r).__name__ + ":" + r.uid[:12])
def test_records_fit_the_schema(schema, record):
    check(schema, json.loads(json.dumps(to_ocsf(record))))


def test_the_check_sees_what_is_wrong(schema):
    body = to_ocsf(normalise(OBSERVATIONS[0]))
    for spoil in (
        lambda b: b.pop("metadata"),
        lambda b: b.update(severity_id=42),
        lambda b: b.update(invented=1),
        lambda b: b.update(time=1.5),
        lambda b: b["src_endpoint"].update(mac="nonsense"),
    ):
        broken = json.loads(json.dumps(body))
        spoil(broken)
        assert list(problems(schema, shape_of(schema, broken), broken, "event"))


def test_the_version_named_is_no_newer_than_the_schema(schema):
    newest = tuple(int(part) for part in re.findall(r"\d+", schema["version"])[:3])
    assert tuple(int(part) for part in ocsf.OCSF_VERSION.split(".")) <= newest
