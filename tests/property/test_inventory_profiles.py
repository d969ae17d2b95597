"""Invariants of device records and learnt profiles, on traffic that Hypothesis makes up."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.inventory.builders import START, answer, cloud, end, event, flow, lease
from tests.unit.policy.builders import profile
from thingward.inventory.defaults import SAFE_DEFAULTS
from thingward.inventory.learning import LearningStage
from thingward.inventory.stage import InventoryStage
from thingward.model.event import Event
from thingward.model.observation import FlowData, IdentityData
from thingward.model.profile import Acl, PeerKind
from thingward.model.terms import is_stray, terms_of
from thingward.policy.mud import MudError, parse_mud, render_mud
from thingward.policy.verdict import ProfileJudge

MACS = [
    "b0:00:00:00:00:01", "b0:00:00:00:00:02", "02:00:00:00:00:03", "06:00:00:00:00:04", "0a:00:00:00:00:05",
    "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb",
]  # fmt: skip
IPS = ["192.168.1.10", "192.168.1.11", "192.168.2.5", "203.0.113.5", "203.0.113.6", "fe80::1", "2001:db8::5", "",
       "224.0.0.251", "255.255.255.255", "0.0.0.0"]  # fmt: skip
NAMES = [
    "api.vendor.example",
    "fw.vendor.example",
    "cdn7.edge.example",
    "cdn8.edge.example",
    "x.amazonaws.com",
    "0.pool.ntp.org",
]
PORTS = [0, 53, 67, 68, 80, 123, 443, 1900, 5353, 8883, 10_077, 40_001, 45_002, 52_003, 61_004]
FIRM = [("mdns.name", "annas-phone.local"), ("dhcp.client_id", "ff00112233445566"), ("mqtt.client_id", "node-7f3a91c2")]

times = st.integers(0, 40).map(lambda n: START + n * 3000.0)
ends = st.builds(end, st.sampled_from(MACS), st.sampled_from(IPS), st.sampled_from(PORTS))
flows = st.builds(
    lambda src, dst, proto, time, answered, mid, name, kind: flow(
        src, dst, proto=proto, time=time, last=time + 50, answered=answered, mid_stream=mid, name=name, icmp_type=kind,
        ethertype=0x0806 if proto < 0 else 0,
    ),
    ends, ends, st.sampled_from([6, 6, 17, 17, 1, 2, 58, -1]), times, st.booleans(), st.booleans(),
    st.sampled_from(["", "", *NAMES]), st.sampled_from([-1, 0, 3, 8, 133, 135]),
)  # fmt: skip
says = st.builds(
    lambda who, pair, time: event(IdentityData(protocol="mdns", attributes=(pair,)), who, None, time),
    ends, st.sampled_from(FIRM), times,
)  # fmt: skip
answers = st.builds(
    lambda who, name, ip, time: answer(who, name, ip, time=time),
    ends, st.sampled_from(NAMES), st.sampled_from(["203.0.113.5", "203.0.113.6", "2001:db8::5"]), times,
)  # fmt: skip
leases = st.builds(
    lambda mac, ip, time: lease(mac, ip, time), st.sampled_from(MACS[:5]), st.sampled_from(IPS[:2]), times
)
events = st.lists(st.one_of(flows, says, answers, leases), max_size=25)


def sources(given: list[Event]) -> set[str]:
    return {found.src.mac for found in given if found.src is not None}


@given(st.lists(events, max_size=4))
def test_every_source_address_is_in_exactly_one_record(batches: list[list[Event]]) -> None:
    stage = InventoryStage()
    for number, batch in enumerate(batches):
        stage.feed(batch, START + number)
        macs = [mac for device in stage.devices() for mac in device.macs]
        assert len(macs) == len(set(macs))
        assert sources([found for seen in batches[: number + 1] for found in seen]) <= set(macs)


def talk(mac: str, start: int, firm: int) -> list[Event]:
    who = end(mac, f"192.168.1.{20 + MACS.index(mac)}", 4000)
    time = START + start * 3000.0
    return [
        event(IdentityData(protocol="mdns", attributes=(FIRM[firm],)), who, None, time),
        flow(who, cloud(), time=time, last=time + 600),
    ]


@given(st.lists(st.tuples(st.sampled_from(MACS[:5]), st.integers(0, 12), st.integers(0, 2)), max_size=7), st.randoms())
def test_the_order_of_batches_does_not_matter_up_to_uid(visits: list[tuple[str, int, int]], random) -> None:
    batches = [talk(*visit) for visit in visits]
    shuffled = batches[:]
    random.shuffle(shuffled)

    def outcome(order: list[list[Event]]) -> set[frozenset[str]]:
        stage = InventoryStage()
        for number, batch in enumerate(order):
            stage.feed(batch, START + number)
        return {frozenset(device.macs) for device in stage.devices()}

    assert outcome(batches) == outcome(shuffled)


@given(events)
def test_a_snapshot_changes_nothing(given_events: list[Event]) -> None:
    one, two = InventoryStage(), InventoryStage()
    one.feed(given_events, START)
    two.restore(one.snapshot())
    assert one.devices() == two.devices() and one.roles() == two.roles()


@given(st.lists(st.lists(st.one_of(flows, answers, leases), max_size=25), max_size=3))
def test_a_profile_never_refuses_a_flow_it_learnt_from(batches: list[list[Event]]) -> None:
    inventory, learning = InventoryStage(), LearningStage()
    seen: list[Event] = []
    for number, batch in enumerate(batches):
        records = inventory.feed(batch, START + number).records
        learning.feed(records, START + number)
        seen += [record for record in records if isinstance(record, Event)]
    learning.feed(inventory.finish(START + 9).records, START + 9)
    learning.finish(START + 9)
    needs = {(flow_terms, uid) for found in seen for flow_terms, uid in _terms(found)}
    for terms, uid in needs:
        learnt = learning.profile(uid)
        assert learnt is not None
        merged = learning._learners[learnt.device]
        service = f"{terms.direction} {terms.device or terms.address} {terms.proto}/{terms.port}"
        is_attempt = service in merged.state.attempts or (terms.proto in (6, 17) and terms.port == 0)
        named_later = not terms.names and any(terms.address in acl.addresses for acl in learnt.acls)
        if not (is_attempt or named_later or terms.flip_port):
            narrow = merged.profile(learnt.tenant, learnt.site, "test", is_narrow=True)
            for acls in (learnt.acls, narrow.acls):
                assert ProfileJudge(acls).judge(terms).permitted, (terms, acls)


def _terms(found: Event):
    for side, me in (("src", found.src), ("dst", found.dst)):
        if isinstance(found.data, FlowData) and me is not None and me.device and not is_stray(found.data, side):
            terms = terms_of(found, side)
            if terms is not None:
                yield terms, me.device


peers = st.one_of(
    st.tuples(st.just(PeerKind.NAME), st.sampled_from([*NAMES, "*.vendor.example"])),
    st.tuples(st.just(PeerKind.ROLE), st.sampled_from(["gateway"])),
    st.tuples(st.just(PeerKind.DEVICE), st.sampled_from(["d-1", "d-2"])),
    st.tuples(st.just(PeerKind.LOCAL), st.just("")),
    st.tuples(st.just(PeerKind.GROUP), st.sampled_from(["239.1.2.3", "ff02::77"])),
    st.tuples(st.just(PeerKind.ADDRESS), st.sampled_from(["203.0.113.9", "203.0.113.0/24", "2001:db8::/64"])),
)
services = st.one_of(
    st.tuples(st.sampled_from([6, 17]), st.integers(1, 65_535), st.just(0)),
    st.tuples(st.sampled_from([6, 17]), st.integers(1, 1000), st.integers(1001, 65_535)),
    st.tuples(st.just(6), st.just(0), st.just(0)),
)
acls = st.builds(
    lambda direction, peer, service: Acl(
        direction=direction, peer=peer[0], value=peer[1], proto=service[0], port=service[1], port_to=service[2]
    ),
    st.sampled_from(["out", "in"]), peers, services,
)  # fmt: skip


def identity(acl: Acl) -> tuple[object, ...]:
    return acl.direction, acl.peer, acl.value, acl.proto, acl.port, acl.port_to


@given(st.lists(acls, max_size=12))
def test_what_is_exported_as_mud_is_imported_again(wanted: list[Acl]) -> None:
    text = render_mud(profile(*wanted))
    if not wanted:
        return
    again = parse_mud(text, device="d-cam", defaults=SAFE_DEFAULTS).profile.acls
    assert {identity(acl) for acl in again if acl.origin != "default"} == {identity(acl) for acl in wanted}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.one_of(st.binary(max_size=200), json_values.map(lambda value: json.dumps(value).encode())))
def test_arbitrary_bytes_are_no_mud_file_and_nothing_worse(data: bytes) -> None:
    try:
        parse_mud(data, device="d-1")
    except MudError:
        return


@given(st.lists(st.sampled_from(["mud", "matches", "ipv4", "tcp", "aces", "eth", "actions"]), max_size=3), json_values)
def test_a_damaged_mud_file_is_refused_or_read(path: list[str], value: object) -> None:
    document = json.loads(
        render_mud(profile(Acl(direction="out", peer=PeerKind.NAME, value=NAMES[0], proto=6, port=443)))
    )

    def damage(node: object) -> object:
        if isinstance(node, dict):
            return {key: value if key.rpartition(":")[2] in path else damage(inner) for key, inner in node.items()}
        return [damage(inner) for inner in node] if isinstance(node, list) else node

    try:
        parse_mud(json.dumps(damage(document)), device="d-1")
    except MudError:
        return
