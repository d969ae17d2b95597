"""Reports of hostile names: nothing is run, nothing is fetched, nothing colours the terminal."""

import io
import re
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console

from tests.unit.apps.cli.sample import HOSTILE, hostile_result
from thingward.apps.cli import plots, words
from thingward.apps.cli.html import render_html
from thingward.apps.cli.lines import result_lines
from thingward.apps.cli.terminal import print_result
from thingward.model.device import Device, device_name
from thingward.model.observation import CaptureData
from thingward.model.profile import Acl, FlowVerdict, PeerKind, Settledness
from thingward.ports.event_store import TrafficPoint
from thingward.runtime.guard_result import GuardResult, SourceReport

EMPTY = GuardResult(site="home", tenant="default", version="0")


class Tags(HTMLParser):
    """Notes tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("result", [hostile_result(), EMPTY], ids=["hostile", "empty"])
def test_the_html_report_is_self_contained_and_runs_nothing(result):
    text = render_html(result)
    found = Tags(text)
    assert not found.tags & {"script", "img", "link", "iframe", "object", "embed", "base", "form", "image", "use"}
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    targets = [value for name, value in found.attributes if name in ("href", "xlink:href")]
    assert all(value.startswith("#") for value in targets)
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text


def test_the_html_report_shows_what_was_said_as_text():
    assert HOSTILE in Tags(render_html(hostile_result())).text


def test_no_list_is_unknown_in_the_html_report():
    assert "known-bad addresses was not looked for" in render_html(EMPTY)
    assert "not looked for" not in render_html(msgspec.structs.replace(EMPTY, indicators=1))


def test_the_terminal_shows_markup_as_text():
    text = io.StringIO()
    print_result(Console(file=text, width=4000, color_system="truecolor", force_terminal=True), hostile_result())
    assert text.getvalue().count("[red]x[/red]") >= 3


def test_lines_have_a_kind_each_and_are_json():
    lines = list(result_lines(hostile_result()))
    assert [line["kind"] for line in lines] == ["capture", "device", "profile", "preview", "finding"]
    for line in lines:
        assert msgspec.json.decode(msgspec.json.encode(line))["kind"] == line["kind"]
    assert list(lines[1]["macs"]) == ["02:00:00:00:00:01", "02:00:00:00:00:02"]
    assert {line["device"] for line in lines[2:]} == {lines[1]["uid"]}


def test_plots_escape_and_bear_having_nothing_to_show():
    view = hostile_result().views[0]
    assert "<script" not in plots.peers_plot(HOSTILE, view.peers, {})
    assert plots.traffic_plot(view.traffic).count("<rect") == 3
    assert "<polyline" in plots.learning_plot(view.profile.settled)
    assert plots.traffic_plot(()) == plots.peers_plot("x", (), {}) == plots.learning_plot(Settledness()) == ""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (words.bytes_text(0), "0 B"),
        (words.bytes_text(1536), "1.5 KiB"),
        (words.bytes_text(5 * 1024**5), "5120.0 TiB"),
        (words.duration_text(0.25), "250 ms"),
        (words.duration_text(3700), "1 h 1 min"),
        (words.duration_text(86400 * 2), "2 d"),
        (words.time_text(0), "-"),
        (words.time_text(1e300), "-"),
        (words.time_text(1_700_000_000), "2023-11-14 22:13:20"),
        (words.severity_text(99), "unknown"),
        (words.protocol_text(6, 443), "tcp/443"),
        (words.protocol_text(250, 0), "ip-proto 250"),
        (words.protocol_text(-1, 0, 0x88CC), "ethertype 0x88cc"),
    ],
)
def test_words(given, text):
    assert given == text


def test_a_device_that_nobody_knows_is_unknown():
    device = Device(uid="d", tenant="default", time=0.0, source="t", macs=("02:00:00:00:00:01",), maker="Acme")
    assert words.identity_text(device) == "unknown (Acme)"
    assert device_name(device) == "Acme (02:00:00:00:00:01)"


def printed(result, **more):
    text = io.StringIO()
    print_result(Console(file=text, width=160), result, **more)
    return " ".join(text.getvalue().split())


def test_nothing_read_is_not_nothing_wrong():
    report = SourceReport(source="x.txt", data=CaptureData(file="x.txt", error="not a capture"), is_capture=False)
    result = msgspec.structs.replace(EMPTY, sources=(report,))
    for text in (printed(result), render_html(result)):
        assert "Nothing could be read, so nothing can be said." in text
        assert "Nothing looked wrong" not in text
    assert "not a capture" not in printed(result), "the command says it, on standard error, once"
    read = msgspec.structs.replace(report, is_capture=True, data=CaptureData(file="x.pcap", packets=3))
    assert "Nothing looked wrong" in printed(msgspec.structs.replace(EMPTY, sources=(read,)))


def test_refused_flows_are_listed_ten_of_a_device_or_all():
    result = hostile_result()
    verdicts = tuple(
        FlowVerdict(direction="out", proto=6, port=9000 + n, peer=HOSTILE, permitted=n == 0, reason="no entry", flows=n)
        for n in range(13)
    )
    (view,) = (view for view in result.views if view.preview)
    preview = msgspec.structs.replace(view.preview, verdicts=verdicts, flows_refused=78)
    result = msgspec.structs.replace(result, views=(msgspec.structs.replace(view, preview=preview),))
    text = printed(result)
    assert "tcp/9012 to" in text and "tcp/9003 to" in text
    assert "tcp/9002 to" not in text and "tcp/9000 to" not in text
    assert "and 2 more; --all shows all" in text
    assert "tcp/9001 to" in printed(result, every_flow=True)


def test_plots_have_axes_and_legends():
    curve = str(plots.learning_plot(Settledness(flows=10, curve=((1, 1), (10, 4)))))
    assert ">entries<" in curve and ">10 flows<" in curve and ">4<" in curve
    traffic = str(plots.traffic_plot((TrafficPoint(1.0, 5, 6, 1, 1), TrafficPoint(2.0, 5, 6, 1, 1))))
    assert "sent (above)" in traffic and "received (below)" in traffic


@pytest.mark.parametrize(
    ("role", "text"),
    [("arp", "ARP (who has which address), received"), ("dns", "from the site's DNS resolver, udp/53")],
)
def test_entries_read_as_sentences(role, text):
    arp = role == "arp"
    entry = Acl(
        direction="in",
        peer=PeerKind.ROLE,
        value=role,
        proto=-1 if arp else 17,
        port=0 if arp else 53,
        ethertype=0x806 * arp,
    )
    assert words.acl_text(entry) == text


def test_a_multicast_address_that_sent_is_not_listed_as_a_device():
    result = hostile_result()
    group = msgspec.structs.replace(
        result.views[0],
        device=Device(uid="d2", tenant="default", time=1.0, source="g", macs=("01:00:5e:00:00:fb",), group=True),
        findings=(),
    )
    result = msgspec.structs.replace(result, views=(*result.views, group))
    stream = io.StringIO()
    print_result(Console(file=stream, width=200), result)
    assert "01:00:5e" not in stream.getvalue()
    assert "01:00:5e" not in render_html(result)
    assert "<b>1</b>device" in render_html(result)
