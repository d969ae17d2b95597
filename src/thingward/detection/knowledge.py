"""What rules may know of a site: its devices, its networks, what is inside and what is outside."""

from __future__ import annotations

import functools
import ipaddress
from collections import OrderedDict
from typing import Any

import msgspec

from thingward.model.device import Device, Site
from thingward.model.errors import InvalidInput
from thingward.model.observation import Endpoint
from thingward.model.terms import address_kind

MAX_DEVICES = 50_000
_ODD = frozenset("13579bdfBDF")
_Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class KnownDevice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a device record that rules need."""

    name: str = ""
    kind: str = ""
    role: str = ""
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    is_group: bool = False
    is_simulated: bool = False


class _State(msgspec.Struct):
    devices: dict[str, KnownDevice] = {}
    networks: tuple[str, ...] = ()
    started: float = 0.0
    newest: float = 0.0


class SiteKnowledge:
    """Collected from the Device and Site records that pass; bounded, oldest devices are forgotten first.

    Attributes:
        started, newest: event time of the first and of the latest event, seconds since 1970, 0 before any.
    """

    def __init__(self) -> None:
        self._devices: OrderedDict[str, KnownDevice] = OrderedDict()
        self._networks: tuple[str, ...] = ()
        self.started = 0.0
        self.newest = 0.0

    def learn_device(self, device: Device) -> None:
        """Remember a device's latest record."""
        self._devices.pop(device.uid, None)
        self._devices[device.uid] = KnownDevice(
            name=device.label or (device.names[0] if device.names else ""),
            kind=device.kind,
            role=device.role,
            macs=device.macs[:16],
            addresses=device.addresses[:16],
            is_group=device.group,
            is_simulated=device.simulated,
        )
        if len(self._devices) > MAX_DEVICES:
            self._devices.popitem(last=False)

    def learn_site(self, site: Site) -> None:
        """Remember the site's own address ranges."""
        self._networks = site.networks

    def pass_time(self, time: float) -> None:
        """Note the time of an event."""
        if not self.started:
            self.started = time
        if time > self.newest:
            self.newest = time

    def device(self, uid: str) -> KnownDevice | None:
        """Give what is known of a device."""
        return self._devices.get(uid)

    def role(self, endpoint: Endpoint | None) -> str:
        """Give the role of the endpoint's device: `gateway`, `resolver`, `server` or empty."""
        known = self._devices.get(endpoint.device) if endpoint else None
        return known.role if known else ""

    def gateways(self) -> tuple[KnownDevice, ...]:
        """Give all devices whose role is gateway."""
        return tuple(known for known in self._devices.values() if known.role == "gateway")

    def is_simulated(self, uid: str) -> bool:
        """Tell whether the device exists in the demo only."""
        known = self._devices.get(uid)
        return known is not None and known.is_simulated

    def is_local(self, endpoint: Endpoint | None) -> bool:
        """Tell whether the endpoint belongs to the site: a known device, or an address that is not routed publicly."""
        if endpoint is None:
            return False
        if endpoint.device or not endpoint.ip:
            return True
        return is_private(endpoint.ip) or _is_inside(endpoint.ip, self._networks)

    def state(self) -> object:
        """Give plain data for a snapshot."""
        return msgspec.to_builtins(_State(self._devices, self._networks, self.started, self.newest))

    def load(self, state: Any) -> None:
        """Take what `state` gave; raises InvalidInput for anything else."""
        try:
            held = msgspec.convert(state, _State)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"not a site's state: {error}") from error
        self._devices, self._networks = OrderedDict(held.devices), held.networks
        self.started, self.newest = held.started, held.newest


@functools.lru_cache(maxsize=16_384)
def is_private(ip: str) -> bool:
    """Tell whether an address is of those that sites use inside (private, link local, loopback), or nobody's.

    Documentation ranges are outside: no site has them unless its networks say so.
    """
    return address_kind(ip.partition("%")[0]) != "public"


@functools.lru_cache(maxsize=16_384)
def is_group_address(ip: str) -> bool:
    """Tell whether an address stands for many: multicast or limited broadcast (a subnet's `.255` too)."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    return address.is_multicast or ip == "255.255.255.255" or (address.version == 4 and ip.endswith(".255"))


def is_group(endpoint: Endpoint) -> bool:
    """Tell whether an endpoint stands for many."""
    if endpoint.mac[1:2] in _ODD:
        return True
    return bool(endpoint.ip) and is_group_address(endpoint.ip)


@functools.lru_cache(maxsize=64)
def _parse(networks: tuple[str, ...]) -> _Networks:
    return tuple(ipaddress.ip_network(network, strict=False) for network in networks)


@functools.lru_cache(maxsize=16_384)
def _is_inside(ip: str, networks: tuple[str, ...]) -> bool:
    if not networks:
        return False
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in _parse(networks))
