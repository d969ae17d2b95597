from __future__ import annotations

import re

import pytest

from thingward.inventory.identify import identify, load_pack
from thingward.model.device import DeviceClass
from thingward.sensing.attributes import ATTRIBUTES


@pytest.mark.parametrize(
    ("name", "value", "maker", "model", "kind"),
    [
        ("ssdp.server", "Linux/3.14.0 UPnP/1.0 IpBridge/1.29.0", "Signify", "", "hub"),
        ("mdns.model", "BSB002", "Signify", "Hue Bridge BSB002", "hub"),
        ("mdns.category", "7", "", "", "plug"),
        ("mdns.service", "_ipp._tcp", "", "", "printer"),
        ("dhcp.hostname", "HS110(EU)", "TP-Link", "HS110", "plug"),
        ("dhcp.vendor_class", "MSFT 5.0", "Microsoft", "", "computer"),
        ("ssdp.usn", "uuid:Insight-1_0-2::urn:Belkin:device:insight:1", "Belkin", "WeMo", "plug"),
        ("http.realm", "DCS-930LB", "D-Link", "DCS-930LB", "camera"),
        ("snmp.descr", "Brother NC-8300h, DCP-L2540DW series", "Brother", "DCP-L2540DW", "printer"),
    ],
)
def test_declared_evidence_is_read(name: str, value: str, maker: str, model: str, kind: str) -> None:
    found = identify([(name, value, 1.0)], "")
    assert (found.maker, found.model, found.kind) == (maker, model, kind)
    assert bool(found.reason) == bool(kind)


def test_what_nothing_declares_stays_unknown() -> None:
    found = identify(
        [("dhcp.hostname", "F4B85EFF2B1B-mysimplelink", 1.0), ("tls.ja4", "t13d", 0.5)], "Texas Instruments"
    )
    assert (found.maker, found.model, found.kind, found.reason) == ("Texas Instruments", "", "", "")


def test_better_founded_evidence_wins_and_an_even_contest_is_left_open() -> None:
    printer, camera = ("mdns.service", "_ipp._tcp", 1.0), ("http.server", "Hikvision-Webs", 1.0)
    assert identify([printer, camera], "").kind == "printer"
    even = identify([printer, ("http.realm", "IP Camera", 1.0)], "")
    assert even.kind == "" and len(even.conflicts) == 1


def test_the_makers_word_outranks_the_address_registry() -> None:
    assert identify([("ssdp.server", "IpBridge/1.0", 1.0)], "Philips Lighting BV").maker == "Signify"


def test_the_pack_names_known_attributes_and_kinds_only() -> None:
    pack = load_pack()
    for rule in pack.rule:
        re.compile(rule.match)
        assert set(rule.attributes) <= set(ATTRIBUTES), rule
        assert not rule.kind or rule.kind in pack.kinds, rule
        assert rule.maker or rule.model or rule.kind, rule
        assert 0 < rule.confidence <= 1
    assert DeviceClass.UNKNOWN not in pack.kinds.values()
