"""What would happen: recorded traffic replayed against a profile that did not learn from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from thingward.model.device import Device
from thingward.model.ids import hashed_uid
from thingward.model.profile import Acl, FlowVerdict, MudProfile, PeerKind, Preview
from thingward.model.terms import TCP, UDP, FlowGroup, address_kind
from thingward.policy.bounds import share_bound
from thingward.policy.verdict import ProfileJudge, Site, peer_text, service_text

MAX_VERDICTS: Final = 200
MAX_LINES: Final = 32
MAX_EXAMPLES: Final = 3
DOH_NAMES: Final = frozenset({
    "dns.google", "dns.google.com", "8888.google", "cloudflare-dns.com", "mozilla.cloudflare-dns.com",
    "chrome.cloudflare-dns.com", "one.one.one.one", "1dot1dot1dot1.cloudflare-dns.com", "dns.quad9.net",
    "doh.opendns.com", "dns.adguard.com", "dns.adguard-dns.com", "dns.nextdns.io", "doh.cleanbrowsing.org",
    "doh.pub", "dns.alidns.com", "dns.controld.com", "doh.dns.apple.com",
})  # fmt: skip
_UPDATE_LABELS: Final = frozenset({
    "ota", "fota", "update", "updates", "upgrade", "firmware", "fw", "softwareupdate", "softwareupdates",
    "windowsupdate",
})  # fmt: skip
_SERVICES: Final = {(UDP, 53): "dns", (TCP, 53): "dns", (TCP, 853): "dns", (UDP, 123): "ntp", (UDP, 67): "dhcp"}


class _Tally(msgspec.Struct):
    flows: int = 0
    answered: int = 0
    bytes: int = 0
    first: float = 0.0
    last: float = 0.0
    examples: dict[str, None] = {}


def preview_profile(
    profile: MudProfile,
    trial: MudProfile,
    traffic: Iterable[FlowGroup],
    *,
    devices: Sequence[Device],
    roles: Mapping[str, Sequence[str]],
    learnt_until: float,
    now: float,
    site: Site | None = None,
) -> Preview:
    """Replay traffic against a profile.

    Args:
        profile: what would be approved: its reach and what it cannot enforce are told.
        trial: the profile learnt from traffic before `learnt_until` only: it judges what came after.
        traffic: the device's recorded flows, as `LearningStage.traffic` gives them.
        devices: the site's records. roles: role to addresses, as `InventoryStage.roles` gives them.
    """
    judge = ProfileJudge(trial.acls, site)
    tallies: dict[tuple[str, int, int, str, str, str], _Tally] = {}
    learnt = judged = refused = 0
    labels: dict[str, str] = {device.uid: _label(device) for device in devices}
    for group in traffic:
        if group.first < learnt_until:
            learnt += group.flows
            continue
        judged += group.flows
        verdict = judge.judge(group.terms)
        refused += 0 if verdict.permitted else group.flows
        _count(tallies, group, verdict.reason, labels)
    verdicts = sorted((_verdict(key, tally) for key, tally in tallies.items()), key=_order)
    reach = _reach(profile, devices, roles)
    return Preview(
        uid=hashed_uid("preview", profile.uid, trial.uid, f"{learnt_until:.3f}", str(judged), str(refused)),
        tenant=profile.tenant,
        time=now,
        source=profile.source,
        parents=(profile.uid,),
        device=profile.device,
        profile=profile.uid,
        site=profile.site,
        learnt_until=learnt_until,
        flows_learnt=learnt,
        flows_judged=judged,
        flows_refused=refused,
        refused_bound=share_bound(refused, judged),
        verdicts=tuple(verdicts[:MAX_VERDICTS]),
        reach_before=max(len([d for d in devices if not d.group and not d.merged_into]) - 1, 0),
        reach_after=reach,
        not_by_name=tuple(not_by_name(profile.acls))[:MAX_LINES],
        warnings=tuple(_warnings(profile, verdicts, judged))[:MAX_LINES],
    )


def _label(device: Device) -> str:
    return (
        device.label or (device.names[0] if device.names else "") or (device.addresses[0] if device.addresses else "")
    )


def _count(
    tallies: dict[tuple[str, int, int, str, str, str], _Tally],
    group: FlowGroup,
    reason: str,
    labels: Mapping[str, str],
) -> None:
    terms = group.terms
    peer = labels.get(terms.device) or peer_text(terms)
    reason = reason.replace(terms.device, peer) if terms.device else reason
    service = service_text(terms.proto, terms.port, terms.ethertype)
    tally = tallies.setdefault((terms.direction, terms.proto, terms.port, service, peer, reason), _Tally())
    tally.first = min(tally.first or group.first, group.first)
    tally.last = max(tally.last, group.last)
    tally.flows += group.flows
    tally.answered += group.answered
    tally.bytes += group.bytes
    if len(tally.examples) < MAX_EXAMPLES:
        tally.examples[terms.address] = None


def _verdict(key: tuple[str, int, int, str, str, str], tally: _Tally) -> FlowVerdict:
    direction, proto, port, service, peer, reason = key
    if reason and not tally.answered and proto in (TCP, UDP):
        reason += "; nobody ever answered"
    return FlowVerdict(
        direction=direction,
        proto=proto,
        port=port,
        peer=peer,
        permitted=not reason,
        reason=reason or f"allowed: {service}",
        flows=tally.flows,
        bytes=tally.bytes,
        first=tally.first,
        last=tally.last,
        breaks=breaks_of(proto, port, peer) if reason and tally.answered else "",
        examples=tuple(tally.examples),
    )


def _order(verdict: FlowVerdict) -> tuple[bool, int, str, int]:
    return verdict.permitted, -verdict.flows, verdict.peer, verdict.port


def breaks_of(proto: int, port: int, peer: str) -> str:
    """Say what would stop working if this were refused; empty if nothing is known."""
    if (proto, port) in _SERVICES:
        return _SERVICES[proto, port]
    return "update server" if is_update_name(peer) else ""


def is_update_name(name: str) -> bool:
    """Tell whether a host name says that updates come from there."""
    words = name.lower().replace("-", ".").replace("_", ".").split(".")
    return any(word.rstrip("0123456789") in _UPDATE_LABELS for word in words[:-1])


def _reach(profile: MudProfile, devices: Sequence[Device], roles: Mapping[str, Sequence[str]]) -> int:
    """Count the site's devices that the profile lets this one call."""
    uids: set[str] = set()
    others = [
        device for device in devices if device.uid != profile.device and not device.group and not device.merged_into
    ]
    by_address: dict[str, str] = {address: device.uid for device in others for address in device.addresses}
    for acl in profile.acls:
        if acl.direction != "out" or acl.proto < 0:
            continue
        if acl.peer is PeerKind.LOCAL:
            return len(others)
        if acl.peer is PeerKind.DEVICE:
            uids.add(acl.value)
        elif acl.peer is PeerKind.ROLE:
            uids.update(by_address[ip] for ip in roles.get(acl.value, ()) if ip in by_address)
        elif acl.peer is PeerKind.ADDRESS and acl.value in by_address:
            uids.add(by_address[acl.value])
    return len(uids & {device.uid for device in others})


def resolves_elsewhere(acls: Iterable[Acl]) -> bool:
    """Tell whether a profile asks a resolver of its own choice for names."""
    return any(
        acl.direction == "out" and acl.peer is PeerKind.ADDRESS and acl.port in (53, 853) and acl.proto in (TCP, UDP)
        for acl in acls
    )


def not_by_name(acls: Sequence[Acl]) -> list[str]:
    """List what cannot be enforced by name, each with why."""
    lines = []
    elsewhere = resolves_elsewhere(acls)
    for acl in acls:
        service = service_text(acl.proto, acl.port)
        if acl.direction != "out" or acl.origin == "default":
            continue
        # As the rules have it: the set behind a name that the resolver never hears would stay empty.
        instead = f"; enforced as {service} to any address outside the site" if elsewhere or not acl.resolved else ""
        if acl.peer is PeerKind.NAME and acl.value.removeprefix("*.") in DOH_NAMES:
            lines.append(f"{acl.value} {service}: the device may resolve names there (DNS over HTTPS or TLS){instead}")
        elif acl.peer is PeerKind.NAME and instead:
            lines.append(f"{acl.value} {service}: the device did not ask the site's resolver for it{instead}")
        elif acl.peer is PeerKind.ADDRESS and acl.port in (53, 853) and acl.proto in (TCP, UDP):
            lines.append(f"{acl.value} {service}: the device resolves names there, not at the site's resolver")
        elif acl.peer is PeerKind.ADDRESS and address_kind(acl.value) == "public":
            lines.append(f"{acl.value} {service}: no name is known for this address (fixed, or resolved elsewhere)")
    return lines


def _left_out(acls: Sequence[Acl]) -> list[str]:
    """Say which safe defaults a profile does without, as the device was never seen to use them."""
    defaults = [acl for acl in acls if acl.origin == "default"]
    if not defaults:
        return []
    lines = []
    if not any(acl.direction == "out" and (acl.proto, acl.port) == (UDP, 123) for acl in acls):
        lines.append("it was seen to start and never to ask for the time: a time server will be refused, and reported")
    if not any(acl.value == "nd" for acl in defaults):
        lines.append("it was never seen to speak IPv6: neighbour discovery will be refused, so IPv6 will not work")
    return lines


def _warnings(profile: MudProfile, verdicts: Sequence[FlowVerdict], judged: int) -> list[str]:
    lines = [
        f"{verdict.breaks} may break: {verdict.reason} ({verdict.flows} flows)"
        for verdict in verdicts
        if not verdict.permitted and verdict.breaks
    ]
    if not profile.settled.is_settled:
        lines += [f"not settled: {line}" for line in profile.settled.missing]
    if not judged:
        lines.append("nothing was judged: there is no traffic after the split")
    learnt = [acl for acl in profile.acls if acl.origin != "default"]
    if learnt and not any(acl.peer is PeerKind.NAME and is_update_name(acl.value) for acl in profile.acls):
        lines.append("no update server was seen: an update from a new name will be refused, and reported")
    lines += _left_out(profile.acls)
    if profile.dropped:
        lines.append(f"{profile.dropped} services did not fit into the profile's bound and would be refused")
    if len([acl for acl in learnt if acl.peer is PeerKind.ADDRESS and address_kind(acl.value) == "public"]) > MAX_LINES:
        lines.append("it talks to many bare addresses (peer to peer?): new ones will be refused")
    return lines
