from __future__ import annotations

import csv
import io
import json

import pytest

from tests.unit.policy.builders import acl, approval, device, profile
from thingward.model.profile import PeerKind
from thingward.policy.desired import desired_state
from thingward.policy.export import COLUMNS, Form, export_profile

ACLS = (acl(), acl(PeerKind.ROLE, "dns", 17, 53), acl(PeerKind.ADDRESS, "203.0.113.5", 6, 8883))


def export(form: Form) -> str:
    state = desired_state([approval(*ACLS)], [device()], {"dns": ("192.168.1.1",)})
    return export_profile(profile(*ACLS), device(), lambda: state, form)


def test_csv_has_a_line_per_entry_and_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(export("csv"))))
    assert rows[0] == list(COLUMNS) and len(rows) == 4
    evil = export_profile(profile(acl(value="=cmd|x")), device(), lambda: pytest.fail("not for CSV"), "csv")
    assert "'=cmd" in evil


def test_rules_name_the_devices_addresses_and_peers() -> None:
    for form in ("nftables", "openwrt"):
        text = export(form)  # type: ignore[arg-type]
        assert "b0:00:00:00:00:01" in text and "203.0.113.5" in text and "192.168.1.1" in text


def test_names_go_to_the_resolver_and_mud_is_json() -> None:
    assert "nftset=/api.vendor.example/" in export("dnsmasq")
    assert "ietf-mud:mud" in json.loads(export("mud"))
