"""Devices: one record each, every attribute with its source, time and confidence."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from thingward.model.ids import DEFAULT_SITE
from thingward.model.record import Record


class DeviceClass(StrEnum):
    """The white paper's classes: A tag, B single purpose, C integrated, D high end."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    UNKNOWN = "unknown"


class Mode(StrEnum):
    """What is done with the device's traffic: the default is observe."""

    OBSERVE = "observe"
    ENFORCE = "enforce"
    QUARANTINE = "quarantine"


class Attribute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of evidence of who a device is.

    Attributes:
        name, value: as in docs/protocols.md, value at most 256 characters.
        source: which producer said it.
        first, last: seconds since 1970 it was first and last seen.
        confidence: 0 to 1.
        count: how often.
    """

    name: str
    value: str
    source: str
    first: float
    last: float
    confidence: float = 1.0
    count: int = 1


class Device(Record, frozen=True, kw_only=True, tag="device"):
    """A device; `time` is when this version of the record was made.

    Attributes:
        macs: all hardware addresses, randomised ones of the same device included, main one first.
        addresses: IP addresses, most recent first.
        names: host names, most telling first.
        label: what a person calls it; a person's correction stays.
        maker, model, kind: identification, empty means unknown; `kind` as in docs/devices.md (camera, plug ...).
        kind_reason: evidence for kind and class in one line.
        role: `gateway`, `resolver`, `server` or `` for an ordinary device; `disputed` where two devices claim an
            address that the site needs and nothing tells whose it is.
        evidence: bounded list of attributes.
        first_seen, last_seen: seconds since 1970.
        identified: false means nobody can say what it is: shown as unknown, never as clean.
        contested: those of its addresses that another device held before, or that it is unclear whose they are: it
            is not protected by them, and nothing is done by them.
        conflicts: attributes with competing values, one line each.
        group: true for addresses that stand for many (broadcast, multicast): never a target of actions.
        merged_into: uid of the record that this one turned out to be part of; it then has no addresses of its own.
    """

    site: str = DEFAULT_SITE
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    label: str = ""
    maker: str = ""
    model: str = ""
    kind: str = ""
    kind_reason: str = ""
    role: str = ""
    device_class: DeviceClass = DeviceClass.UNKNOWN
    mode: Mode = Mode.OBSERVE
    evidence: tuple[Attribute, ...] = ()
    first_seen: float = 0.0
    last_seen: float = 0.0
    identified: bool = False
    randomised: bool = False
    contested: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    group: bool = False
    merged_into: str = ""
    simulated: bool = False


def device_name(device: Device) -> str:
    """What to call a device: what a person says, else what it says of itself, else what it is and its address."""
    if device.label or device.names:
        return device.label or device.names[0]
    what = " ".join(part for part in (device.maker, device.model or device.kind) if part)
    # People know IPv4 addresses; one that holds on the link only says least.
    known = sorted(device.addresses, key=lambda text: (":" in text, text.lower().startswith("fe80:")))
    address = next((text for text in known if not text.lower().startswith("fe80:")), "")
    address = address or next(iter((*device.macs, *known, device.uid)))
    return f"{what} ({address})" if what else address


class Correction(Record, frozen=True, kw_only=True, tag="correction"):
    """What a person says of a device; fields left None stay as they are. It outranks all evidence.

    Attributes:
        device: uid of the device.
        merge_into: uid of the device that this one is the same as; empty takes an earlier such statement back.
        by: principal.
    """

    device: str
    label: str | None = None
    kind: str | None = None
    maker: str | None = None
    model: str | None = None
    merge_into: str | None = None
    by: str = ""


class Site(Record, frozen=True, kw_only=True, tag="site"):
    """A place with a network of its own; `networks` are its address ranges in CIDR form."""

    name: str
    networks: tuple[str, ...] = ()
    description: str = ""
