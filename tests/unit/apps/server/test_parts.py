"""Pure parts of the server: words, graph, lines, grouping, throttle, live stream, documentation."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.unit.apps.server.sample import NOW, events, finding, findings, uid_of
from thingward.apps.server.console.cases import group_findings
from thingward.apps.server.console.coverage import Coverage
from thingward.apps.server.console.devices import is_on_site
from thingward.apps.server.console.docs import find_page, list_pages, render_markdown
from thingward.apps.server.console.graph import SIDE_LIMIT, draw_curve, draw_graph
from thingward.apps.server.console.lines import line_of
from thingward.apps.server.console.screen import local_path
from thingward.apps.server.console.words import ago, count, device_name, duration, kind_word, percent, service, size
from thingward.apps.server.live import (
    QUEUE_LIMIT,
    REPLAY_LIMIT,
    STREAM_LIMIT,
    Broadcaster,
    is_wanted,
    json_frame,
    sse_frame,
    stream,
)
from thingward.apps.server.metrics import Metrics
from thingward.apps.server.profiles import compare
from thingward.apps.server.standing import fold_sources
from thingward.apps.server.throttle import FAILURES_FREE, LONGEST_LOCK_S, Locked, Throttle, lock_s
from thingward.inventory.defaults import SAFE_DEFAULTS
from thingward.model.device import Device
from thingward.model.errors import LimitExceeded
from thingward.model.event import Event
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.observation import StatusData
from thingward.model.principal import Principal
from thingward.model.profile import Acl, MudProfile, PeerKind
from thingward.ports.event_store import PeerRow


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (200_000, "2 d 7 h")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_ago():
    assert ago(0, 100) == "never"
    assert ago(95, 100) == "just now"
    assert ago(40, 100) == "1 min ago"
    assert ago(400, 100) == "in 5 min"


def test_small_shares_are_not_rounded_to_nothing():
    assert percent(0) == "0 %"
    assert percent(0.0004) == "< 0.1 %"
    assert percent(0.034) == "3.4 %"
    assert percent(1) == "100 %"


def test_sizes_and_services():
    assert [size(n) for n in (0, 999, 1500, 123_000, 4_200_000)] == ["0 B", "999 B", "1.5 kB", "123 kB", "4.2 MB"]
    assert service(6, 443) == "HTTPS (TCP 443)"
    assert service(17, 4000, 4010) == "UDP 4000-4010"
    assert service(1, 0) == "ICMP"


def test_device_names_fall_back():
    base = {"uid": Uid("d-1"), "tenant": DEFAULT_TENANT, "time": 0.0, "source": "t"}
    assert device_name(Device(**base)) == "d-1"
    assert device_name(Device(**base, macs=("aa",))) == "aa"
    assert device_name(Device(**base, macs=("aa",), maker="M")) == "M (aa)"
    assert device_name(Device(**base, names=("n",), label="L")) == "L"
    assert device_name(None) == "unknown device"


def row(peer, *, is_device=False, port=443, outgoing=True, total=100, proto=6):
    return PeerRow(
        peer=peer, is_device=is_device, proto=proto, port=port, app="", outgoing=outgoing, flows=1,
        bytes_out=total, bytes_in=0, first=0, last=1,
    )  # fmt: skip


def acl(value, *, peer=PeerKind.NAME, port=443, direction="out"):
    return Acl(direction=direction, peer=peer, value=value, proto=6, port=port)


def test_graph_is_bounded_and_puts_the_site_on_the_left():
    rows = tuple(row(f"d-{n}", is_device=True) for n in range(20)) + tuple(row(f"{n}.example") for n in range(3))
    graph = draw_graph(rows, names={"d-3": "Lamp"}, approved=None, is_local={})
    left = [node for node in graph.nodes if node.anchor == "end"]
    assert (len(left), graph.hidden_local, graph.hidden_outside) == (SIDE_LIMIT, 20 - SIDE_LIMIT, 0)
    assert {node.label for node in graph.nodes} >= {"Lamp", "0.example"}
    assert all(0 < node.y < graph.height for node in graph.nodes)
    assert not [node for node in graph.nodes if node.status == "refused"]


def test_graph_names_what_nothing_allows():
    rows = (row("good.example"), row("bad.example", total=1))
    graph = draw_graph(rows, names={}, approved=Coverage((acl("good.example"),)), is_local={})
    assert {node.label: node.status for node in graph.nodes} == {"good.example": "known", "bad.example": "refused"}
    assert graph.nodes[0].label == "bad.example", "what is refused is drawn first, however little it is"


@pytest.mark.parametrize(
    ("peer", "on_site"),
    [
        ("192.168.7.9", True), ("10.1.2.3", True), ("fe80::1", True), ("fd00::5", True), ("239.255.255.250", True),
        ("224.0.0.251", True), ("printer.local", True), ("02:00:00:00:00:01", True), ("nas", True),
        ("198.51.100.23", False), ("203.0.113.7", False), ("192.0.2.4", False), ("2001:db8::1", False), ("8.8.8.8", False),
        ("cloud.example", False), ("128.30.1.9", True),
    ],
)  # fmt: skip
def test_only_what_is_on_the_site_stands_on_its_side(peer, on_site):
    assert is_on_site(peer, ("128.30.0.0/16",)) is on_site


def test_empty_graph_draws():
    assert draw_graph((), names={}, approved=None, is_local={}).nodes == ()


@pytest.mark.parametrize(
    ("entry", "covered"),
    [
        (acl("a.example"), True),
        (acl("*.a.example"), True),
        (acl("b.example"), False),
        (acl("a.example", port=80), False),
        (acl("a.example", direction="in"), False),
        (acl("", peer=PeerKind.LOCAL, port=0), False),
        (acl("dns", peer=PeerKind.ROLE, port=443), False),
    ],
)
def test_entries_cover_conversations(entry, covered):
    assert Coverage((entry,)).has(row("a.example")) is covered


ATTACKS = (
    row("6.6.6.6", port=23), row("d-nas", is_device=True, port=23), row("192.168.1.77", port=2323),
    row("evil.example"), row("8.8.8.8", proto=1, port=0), row("8.8.8.8", proto=17, port=53),
    row("239.255.255.250", proto=17, port=1900), row("d-nas", is_device=True, port=80, outgoing=False),
)  # fmt: skip
NEEDS = (
    row("d-gw", is_device=True, proto=17, port=53), row("192.168.1.1", proto=17, port=53),
    row("d-gw", is_device=True, proto=17, port=67), row("time.example", proto=17, port=123),
    row("00:00:5e:00:53:01", proto=-1, port=0), row("192.168.1.5", proto=1, port=0, outgoing=False),
    row("fe80::1", proto=58, port=0), row("cloud.example"), row("203.0.113.80"),
)  # fmt: skip


@pytest.mark.parametrize("peer", ATTACKS)
def test_safe_defaults_cover_no_attack(peer):
    coverage = Coverage(
        (*SAFE_DEFAULTS, msgspec.structs.replace(acl("cloud.example"), addresses=("203.0.113.80",))),
        serving={"d-gw": ("gateway", "dns", "dhcp", "ntp"), "192.168.1.1": ("dns",)},
    )
    assert not coverage.has(peer, is_local=is_on_site(peer.peer, ()))


@pytest.mark.parametrize("peer", NEEDS)
def test_what_was_approved_is_covered(peer):
    coverage = Coverage(
        (*SAFE_DEFAULTS, msgspec.structs.replace(acl("cloud.example"), addresses=("203.0.113.80",))),
        serving={"d-gw": ("gateway", "dns", "dhcp", "ntp"), "192.168.1.1": ("dns",)},
    )
    assert coverage.has(peer, is_local=is_on_site(peer.peer, ()))


def test_other_kinds_of_entries_cover_their_own_peers_only():
    inside = acl("", peer=PeerKind.LOCAL, port=0)
    assert Coverage((inside,)).has(row("d-1", is_device=True))
    assert Coverage((inside,)).has(row("nas.local"), is_local=True)
    network = acl("198.51.100.0/24", peer=PeerKind.ADDRESS)
    assert Coverage((network,)).has(row("198.51.100.9"))
    assert not Coverage((network,)).has(row("198.51.101.9"))
    group = Acl(direction="out", peer=PeerKind.GROUP, value="239.255.255.250", proto=17, port=1900)
    assert Coverage((group,)).has(row("239.255.255.250", proto=17, port=1900))
    assert not Coverage((group,)).has(row("239.255.255.251", proto=17, port=1900))


def test_curve():
    assert draw_curve(()) == ""
    assert draw_curve(((0, 0), (10, 4))).startswith("M0.0 ")


def test_every_kind_of_event_has_a_line():
    for event in events(1):
        line = line_of(event, {})
        assert line.text
        assert line.kind
        assert line.source
    line = line_of(findings()[0], {findings()[0].device: "Garage"})
    assert (line.who, line.href) == ("Garage", f"/findings/{findings()[0].uid}")


def test_same_matter_is_one_row():
    first = finding("cam-hall", "scan.ports", "t", "r", 4, NOW - 100, count=3)
    again = finding("cam-hall", "scan.ports", "t", "r", 4, NOW, count=2)
    other = finding("meter", "scan.ports", "t", "r", 5, NOW - 50)
    groups = group_findings((again, other, first))
    assert [group.newest.uid for group in groups] == [other.uid, again.uid]
    assert (groups[1].count, groups[1].last) == (5, NOW)


def test_blind_time_is_counted_within_the_window_only():
    rows = {row.name: row for row in fold_sources(tuple(e for e in events(1) if e.source == "sensor:eth0"), NOW - 3600)}
    assert rows["sensor:eth0"].blind_s == 0, "the gap ended before the window began"
    whole = fold_sources(tuple(events(1)), NOW - 86_400)
    assert {row.name: row.blind_s for row in whole}["sensor:eth0"] == 14 * 60


def test_what_was_wrong_with_a_source_once_is_not_wrong_for_ever():
    def told(status, detail, time, gap_s=0.0):
        data = StatusData(status=status, detail=detail, gap_s=gap_s)
        return Event(uid=Uid(f"e{time}"), tenant=DEFAULT_TENANT, time=time, source="logs:eve", class_uid=0, data=data)

    bad = told("gap", "could not be read", 10.0, 5.0)
    assert fold_sources((bad,), 0.0)[0].detail == "could not be read"
    again = fold_sources((bad, told("alive", "", 20.0)), 0.0)[0]
    assert (again.detail, again.state, again.blind_s) == ("", "running", 5.0)


def test_counts_and_kinds_are_words():
    assert [count(n, "entry") for n in (0, 1, 1200)] == ["0 entries", "1 entry", "1\u202f200 entries"]
    assert (count(1, "finding"), count(2, "finding")) == ("1 finding", "2 findings")
    assert (kind_word("tv"), kind_word("access point"), kind_word("")) == ("TV", "Access point", "")


def test_compare_profiles():
    profile = MudProfile(
        uid=Uid("p"), tenant=DEFAULT_TENANT, time=0.0, source="t", device="d", acls=(acl("a"), acl("b"))
    )
    assert len(compare(profile, None).added) == 2
    assert not compare(profile, None).is_current


def test_throttle_locks_longer_each_time_and_is_bounded():
    throttle = Throttle(limit=3)
    for _ in range(FAILURES_FREE):
        throttle.verify_open("a", 0.0)
        throttle.failed("a", 0.0)
    with pytest.raises(Locked):
        throttle.verify_open("a", 29.0)
    throttle.verify_open("a", 31.0)
    throttle.failed("a", 31.0)
    with pytest.raises(Locked):
        throttle.verify_open("a", 90.0)
    assert lock_s(1000) == LONGEST_LOCK_S
    for name in "bcd":
        throttle.failed(name, 31.0)
    throttle.verify_open("a", 32.0)


def test_paths_stay_on_this_host():
    assert local_path("/devices?q=1") == "/devices?q=1"
    for path in ("", "https://x", "//x", "/\\x", "devices"):
        assert local_path(path) == "/"


class Quiet:
    """A backend whose live stream says nothing."""

    async def live(self):
        await asyncio.Event().wait()
        yield None


@pytest.fixture
def broadcaster():
    return Broadcaster(Quiet(), Metrics())


def event(n):
    return events(1)[n]


def test_slow_streams_lose_their_oldest_and_say_so(broadcaster):
    async def run():
        listener = broadcaster.listen()
        for _ in range(QUEUE_LIMIT + 7):
            broadcaster.publish(event(0))
        assert listener.dropped == 7
        assert len(await listener.take(0)) == QUEUE_LIMIT
        broadcaster.forget(listener)
        assert broadcaster._metrics.value("stream_dropped_total") == 7

    asyncio.run(run())


def test_streams_are_bounded(broadcaster):
    for _ in range(STREAM_LIMIT):
        broadcaster.listen()
    with pytest.raises(LimitExceeded):
        broadcaster.listen()


def test_stream_goes_on_where_it_was_left(broadcaster):
    async def run():
        for n in range(5):
            broadcaster.publish(event(n))
        listener = broadcaster.listen(after=event(2).uid)
        assert [row.uid for row in await listener.take(0)] == [event(3).uid, event(4).uid]

    asyncio.run(run())
    assert REPLAY_LIMIT >= 5


def test_people_and_secrets_are_never_streamed(broadcaster):
    listener = broadcaster.listen()
    broadcaster.publish(Principal(uid=Uid("u"), tenant=DEFAULT_TENANT, time=0.0, source="t", name="a", password="hash"))
    assert not listener.queue


def test_stream_ends_when_it_is_no_longer_allowed(broadcaster):
    async def run():
        allowed = [True]
        listener = broadcaster.listen()
        frames = stream(
            broadcaster, listener, wanted=lambda r: True, write=json_frame, allowed=lambda: allowed[0], beat_s=0.001
        )
        assert await anext(frames) == b": listening\n\n"
        assert await anext(frames) == b": beat\n\n"
        broadcaster.publish(event(0))
        assert b"event: event\n" in await anext(frames)
        allowed[0] = False
        with pytest.raises(StopAsyncIteration):
            await anext(frames)
        assert not broadcaster._listeners

    asyncio.run(run())


def test_whoever_stops_the_stream_can_itself_be_cancelled():
    async def run():
        reading, may_end = asyncio.Event(), asyncio.Event()

        class Stubborn:
            async def live(self):
                reading.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await may_end.wait()
                yield None

        slow = Broadcaster(Stubborn(), Metrics())
        await slow.start()
        await reading.wait()
        stopping = asyncio.create_task(slow.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await stopping

    asyncio.run(run())


def test_stream_filters():
    hall = uid_of("cam-hall")
    found = finding("cam-hall", "scan.ports", "t", "r", 4, NOW)
    assert is_wanted(found, kind="finding", device=hall, min_severity=4)
    assert not is_wanted(found, kind="flow")
    assert not is_wanted(found, min_severity=5)
    assert not is_wanted(found, device=uid_of("meter"))
    flow = next(e for e in events(1) if e.data.__struct_config__.tag == "flow")
    assert is_wanted(flow, kind="flow", device=flow.src.device)


def test_frames_cannot_be_broken_by_line_breaks():
    assert (
        sse_frame(b"a\nevent: x\r\nb", event="e", uid="1") == b"id: 1\nevent: e\ndata: a\ndata: event: x\ndata: b\n\n"
    )


def test_documentation_is_found_and_rendered_without_raw_html():
    assert find_page("adr/0001-the-house") is not None
    assert find_page("../pyproject") is None
    assert {page.group for page in list_pages()} >= {"Reference", "Decisions"}
    page = render_markdown("# T\n<script>x</script>\n\n[a](other.md#b) [b](javascript:alert(1)) ![c](http://e/x.png)\n")
    assert page.title == "T"
    assert "<script" not in page.html
    assert 'href="other#b"' in page.html
    assert 'href="javascript' not in page.html
    assert "<img" not in page.html
