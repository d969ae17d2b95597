"""Learnt profiles on recorded traffic: what they refuse of a device's own later flows, and of other devices' flows.

The peer is the rule by address, which most learnt allow-lists use. Every figure is on traffic that was not learnt from.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.harness import Bench, NotHere, Pair, benchmark, rate
from tests.bench.replay import (
    INFRASTRUCTURE,
    AddressRules,
    LearntSite,
    SeenFlow,
    enriched_at,
    find_captures,
    learn_captures,
    learn_site,
    main_device,
    moved,
    read_events,
    read_zeek,
    terms_for,
)
from thingward.inventory.learner import DeviceLearner, LearnBounds
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.observation import FlowData
from thingward.model.profile import MudProfile
from thingward.model.terms import FlowTerms, is_answered
from thingward.policy.bounds import share_bound
from thingward.policy.verdict import ProfileJudge

#: Services to try on every other device of the site, beside all that any capture uses.
PROBES = ((6, 22), (6, 23), (6, 80), (6, 443), (6, 445), (6, 554), (6, 1883), (6, 8080), (6, 8883), (6, 9100), (6, 49152),
          (17, 53), (17, 69), (17, 161), (17, 1900), (17, 5353), (17, 5683), (17, 6667), (1, 0))  # fmt: skip


#: Shares of the time to learn from.
SPLITS = (1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.75)


def homes(data: Path) -> list[Path]:
    """List the captures of days."""
    found = find_captures(data / "fit-iot-dataset")
    if not found:
        raise NotHere("fit-iot-dataset")
    return found


@functools.cache
def strangers(data: Path) -> dict[Path, tuple[LearntSite, Device]]:
    """List other devices' captures with the device that each is about."""
    found: dict[Path, tuple[LearntSite, Device]] = {}
    for path in find_captures(data / "iot-sentinel"):
        mac = next(path.parent.glob("_iotdevice-mac*")).read_text().strip().lower()
        site = learn_captures(path)
        if any(mac in device.macs for device in site.devices()):
            found[path] = site, main_device(site, mac)
    for path in [*homes(data), *find_captures(data / "mqttset-reduced")]:
        site = learn_captures(path)
        if site.devices():
            found[path] = site, main_device(site)
    return found


def gateway_of(site: LearntSite) -> Device:
    return next(device for device in site.inventory.devices() if device.role == "gateway")


def is_infrastructure(terms: FlowTerms) -> bool:
    """Tell whether some safe default could cover such a flow at some site."""
    return bool(INFRASTRUCTURE.intersection(terms.roles))


def strange_flows(
    site: LearntSite, device: Device, data: Path, own: Path, *, is_at_home: bool = False
) -> list[FlowTerms]:
    """Give all other devices' flows, re-addressed to this device at its site; each as its last report shows it.

    Args:
        own: the device's own capture, left out.
        is_at_home: what was gateway, resolver and DHCP server there is this site's here; else addresses stay.
    """
    found: list[FlowTerms] = []
    for path, (there, other) in strangers(data).items():
        if path != own:
            served_by = services_here(there, site) if is_at_home else None
            events = list(moved(read_events(path), other, device, gateway_of(site), served_by))
            last: dict[str, FlowTerms] = {}
            for event in enriched_at(site, events):
                for terms in terms_for(event, device.uid):
                    assert isinstance(event.data, FlowData)
                    last[event.data.flow] = terms
            found += last.values()
    return found


def services_here(there: LearntSite, here: LearntSite) -> dict[str, str]:
    """Say which address of this site stands for which service address of another one."""
    ours, theirs = here.inventory.roles(), there.inventory.roles()
    return {
        address: ours[role][0]
        for role in ("dhcp", "dns", "gateway")
        for address in theirs[role]
        if ours[role] and ":" not in address
    }


@functools.cache
def trials(data: Path) -> list[tuple[Path, LearntSite, Device]]:
    """List the homes' captures, each learnt, with its device."""
    return [(path, learn_captures(path), main_device(learn_captures(path))) for path in homes(data)]


def share(permitted: Sequence[bool]) -> float:
    return 100.0 * sum(permitted) / len(permitted) if permitted else 100.0


@benchmark("profiles.benign_allowed", unit="% of later flows", rounds=1, limit=1.0)
def benign_allowed(bench: Bench) -> Iterator[Pair]:
    """Flows of the second half that a profile learnt from the first half allows, over all homes; 100 is the aim."""
    notes = []
    ours: list[bool] = []
    peers: list[bool] = []
    for _, site, device in trials(bench.data):
        profile, mine, theirs = later_flows(site, device, 0.5)
        ours += mine
        peers += theirs
        refused = mine.count(False)
        notes.append(
            f"{device.names[0] if device.names else device.uid}: {refused} of {len(mine)} refused "
            f"(bound {share_bound(refused, len(mine)):.1%}, by address {theirs.count(False)}, "
            f"{'settled' if profile.settled.is_settled else 'not settled'})"
        )
    yield Pair(lambda: share(ours), lambda: share(peers), "rules by address", "; ".join(notes))


def later_flows(site: LearntSite, device: Device, learnt_share: float) -> tuple[MudProfile, list[bool], list[bool]]:
    """Learn from the first part of a device's time and judge the rest: by its profile, and by address."""
    profile, until = site.trial(device, learnt_share)
    flows = site.flows(device)
    judge = ProfileJudge(profile.acls)
    rules = AddressRules(flow for flow in flows if flow.time < until)
    later = [flow.terms for flow in flows if flow.time >= until]
    return profile, [judge.judge(terms).permitted for terms in later], [rules.permits(terms) for terms in later]


def _splits(trials_of: Sequence[tuple[str, LearntSite, Device]]) -> Iterator[Pair]:
    """Judge by each split whose profile is settled; the others' figures are only told."""
    ours: list[bool] = []
    peers: list[bool] = []
    notes = []
    for name, site, device in trials_of:
        told = []
        for learnt_share in SPLITS:
            profile, mine, theirs = later_flows(site, device, learnt_share)
            is_settled = profile.settled.is_settled
            told.append(f"{learnt_share:.0%}{'' if is_settled else ' (not settled)'} {mine.count(False)}/{len(mine)}")
            if is_settled:
                ours += mine
                peers += theirs
        notes.append(f"{name}: refused after " + ", ".join(told))
    yield Pair(lambda: share(ours), lambda: share(peers), "rules by address", "; ".join(notes))


@benchmark("profiles.other_splits", unit="% of later flows", rounds=1, limit=1.0)
def other_splits(bench: Bench) -> Iterator[Pair]:
    """The homes' devices, learnt from a third to three quarters of the week: what settled profiles allow of the rest."""
    found = [(device.names[0] if device.names else device.uid, site, device) for _, site, device in trials(bench.data)]
    yield from _splits(found)


@benchmark("profiles.other_home", unit="% of later flows", rounds=1, limit=1.0)
def other_home(bench: Bench) -> Iterator[Pair]:
    """Five days of a door lock of another home, Zeek's conn.log without any names: no rule was made on it."""
    site = door_lock(bench.data)
    yield from _splits([("door lock", site, main_device(site))])


def door_lock(data: Path) -> LearntSite:
    """Learn the days of IoT-23's door lock."""
    logs = sorted((data / "iot23-benign").rglob("b3*.log"))
    if not logs:
        raise NotHere("iot23-benign")
    return learn_site([read_zeek(path) for path in logs])


@benchmark("profiles.benign_allowed_initiated", unit="% of later flows", rounds=1, limit=1.0)
def benign_allowed_initiated(bench: Bench) -> Iterator[Pair]:
    """The same for TCP and UDP flows that the device began: by name and service without and with safe defaults."""
    mine: list[bool] = []
    bare: list[bool] = []
    peers: list[bool] = []
    for _, site, device in trials(bench.data):
        profile, until = site.trial(device)
        flows = [f for f in site.flows(device) if f.terms.proto in (6, 17) and f.terms.direction == "out"]
        early = [flow for flow in flows if flow.time < until]
        seen = {(acl.peer, acl.value, acl.proto, acl.port) for acl in profile.acls if acl.flows}
        judge = ProfileJudge(profile.acls)
        plain = ProfileJudge([a for a in profile.acls if (a.peer, a.value, a.proto, a.port) in seen])
        rules = AddressRules(early)
        for flow in flows:
            if flow.time >= until:
                mine.append(judge.judge(flow.terms).permitted)
                bare.append(plain.judge(flow.terms).permitted)
                peers.append(rules.permits(flow.terms))
    note = (
        f"refused of {len(mine)}: by address {peers.count(False)}, by name and service {bare.count(False)}, "
        f"with safe defaults {mine.count(False)}"
    )
    yield Pair(lambda: share(mine), lambda: share(peers), "rules by address", note)


def _strangers_refused(
    bench: Bench, chosen: Callable[[FlowTerms, AddressRules], bool], *, is_at_home: bool = False
) -> Iterator[Pair]:
    """Judge strangers' flows; the peer is the device's own week by address: no list of flows can refuse more."""
    ours: list[bool] = []
    most: list[bool] = []
    notes = []
    for path, site, device in trials(bench.data):
        judge = ProfileJudge(site.trial(device)[0].acls)
        own = AddressRules(site.flows(device))
        flows = strange_flows(site, device, bench.data, path, is_at_home=is_at_home)
        flows = [terms for terms in flows if chosen(terms, own)]
        mine = [not judge.judge(terms).permitted for terms in flows]
        ours += mine
        most += [not own.permits(terms) for terms in flows]
        let = Counter(what_lets(judge, terms) for terms, refused in zip(flows, mine, strict=True) if not refused)
        name = device.names[0] if device.names else device.uid
        through = ", ".join(f"{what} {count}" for what, count in let.most_common())
        notes.append(f"{name}: {mine.count(True)} of {len(flows)} ({share(mine):.1f} %), let through: {through}")
    peer = "the device's own week by address, the most"
    yield Pair(lambda: share(ours), (lambda: share(most)) if not all(most) else None, peer, "; ".join(notes))


def what_lets(judge: ProfileJudge, terms: FlowTerms) -> str:
    """Name what an entry lets a flow through as."""
    acl = judge.judge(terms).acl
    assert acl is not None
    at = " to all" if terms.group else ""
    return f"{acl.value} {acl.direction}{at}" if acl.origin == "default" else f"learnt {acl.value}"


def is_ip(terms: FlowTerms) -> bool:
    """Tell whether a flow is one in the sense of flow exporters: ARP and link-layer frames are none."""
    return terms.proto >= 0


@benchmark("profiles.strangers_refused", unit="% of flows", rounds=1, limit=95.0)
def strangers_refused(bench: Bench) -> Iterator[Pair]:
    """Other devices' IP flows, re-addressed to the device, that its profile refuses; safe defaults get no discount.

    Only flows that the device makes itself at some time of the week (same peer, same service) are left out: what is
    the same cannot be told apart.
    """
    yield from _strangers_refused(bench, lambda terms, own: is_ip(terms) and not own.permits(terms))


@benchmark("profiles.strangers_refused_ip", unit="% of flows", rounds=1)
def strangers_refused_ip(bench: Bench) -> Iterator[Pair]:
    """All of their IP flows, also those that the device makes itself (its own DHCP, DNS at its own resolver)."""
    yield from _strangers_refused(bench, lambda terms, own: is_ip(terms))


@benchmark("profiles.strangers_refused_all", unit="% of flows", rounds=1)
def strangers_refused_all(bench: Bench) -> Iterator[Pair]:
    """The same with ARP and link-layer frames counted as flows."""
    yield from _strangers_refused(bench, lambda terms, own: True)


@benchmark("profiles.strangers_refused_at_home", unit="% of flows", rounds=1)
def strangers_refused_at_home(bench: Bench) -> Iterator[Pair]:
    """All of their IP flows, as if they had moved in: their router, resolver and DHCP server are this site's."""
    yield from _strangers_refused(bench, lambda terms, own: is_ip(terms), is_at_home=True)


@benchmark("profiles.paths_refused", unit="% of paths", rounds=1, limit=100.0)
def paths_refused(bench: Bench) -> Iterator[Pair]:
    """Paths (service and device) to the site's other devices that the device never used; all homes as one site."""
    site = learn_captures(*homes(bench.data))
    everyone = [device for device in site.inventory.devices() if not device.group]
    services = {(flow.terms.proto, flow.terms.port) for device in site.devices() for flow in site.flows(device)}
    services = {(proto, port) for proto, port in services if proto in (1, 6, 17) and (port or proto == 1)} | set(PROBES)
    refused: list[bool] = []
    for device in site.devices():
        profile, _ = site.trial(device)
        judge = ProfileJudge(profile.acls)
        used = {(f.terms.device, f.terms.proto, f.terms.port) for f in site.flows(device) if f.terms.direction == "out"}
        for other in everyone:
            for proto, port in sorted(services):
                if other.uid != device.uid and (other.uid, proto, port) not in used:
                    terms = path_terms(site, other, proto, port)
                    if not is_infrastructure(terms):
                        refused.append(not judge.judge(terms).permitted)
    note = (
        f"{len(refused)} paths between {len(everyone)} devices (the gateway among them), {refused.count(False)} allowed"
    )
    yield Pair(lambda: share(refused), None, "", note)


def path_terms(site: LearntSite, other: Device, proto: int, port: int) -> FlowTerms:
    """Say what a new flow to a service of another device of the site would be."""
    address = next((ip for ip in other.addresses if ":" not in ip), "")
    roles = site.inventory.network.state.roles.get(address, ())
    served = {53: "dns", 123: "ntp", 67: "dhcp"}.get(port, "")
    kept = tuple(role for role in roles if role in (served if proto == 17 or port == 53 else "", "gateway"))
    return FlowTerms("out", proto, port, device=other.uid, address=address, roles=kept)


@benchmark("profiles.other_sessions", unit="% of flows", rounds=1, limit=1.0)
def other_sessions(bench: Bench) -> Iterator[Pair]:
    """Set-up sessions of one device type, the later half judged by what the earlier half taught: where it fails."""
    ours: list[bool] = []
    peers: list[bool] = []
    for folder in sorted({path.parent for path in find_captures(bench.data / "iot-sentinel")}):
        mac = next(folder.glob("_iotdevice-mac*")).read_text().strip().lower()
        captures = [path for path in find_captures(folder) if read_events(path)]
        captures.sort(key=lambda path: read_events(path)[0].time)
        half = len(captures) // 2
        early = [flow for path in captures[:half] for flow in session(path, mac)]
        late = [flow for path in captures[half:] for flow in session(path, mac)]
        learner = DeviceLearner("d-session", LearnBounds())
        for flow, answered, opened in early:
            learner.learn(flow.terms, flow.time, answered=answered, opened=opened)
        judge = ProfileJudge(learner.profile(DEFAULT_TENANT, "home", "bench").acls)
        rules = AddressRules(flow for flow, _, _ in early)
        ours += [judge.judge(flow.terms).permitted for flow, _, _ in late]
        peers += [rules.permits(flow.terms) for flow, _, _ in late]
    note = f"refused of {len(ours)}: {ours.count(False)}, by address {peers.count(False)}"
    yield Pair(lambda: share(ours), lambda: share(peers), "rules by address", note)


def session(path: Path, mac: str) -> list[tuple[SeenFlow, bool, bool]]:
    """Give the flows of a device in one capture, with whether each was answered and seen from its beginning."""
    site = learn_captures(path)
    uid = next((device.uid for device in site.inventory.devices() if mac in device.macs), "")
    return [
        (SeenFlow(event.data.first, terms), is_answered(event.data), not event.data.mid_stream)
        for event in site.events
        if isinstance(event.data, FlowData) and event.data.state in ("new", "whole")
        for terms in terms_for(event, uid)
    ]


@benchmark("profiles.stage_rate", unit="events/s", rounds=5)
def stage_rate(bench: Bench) -> Iterator[Pair]:
    """Events per second through inventory and learning together, one core."""
    events = [event for path in homes(bench.data) for event in read_events(path)]
    yield Pair(lambda: rate(len(events), lambda: learn_site([events])))


@benchmark("profiles.inventory_rate", unit="flows/s", rounds=5)
def inventory_rate(bench: Bench) -> Iterator[Pair]:
    """Flow events per second through inventory, one core: the part that is on the road to the device records."""
    from thingward.inventory.stage import InventoryStage

    flows = [event for path in find_captures(bench.data) for event in read_events(path) if _is_flow(event)]
    batches = [flows[start : start + 2000] for start in range(0, len(flows), 2000)]

    def work() -> None:
        stage = InventoryStage()
        for batch in batches:
            stage.feed(batch, 0.0)

    yield Pair(lambda: rate(len(flows), work), note=f"{len(flows)} flows of all captures")


def _is_flow(event: Event) -> bool:
    return bool(event.data.__struct_config__.tag == "flow")


@benchmark("profiles.judge_rate", unit="flows/s", rounds=5)
def judge_rate(bench: Bench) -> Iterator[Pair]:
    """Flows judged per second against a compiled profile, refusals among them."""
    path, site, device = trials(bench.data)[-1]
    judge = ProfileJudge(site.trial(device)[0].acls)
    flows = strange_flows(site, device, bench.data, path)
    chosen = list(itertools.islice(itertools.cycle(flows), 50_000))
    yield Pair(lambda: rate(len(chosen), lambda: [judge.judge(terms) for terms in chosen]))
