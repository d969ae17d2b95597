"""Captures turned into sites: what the devices of a capture did, learnt, and tried on another device's profile."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from thingward.adapters.maker.oui import maker_of
from thingward.inventory.learning import LearningStage
from thingward.inventory.stage import InventoryStage
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.observation import DnsData, Endpoint, FlowData
from thingward.model.profile import MudProfile
from thingward.model.terms import FlowTerms, is_group, is_stray, terms_of
from thingward.sensing.log_files import LogContext
from thingward.sensing.normalise import NormaliseStage
from thingward.sensing.sensor import Sensor
from thingward.sensing.zeek import read_zeek_file
from thingward.wire.capture import NotACapture
from thingward.wire.capture_read import CaptureReader

BATCH = 2000
CAPTURES = ("*.pcap", "*.pcapng", "*.cap")
SIDES: tuple[Literal["src", "dst"], ...] = ("src", "dst")
#: Roles that some safe default covers, wherever the device is.
INFRASTRUCTURE = frozenset({"arp", "link", "nd", "icmp", "dhcp", "dns", "ntp"})


@functools.cache
def read_events(path: Path) -> tuple[Event, ...]:
    """Read a capture into events that have not passed inventory yet."""
    sensor = Sensor(source=f"guard:{path.name}", producer=str(path))
    normalise = NormaliseStage()
    records = []
    try:
        with path.open("rb") as stream:
            reader = CaptureReader(stream, uid=str(path))
            for batch in reader:
                records += normalise.feed(sensor.feed(batch, 0.0).records, 0.0).records
    except NotACapture:
        return ()
    records += normalise.feed(sensor.finish(0.0).records, 0.0).records
    return tuple(record for record in records if isinstance(record, Event))


@functools.cache
def read_zeek(path: Path) -> tuple[Event, ...]:
    """Read one Zeek log into events that have not passed inventory yet, by time."""
    observations = list(read_zeek_file(path, LogContext(source=f"zeek:{path.name}")))
    records = NormaliseStage().feed(observations, 0.0).records
    return tuple(sorted((item for item in records if isinstance(item, Event)), key=lambda event: event.time))


@dataclass
class SeenFlow:
    """One flow as a device saw it, after inventory."""

    time: float
    terms: FlowTerms


@dataclass
class LearntSite:
    """One or more captures as one site, and what was learnt of it."""

    inventory: InventoryStage
    learning: LearningStage
    events: list[Event] = field(default_factory=list)

    def devices(self) -> tuple[Device, ...]:
        """Give the site's devices, gateways left out."""
        return tuple(device for device in self.inventory.devices() if device.role != "gateway" and not device.group)

    def flows(self, device: Device) -> list[SeenFlow]:
        """Give a device's flows, by time."""
        found = [
            SeenFlow(event.data.first, terms)
            for event in self.events
            if isinstance(event.data, FlowData) and event.data.state in ("new", "whole")
            for terms in terms_for(event, device.uid)
        ]
        return sorted(found, key=lambda flow: flow.time)

    def trial(self, device: Device, share: float = 0.5) -> tuple[MudProfile, float]:
        """Give the profile learnt from the first part of a device's time, and the time where it ends."""
        until = self.learning.split_time(device.uid, share)
        profile = self.learning.profile(device.uid, until=until)
        assert profile is not None
        return profile, until


def terms_for(event: Event, uid: str) -> Iterator[FlowTerms]:
    """Say what a flow means to a device, if it has a part in it; rests of old connections mean nothing."""
    for side in SIDES:
        end = event.src if side == "src" else event.dst
        if end is None or end.device != uid or not isinstance(event.data, FlowData) or is_stray(event.data, side):
            continue
        terms = terms_of(event, side)
        if terms is not None:
            yield terms
            return


def learn_site(captures: Sequence[Sequence[Event]]) -> LearntSite:
    """Run captures of one place through inventory and learning, together and by time."""
    site = LearntSite(InventoryStage(maker_of=maker_of), LearningStage())
    merged = list(heapq.merge(*captures, key=lambda event: event.time)) if len(captures) > 1 else list(captures[0])
    now = 0.0
    for start in range(0, len(merged), BATCH):
        batch = merged[start : start + BATCH]
        now = batch[-1].time
        records = site.inventory.feed(batch, now).records
        site.learning.feed(records, now)
        site.events += [record for record in records if isinstance(record, Event)]
    site.learning.feed(site.inventory.finish(now).records, now)
    site.learning.finish(now)
    return site


@functools.cache
def learn_captures(*paths: Path) -> LearntSite:
    """Learn captures of one place; kept, as several benchmarks use them."""
    return learn_site([read_events(path) for path in paths])


def find_captures(folder: Path) -> list[Path]:
    """List the captures below a folder."""
    return sorted(path for pattern in CAPTURES for path in folder.rglob(pattern) if path.is_file())


def main_device(site: LearntSite, mac: str = "") -> Device:
    """Give the device that a capture is about: by its address, else the one with the most flows."""
    devices = [device for device in site.devices() if not mac or mac in device.macs]
    return max(devices, key=lambda device: len(site.flows(device)))


def moved(
    events: Iterable[Event], device: Device, to: Device, gateway: Device, served_by: Mapping[str, str] | None = None
) -> Iterator[Event]:
    """Re-address one device's flows, and the DNS answers that name their peers, to another one at another site.

    The device's own hardware and IP addresses become those of `to`, other stations' hardware addresses that of
    the new site's gateway. Remote addresses, names and services stay: what was local there is remote here. What its
    old network said of itself (leases, announcements) is left out: it is not true here.

    Args:
        events: before inventory. device: whose traffic it is.
        served_by: addresses of the old site's services to those of the new site's.
    """
    macs = frozenset(device.macs)
    own4 = next((ip for ip in to.addresses if ":" not in ip), "")
    own6 = next((ip for ip in to.addresses if ":" in ip), "")

    def move(endpoint: Endpoint | None) -> Endpoint | None:
        if endpoint is None or is_group(endpoint):
            return endpoint
        mine = endpoint.mac in macs if endpoint.mac else endpoint.ip in device.addresses
        if not mine:
            ip = (served_by or {}).get(endpoint.ip, endpoint.ip)
            return msgspec.structs.replace(endpoint, mac=gateway.macs[0] if endpoint.mac else "", ip=ip)
        ip = endpoint.ip
        if ip and ip not in ("0.0.0.0", "::"):
            ip = (own6 or "fe80::1") if ":" in ip else own4
        return msgspec.structs.replace(endpoint, mac=to.macs[0] if to.macs else "", ip=ip)

    for event in events:
        if not isinstance(event.data, FlowData | DnsData):
            continue
        ends = [end for end in (event.src, event.dst) if end is not None]
        if any((end.mac in macs) if end.mac else (end.ip in device.addresses) for end in ends):
            yield msgspec.structs.replace(event, src=move(event.src), dst=move(event.dst))


def enriched_at(site: LearntSite, events: Sequence[Event]) -> list[Event]:
    """Pass events through a copy of a site's inventory, so that names and roles are that site's."""
    copy = InventoryStage(maker_of=maker_of)
    copy.restore(site.inventory.snapshot())
    found: list[Event] = []
    for start in range(0, len(events), BATCH):
        records = copy.feed(events[start : start + BATCH], 0.0).records
        found += [record for record in records if isinstance(record, Event)]
    return found


class AddressRules:
    """The peer: what others' learnt allow-lists do, rules by direction, address and service."""

    def __init__(self, flows: Iterable[SeenFlow]) -> None:
        self._allowed = {self._key(flow.terms) for flow in flows}

    def permits(self, terms: FlowTerms) -> bool:
        """Tell whether such a flow was seen to this very address."""
        return self._key(terms) in self._allowed

    @staticmethod
    def _key(terms: FlowTerms) -> tuple[str, int, int, int, str]:
        return terms.direction, terms.proto, terms.port, terms.ethertype, terms.address
