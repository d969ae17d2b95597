import json

import pytest

from tests.unit.detection.builders import NOW, SYN_ACK, event, findings, flow, host, rules
from thingward.detection.indicators import Indicator, IndicatorMatcher, parse_indicator, parse_pack
from thingward.detection.rules import Content
from thingward.detection.stage import DetectionStage
from thingward.model.errors import InvalidInput
from thingward.model.observation import DnsData, Endpoint, HttpData, TlsData

JA4 = "t13d1516h2_8daaf6152771_e5627efa2ab1"
PACK = parse_pack(
    "botnet list",
    f"""# comment
45.33.32.156
185.244.25.0/24
185.244.25.235/32
; another
bad.example.com
hxxp://evil[.]example[.]net:8080/x.sh
2001:db8:bad::/48
{JA4}
0.0.0.0 ads.example.org
not an indicator
name,"1.2.3.4",high
""",
)


def matcher(**more):
    return IndicatorMatcher([PACK], **more)


def test_lists_are_read_line_by_line():
    assert set(PACK.indicators) == {
        Indicator("address", "45.33.32.156"),
        Indicator("network", "185.244.25.0/24"),
        Indicator("address", "185.244.25.235"),
        Indicator("name", "bad.example.com"),
        Indicator("name", "evil.example.net"),
        Indicator("network", "2001:db8:bad::/48"),
        Indicator("ja4", JA4),
        Indicator("name", "ads.example.org"),
        Indicator("address", "1.2.3.4"),
    }
    assert PACK.refused_count == 1
    assert PACK.refused == ("line 11: several words: not an indicator",)


def test_stix_bundles_are_read():
    bundle = {
        "type": "bundle",
        "objects": [
            {"type": "indicator", "id": "i1", "pattern": "[ipv4-addr:value = '45.33.32.156']"},
            {
                "type": "indicator",
                "id": "i2",
                "pattern": "[domain-name:value = 'a.example'] OR [url:value='http://b.example/x']",
            },
            {"type": "indicator", "id": "i3", "revoked": True, "pattern": "[ipv4-addr:value = '9.9.9.9']"},
            {"type": "indicator", "id": "i4", "pattern": "[file:hashes.MD5 = 'x']"},
            {"type": "domain-name", "id": "d1", "value": "c.example"},
            "nonsense",
        ],
    }
    pack = parse_pack("stix", json.dumps(bundle))
    assert {i.value for i in pack.indicators} == {"45.33.32.156", "a.example", "b.example", "c.example"}
    assert pack.refused_count == 1


@pytest.mark.parametrize("text", ["", "# only a comment", "{not json", "just words"])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_pack("x", text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("# one\n\n1.2.3.999\n", "line 3: no address or network of that kind exists: 1.2.3.999"),
        ("localhost", "line 1: no address, network, URL or JA4 fingerprint, and a name has a dot"),
        ("bad name", "line 1: several words"),
        ("d41d8cd98f00b204e9800998ecf8427e", "line 1: a file's hash"),
        ("a..b", "line 1: not spelled as"),
        ("x." * 200, "line 1: longer than a name can be"),
        ("id,what\n1,scanner\n", "in 2 entries; line 1: none of 2 fields is one: id"),
        ('{"type": "bundle",\n "objects": [}', "line 2: not JSON"),
        (
            '{"objects": [{"type": "indicator", "id": "i1", "pattern": "[file:name]"}]}',
            "i1: a pattern on something else",
        ),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_place(text, why):
    with pytest.raises(InvalidInput) as caught:
        parse_pack("x", text)
    assert why in str(caught.value)


@pytest.mark.parametrize("text", ["", "localhost", "a..b", "1.2.3", "999.1.1.1", "-", "x" * 300, "1.2.3.4.5"])
def test_what_is_no_indicator(text):
    assert parse_indicator(text) is None


def test_addresses_and_networks():
    held = matcher()
    assert held.match_address("45.33.32.156").pattern == "45.33.32.156"
    assert held.match_address("185.244.25.9").pattern == "185.244.25.0/24"
    assert held.match_address("185.244.25.235").pack == "botnet list"
    assert held.match_address("2001:db8:bad::7").pattern == "2001:db8:bad::/48"
    for other in ("185.244.26.1", "185.244.24.255", "8.8.8.8", "", "nonsense", "2001:db8:bae::1"):
        assert held.match_address(other) is None


def test_nested_networks_give_the_narrowest():
    pack = parse_pack("n", "45.0.0.0/8\n45.1.0.0/16\n45.1.2.0/24\n11.0.0.0/8\n")
    held = IndicatorMatcher([pack])
    assert [held.match_address(ip).pattern for ip in ("45.1.2.3", "45.1.3.1", "45.2.0.1", "11.1.1.1")] == [
        "45.1.2.0/24", "45.1.0.0/16", "45.0.0.0/8", "11.0.0.0/8",
    ]  # fmt: skip
    assert held.match_address("12.0.0.1") is None


def test_names_cover_what_is_below():
    held = matcher()
    assert held.match_name("BAD.example.com.").pattern == "bad.example.com"
    assert held.match_name("a.b.bad.example.com").pattern == "bad.example.com"
    for other in ("example.com", "notbad.example.com", "com", ""):
        assert held.match_name(other) is None


def test_never_outranks_every_list():
    held = matcher(never=("45.33.32.156", "good.bad.example.com"))
    assert held.match_address("45.33.32.156") is None
    assert held.match_name("x.good.bad.example.com") is None
    assert held.match_name("other.bad.example.com") is not None


def test_findings_name_the_list():
    content = Content(matcher=matcher())
    talk = flow(Endpoint(ip="45.33.32.156", port=6667))
    ask = event(DnsData(qname="cnc.bad.example.com"), dst=host(1, 53))
    tls = event(TlsData(sni="fine.example", ja4=JA4), dst=host(34, 443, net="93.184.216"))
    http = event(HttpData(method="GET", host="evil.example.net"), dst=host(34, 80, net="93.184.216"))
    found = findings([talk, ask, tls, http], content=content)
    assert [f.rule for f in found] == ["indicator.match"] * 4
    assert all("botnet list" in f.reason for f in found)
    assert all(f.device == "d-bot" for f in found)
    assert [f.severity for f in found] == [4, 4, 4, 4]


def test_being_knocked_at_is_no_alert():
    content = Content(matcher=matcher())
    bad = Endpoint(ip="45.33.32.156", port=4000)
    knock = flow(host(5, 23, device="d-cam"), src=bad, state="whole")
    found = findings([knock], content=content)
    assert [(f.severity, f.device) for f in found] == [(1, "d-cam")]


def test_without_packs_nothing_matches():
    assert rules([flow(Endpoint(ip="45.33.32.156", port=6667), time=NOW)]) == set()


def test_other_lists_are_looked_for_while_it_runs_and_nothing_is_forgotten():
    stage = DetectionStage(Content())
    assert [f.rule for f in rules([flow(host(9), src=host(1))], stage=stage)] == []
    scan = [flow(host(n, 23), src=host(66, 40000 + n), time=NOW + n / 10) for n in range(1, 60)]
    half = 2
    stage.feed(scan[:half], NOW)
    stage.use(Content(matcher=matcher()))
    found = findings(scan[half:], stage=stage)
    whole = findings(scan, stage=DetectionStage(Content()))
    assert [(f.rule, f.count, f.first) for f in found] == [(f.rule, f.count, f.first) for f in whole]
    bad = flow(Endpoint(ip="45.33.32.156", port=443), time=NOW + 100)
    assert "indicator.match" in [f.rule for f in findings([bad], stage=stage)]
    stage.use(Content())
    later = flow(Endpoint(ip="185.244.25.1", port=443), time=NOW + 200)
    assert "indicator.match" not in [f.rule for f in findings([later], stage=stage)]


def test_private_and_documentation_addresses_match_as_imported():
    pack = parse_pack("mine", "192.168.1.66\n203.0.113.77\n198.51.100.0/24\n10.9.8.0/24\nfd00:1::5\n")
    held = IndicatorMatcher([pack])
    for ip in ("192.168.1.66", "203.0.113.77", "198.51.100.9", "10.9.8.7", "fd00:1::5"):
        assert held.match_address(ip) is not None, ip
    content = Content(matcher=held)
    inside = flow(host(66, 443), state="whole", back=1, flags_in=SYN_ACK)
    outside = flow(host(77, 443, net="203.0.113"), state="whole", back=1, flags_in=SYN_ACK)
    assert [f.rule for f in findings([inside, outside], content=content)] == ["indicator.match"] * 2


def test_what_can_never_match_is_said_at_import():
    text = "10.0.0.0/8\n192.168.0.0/16\n127.0.0.1\n224.0.0.0/4\n0.0.0.0/0\nfc00::/7\n45.33.0.0/16\n"
    pack = parse_pack("bogons", text)
    assert [i.value for i in pack.indicators] == ["45.33.0.0/16"]
    assert pack.refused_count == 6
    assert all("never matched" in line for line in pack.refused)


def test_a_wide_network_does_not_name_a_whole_site():
    held = IndicatorMatcher([parse_pack("wide", "8.0.0.0/5")])  # reaches over 10.0.0.0/8
    assert held.match_address("10.1.2.3") is None
    assert held.match_address("9.1.2.3") is not None
